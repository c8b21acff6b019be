"""Keeps a CAS as the custom resources of a cluster say: uploads each session once, and tells what became of it.

In: an API server, a connection to a CAS, and the names by which objects call that CAS. Out: sessions in the CAS, a
status for each object, lines for the log. What fails is tried again, at once if something else succeeded, since
sessions need that of their namespace, and else later and later. A session that the CAS has already is left alone; what
is deleted before it was brought in is no longer wanted.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sconectl.cas.operator.kubernetes_api import ApiFault, Gone, KubernetesApi
from sconectl.cas.operator.resources import PLURALS, Verdict, Wanted, key_of, status_after, wanted
from sconectl.errors import CasError, CasRefused
from sconectl.ports import SessionStore

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_TOGETHER = 0.2
"""Seconds in which events are collected: charts bring all sessions at once."""
_CONFLICT = 409
UNREACHABLE = "CasUnreachable"

Events = queue.Queue[Callable[[], None]]
"""What the watching threads have seen, for the one that works."""


@dataclass
class Controller:
    """`connect` is called when a session is to be uploaded, and again after the CAS was not to be reached."""

    api: KubernetesApi
    connect: Callable[[], SessionStore]
    names: frozenset[str]
    namespaces: tuple[str, ...]
    log: Callable[[str], None]
    _store: SessionStore | None = None
    _objects: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    _done: dict[tuple[str, str, str], tuple[str, int]] = field(default_factory=dict)

    def once(self) -> bool:
        """Look at all objects once; say whether the CAS has every session. Raises `ApiFault`."""
        for kind in PLURALS:
            for namespace in self.namespaces:
                for item in self.api.list(kind, namespace)[0]:
                    self._note(item)
        return self._work()

    def run(self, stop: threading.Event) -> None:
        """Do so until `stop`."""
        events: Events = queue.Queue()
        for kind in PLURALS:
            for namespace in self.namespaces:
                arguments = (kind, namespace, events, stop)
                threading.Thread(target=self._watch, args=arguments, daemon=True).start()
        pause = _FIRST_PAUSE
        while not stop.is_set():
            new = self._take(events, pause if self._objects else 1.0, stop)
            if not self._objects:
                continue
            before = len(self._objects)
            self._work()
            pause = _FIRST_PAUSE if new or len(self._objects) < before else min(pause * 2, _LONGEST_PAUSE)

    def _take(self, events: Events, seconds: float, stop: threading.Event) -> bool:
        """Wait for events, at most this long, and then for those that come with them; say if there were any."""
        deadline, new = time.monotonic() + seconds, False
        while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            try:
                events.get(timeout=min(left, 1.0))()
            except queue.Empty:
                continue
            if not new:
                new, deadline = True, time.monotonic() + _TOGETHER
        return new

    def _watch(self, kind: str, namespace: str, events: Events, stop: threading.Event) -> None:
        version, pause = "", _FIRST_PAUSE
        while not stop.is_set():
            try:
                if not version:
                    items, version = self.api.list(kind, namespace)
                    events.put(partial(self._listed, kind, namespace, items))
                for item in self.api.watch(kind, namespace, version):
                    version = str((item.get("metadata") or {}).get("resourceVersion") or version)
                    event = item.pop("event")
                    if event != "BOOKMARK":
                        events.put(partial(self._forget if event == "DELETED" else self._note, item))
                pause = _FIRST_PAUSE
            except Gone:
                version = ""
            except ApiFault as error:
                self.log(f"{kind}: {error.message}{f' ({error.hint})' if error.hint else ''}")
                version = ""
                stop.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _listed(self, kind: str, namespace: str, items: list[dict[str, Any]]) -> None:
        """Note all objects of a kind; what is no longer there was deleted while nobody watched."""
        there = {key_of(item) for item in items}
        for key in list(self._objects):
            if key[0] == kind and namespace in ("", key[1]) and key not in there:
                self._forget(self._objects[key])
        for item in items:
            self._note(item)

    def _note(self, item: dict[str, Any]) -> None:
        """Remember an object that is to be worked on, unless it is for another CAS, or was done in this state."""
        found = wanted(item)
        if found is None or found.cas not in self.names:
            self._forget(item)
        elif self._done.get(found.key) != found.state:
            self._objects[found.key] = item

    def _forget(self, item: dict[str, Any]) -> None:
        """Bring in no session whose object is gone, or asks for another CAS now."""
        self._objects.pop(key_of(item), None)
        self._done.pop(key_of(item), None)

    def _work(self) -> bool:
        """Upload what is waiting, as long as that helps; say whether everything that was waiting is in the CAS."""
        complete = True
        while self._objects:
            verdicts = list(self._verdicts())
            helped = any(verdict.ready for _, _, verdict in verdicts)
            left = [entry for entry in verdicts if entry[2].again]
            self._objects = {found.key: item for found, item, _ in left}
            for found, item, verdict in verdicts:
                if not verdict.again:
                    self._done[found.key] = found.state
                    complete &= verdict.ready
                if not (verdict.again and helped):
                    self._tell(found, item, verdict)
            if left and not helped:
                return False
        return complete

    def _verdicts(self) -> Iterator[tuple[Wanted, dict[str, Any], Verdict]]:
        """Upload everything that is waiting; if the CAS does not answer once, it is not asked for the others."""
        silent: Verdict | None = None
        for _, item in sorted(self._objects.items()):
            found = wanted(item)
            if found is not None:
                verdict = silent or self._upload(found)
                silent = verdict if verdict.reason == UNREACHABLE else None
                yield found, item, verdict

    def _upload(self, found: Wanted) -> Verdict:
        if found.fault:
            return Verdict(ready=False, reason="Invalid", message=found.fault, again=False)
        try:
            self._store = self._store or self.connect()
            receipt = self._store.upload(found.document)
        except CasRefused as error:
            return Verdict(False, "Superseded" if error.status == _CONFLICT else "Refused", _words(error))
        except CasError as error:
            self._store = None
            return Verdict(False, UNREACHABLE, _words(error))
        if receipt.outcome != "unchanged":
            self.log(f"{found}: {receipt.outcome}")
        return Verdict(True, "Active", "the CAS has the session", receipt.hash, again=False)

    def _tell(self, found: Wanted, item: dict[str, Any], verdict: Verdict) -> None:
        status = status_after(item, verdict, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        if status is None:
            return
        if not verdict.ready:
            self.log(f"{found}: {verdict.reason}: {verdict.message}")
        item["status"] = status
        try:
            self.api.patch_status(found.kind, found.namespace, found.name, status)
        except ApiFault as error:
            self.log(f"{found}: its status cannot be written: {error.message}")


def _words(error: CasError) -> str:
    causes = error.causes if isinstance(error, CasRefused) else ()
    why = "; ".join((error.message, *(cause for cause in causes if cause not in error.message)))
    return f"{why} ({error.hint})" if error.hint else why
