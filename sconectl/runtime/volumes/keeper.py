"""Keeps one volume durable: collects what changed, commits it, and brings its states to the CAS.

In: hints, and syncs that wait. Out: an answer to each sync, as soon as what it asks for is durable: on the storage and,
as the volume's tags are strict or bounded, at the CAS. All syncs that wait when a commit begins are answered by it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from sconectl.protect.volume.hints import Hints
from sconectl.runtime import log
from sconectl.runtime.volumes.explained import Flight, Writes
from sconectl.runtime.volumes.interfaces import Mount

TICK = 1.0
"""Seconds after which changes that nobody syncs are committed."""
_RENAMES = 100
"""So many commits may not find a file that is renamed again and again; then its sync fails."""
Answer = Callable[[int], None]
"""Answers a sync: 0, or the number of an error."""


class Lost(Exception):
    """Somebody else has the volume: nothing may be written to its storage any more."""


class Sync:
    """A sync that one or several volumes have to answer; the worst answer counts."""

    def __init__(self, answer: Answer, volumes: int) -> None:
        """Wait for so many volumes."""
        self._answer, self._volumes, self._error = answer, volumes, 0

    def settle(self, error: int = 0) -> None:
        """Take the answer of one volume."""
        self._volumes -= 1
        self._error = self._error or error
        if self._volumes == 0:
            self._answer(self._error)


_Waiting = tuple[Sync, int | None, bool]
"""A sync, the inode of its file (None: all of them), and whether it is not about times."""


class Keeper:
    """What belongs to one volume while its program runs."""

    def __init__(self, mount: Mount) -> None:
        """Take a volume that is open, and whose present state the CAS has."""
        self.mount = mount
        self.hints = Hints()
        self.device = os.stat(mount.volume.root).st_dev  # noqa: PTH116
        self.everything = False
        """Its files may change in ways that nobody sees: they are compared at every commit."""
        self.due: float | None = None
        """When there is something to do at the latest."""
        self._waiting: list[_Waiting] = []
        self._moved = 0
        """How many commits one after the other have not found a file that a sync waits for."""
        self._held: list[tuple[int, Sync]] = []
        """Syncs that wait for the CAS to have the state with this number, or a later one."""
        self._behind: dict[bytes, tuple[int, float]] = {}
        """States that the CAS is not known to have: their numbers, and since when; oldest first."""
        self._number = 0
        self._unsent: float | None = None
        """When the newest state has to be sent; None: it has been."""
        self._hopeless = False
        self._failing = 0
        self._writes: Writes | None = None

    def explain_with(self, writes: Writes, flights: dict[int, Flight]) -> None:
        """Ask these, before each commit, which files need not be compared."""
        self._writes, self._flights, self._account = writes, flights, writes.account()

    def ask(self, sync: Sync, target: int | None, *, data_only: bool = False) -> None:
        """Let a sync wait for the next commit.

        `target` is the inode of its file; None: it is about all of them. `data_only`: not about the times of the file.
        """
        self._waiting.append((sync, target, data_only))

    def changed(self, now: float) -> None:
        """Take note that there is something to commit within a second."""
        self._at(now + TICK)

    def commit(self, now: float, *, final: bool = False) -> None:
        """Commit what has changed, and answer those who wait."""
        waiting, self._waiting = self._waiting, []
        due, self.due = self.due, None
        targets = {target for _, target, _ in waiting}
        target = targets.pop() if len(targets) == 1 else None
        data_only = target is not None and all(one for _, _, one in waiting)
        self.mount.watch.drain(self.hints)
        self.hints.everything |= self.everything
        if self._writes is not None:
            self._writes.explain(self._account, self.hints, self._flights)
        try:
            state = self.mount.volume.commit(self.hints, target, data_only=data_only, final=final)
        except OSError as error:
            self._left()
            self._failed(error)
            self._at(now + TICK)
            for sync, _, _ in waiting:
                sync.settle(error.errno or errno.EIO)
            return
        self._left()
        self._failing = 0
        if state is not None:
            self._told(state, now)
        if self.everything or not self.hints.is_empty or self.mount.watch.fileno() < 0:
            self._at(now + TICK if due is None else due)  # syncs of other files do not put it off
        self._answer([sync for sync, _, _ in self._kept(waiting, now)], now)

    def _kept(self, waiting: list[_Waiting], now: float) -> list[_Waiting]:
        """Return those whose files were committed; the others wait for the next commit, which is due now.

        A file that was renamed after the watch was asked is not found by its old name, and left in the hints.
        """
        left = self.hints.modified
        moved = [one for one in waiting if (left if one[1] is None else one[1] in left)] if left else []
        self._moved = self._moved + 1 if moved else 0
        if self._moved > _RENAMES:
            self._moved = 0
            for sync, _, _ in moved:
                sync.settle(errno.EIO)
        elif moved:
            self._waiting = moved + self._waiting
            self._at(now)
        return [one for one in waiting if one not in moved] if moved else waiting

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._unsent is not None and self._unsent <= now:
            self._send()
        if self.due is None or self.due > now:
            return
        self.due = None
        self.commit(now)
        if self._hopeless:
            self._send()

    def next(self) -> float | None:
        """Return when `tick` has something to do, if nothing else happens."""
        if self.due is None or self._unsent is None:
            return self._unsent if self.due is None else self.due
        return min(self.due, self._unsent)

    def heard(self, now: float) -> None:
        """Take the news of the tags. Raises `Lost`."""
        if self.mount.tags is None:
            return
        progress = self.mount.tags.progress()
        if progress.lost:
            raise Lost(progress.lost)
        if progress.confirmed in self._behind:
            self.mount.volume.confirm(progress.confirmed)
            confirmed, _ = self._behind[progress.confirmed]
            self._behind = {state: told for state, told in self._behind.items() if told[0] > confirmed}
            done = [sync for number, sync in self._held if number <= confirmed]
            self._held = [(number, sync) for number, sync in self._held if number > confirmed]
            for sync in done:
                sync.settle()
        if progress.failure and self._behind:
            log.write("ERROR", f"volume {self.mount.volume.name}: syncs fail with EIO: {progress.failure}")
            self._hopeless = True
            self._at(now + TICK)
            held, self._held = self._held, []
            for _, sync in held:
                sync.settle(errno.EIO)

    def finish(self, now: float, seconds: float) -> bool:
        """Commit what is left, bring its tag to the CAS and let go of the volume; tell whether all of that was done."""
        self.commit(now, final=True)
        done = not self._failing
        if self.mount.tags is not None:
            if self._behind:
                self._send()
            progress = self.mount.tags.finish(seconds)
            done = done and (not self._behind or progress.confirmed == list(self._behind)[-1])
        self.mount.volume.close()
        return done

    def _left(self) -> None:
        if self._writes is not None:
            self._writes.committed(self._account, self.hints)

    def _told(self, state: bytes, now: float) -> None:
        """Note a new state, and send it now, or within half of the time that the CAS may be behind."""
        tags, bound = self.mount.tags, self.mount.bound
        if tags is None:
            self.mount.volume.confirm(state)
            return
        self._number += 1
        self._behind[state] = (self._number, now)
        if bound is None:
            self._send()
        elif self._unsent is None:
            self._unsent = now + bound / 2

    def _answer(self, syncs: list[Sync], now: float) -> None:
        """Answer them now, or when the CAS has the newest state, if it must have it before."""
        bound = self.mount.bound
        oldest = next(iter(self._behind.values()), None)
        if not syncs:
            return
        if oldest is None or (bound is not None and now - oldest[1] <= bound):
            for sync in syncs:
                sync.settle()
            return
        if self._hopeless or self._unsent is not None:
            self._send()
        self._held += [(self._number, sync) for sync in syncs]

    def _send(self) -> None:
        self._unsent, self._hopeless = None, False
        if self.mount.tags is not None and self._behind:
            self.mount.tags.send(next(reversed(self._behind)))

    def _failed(self, error: OSError) -> None:
        number = error.errno or errno.EIO
        if self._failing != number:
            reason = os.strerror(number)
            log.write("ERROR", f"volume {self.mount.volume.name}: changes cannot be stored, syncs fail: {reason}")
        self._failing = number

    def _at(self, time: float) -> None:
        self.due = time if self.due is None else min(self.due, time)
