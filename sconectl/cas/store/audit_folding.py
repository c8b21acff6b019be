"""Folds events that strangers can cause as often as they like into few entries of the audit log.

In: events with their fields, and who caused them. Out: at once an entry for the first of a kind; for those that follow
one entry in each window, with their number, since when, and a sample of who. When too many kinds come, one entry for
all the others says their number, by reason and session. So the log grows by so much in a minute, whatever comes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.bounds.token_buckets import Bucket
from sconectl.cas.store.quota import LOCAL
from sconectl.errors import CasError

if TYPE_CHECKING:
    from sconectl.cas.bounds.limits import Limits
    from sconectl.cas.store.store import Store

_log = logging.getLogger(__name__)
_SAMPLE = 5
_NAMED = 16
_LONGEST_TEXT = 300
_OTHERS = "others"

Fields = Mapping[str, str]


@dataclass
class _Group:
    """Events of one kind that are not in the log yet."""

    fields: Fields
    opened: float
    count: int = 0
    since: str = ""
    until: str = ""
    who: list[Fields] = field(default_factory=list)

    def add(self, now: str, who: Fields) -> None:
        self.count += 1
        self.since = self.since or now
        self.until = now
        if who not in self.who and len(self.who) < _SAMPLE:
            self.who.append(who)

    def entry(self) -> dict[str, Any]:
        return {**self.fields, "count": self.count, "since": self.since, "until": self.until, "who": list(self.who)}


@dataclass
class _Rest:
    """The events that came once there were too many kinds; only their number is kept, by reason and session."""

    whole: _Group
    reasons: Counter[str] = field(default_factory=Counter)
    sessions: Counter[str] = field(default_factory=Counter)

    def add(self, now: str, fields: Fields, who: Fields) -> None:
        self.whole.add(now, who)
        self._count(fields, 1)

    def merge(self, group: _Group) -> None:
        """Add the count of a group."""
        self.whole.count += group.count
        self.whole.since = min(filter(None, (self.whole.since, group.since)))
        self.whole.until = max(self.whole.until, group.until)
        self.whole.who = [*self.whole.who, *(who for who in group.who if who not in self.whole.who)][:_SAMPLE]
        self._count(group.fields, group.count)

    def _count(self, fields: Fields, number: int) -> None:
        for name, counter in (("session", self.sessions), ("reason", self.reasons)):
            if name in fields:
                _count(counter, fields[name], number)

    def entry(self) -> dict[str, Any]:
        counted = {"sessions": dict(sorted(self.sessions.items()))}
        if self.reasons:
            counted["reasons"] = dict(sorted(self.reasons.items()))
        return {**self.whole.entry(), **counted}


def _count(counter: Counter[str], name: str, number: int) -> None:
    counter[name if name in counter or len(counter) < _NAMED else _OTHERS] += number


class Folding:
    """Writes events of strangers into the audit log of `store`; `has_room` says whether the disk has more than needed.

    Safe to use from several threads at once.
    """

    def __init__(
        self,
        store: Store,
        limits: Limits,
        clock: Callable[[], datetime],
        has_room: Callable[[], bool],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock
        self._has_room = has_room
        self._ticks = ticks
        self._lock = threading.Lock()
        self._groups: dict[tuple[str, tuple[str, ...]], _Group] = {}
        self._rest: dict[str, _Rest] = {}
        self._tokens: dict[str, Bucket] = {}

    def refused(self, event: str, fields: Fields, by: Fields) -> None:
        """Note that a request was refused; the client gets the refusal whether there is room for an entry or not."""
        if not self._is_first(event, fields, by):
            return
        try:
            self._record([(event, {**fields, **by})])
        except (CasError, CasRefusal) as error:
            _log.warning("a refusal was not recorded yet: %s", error)
            with self._lock:
                self._others(event).add(self._time(), _shortened(fields), by)

    def granted(self, event: str, fields: Fields, by: Fields) -> None:
        """Note that a request was granted; raises `CasRefusal` 507 and `CasError` if that cannot be recorded."""
        if self._is_first(event, fields, by):
            self._record([(event, {**fields, **by})])

    def flush(self, *, everything: bool = False) -> None:
        """Write entries for events that were folded a window ago, or for `everything`."""
        with self._lock:
            entries = self._due(everything)
        if not entries:
            return
        try:
            self._record([(event, found.entry()) for event, found in entries])
        except (CasError, CasRefusal) as error:
            _log.warning("folded events were not recorded yet: %s", error)
            with self._lock:
                for event, found in entries:
                    self._put_back(event, found)

    def _is_first(self, event: str, fields: Fields, by: Fields) -> bool:
        """Say whether an event is to be recorded now; else it is counted."""
        if by.get("address") == LOCAL:  # a command on the CAS's own directory, which ends before it could write later
            return True
        short = _shortened(fields)
        key = (event, (*short.values(), by.get("address", ""), by.get("client", "")))
        with self._lock:
            now = self._ticks()
            group = self._groups.get(key)
            if group is not None:
                group.add(self._time(), by)
                return False
            if self._has_room() and self._may_write(event):
                self._groups[key] = _Group(short, now)
                return True
            self._others(event).add(self._time(), short, by)
            return False

    def _due(self, everything: bool) -> list[tuple[str, _Group | _Rest]]:
        now = self._ticks()
        entries: list[tuple[str, _Group | _Rest]] = []
        for key, group in list(self._groups.items()):
            if not everything and now - group.opened < self._limits.audit_window_seconds:
                continue
            if group.count == 0:
                del self._groups[key]
            elif everything or (self._has_room() and self._may_write(key[0])):
                self._groups[key] = _Group(group.fields, now)  # later events are for the next entry
                entries.append((key[0], group))
            else:
                del self._groups[key]
                self._others(key[0]).merge(group)
        for event, rest in list(self._rest.items()):
            if everything or (self._has_room() and now - rest.whole.opened >= self._limits.audit_window_seconds):
                entries.append((event, rest))
                del self._rest[event]
        return entries

    def _put_back(self, event: str, found: _Group | _Rest) -> None:
        others = self._others(event)
        if isinstance(found, _Group):
            others.merge(found)
            return
        others.merge(found.whole)
        for counter, counted in ((others.reasons, found.reasons), (others.sessions, found.sessions)):
            for name, number in counted.items():
                _count(counter, name, number)

    def _others(self, event: str) -> _Rest:
        return self._rest.setdefault(event, _Rest(_Group({}, self._ticks())))

    def _may_write(self, event: str) -> bool:
        burst, rate = self._limits.audit_entries, self._limits.audit_entries_per_minute / 60
        return self._tokens.setdefault(event, Bucket(burst, rate, self._ticks)).take(1)

    def _record(self, entries: list[tuple[str, dict[str, Any]]]) -> None:
        with self._store.writing() as transaction:
            for event, fields in entries:
                transaction.record(event, **fields)

    def _time(self) -> str:
        return self._clock().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shortened(fields: Fields) -> Fields:
    return {name: text[:_LONGEST_TEXT] for name, text in fields.items()}
