"""Tells of which files it is known where they were written: by the calls that were noted, and nowhere else.

In: the noted calls, and how many writes the kernel has counted. Out: files whose ranges are all that a commit has to
look at, besides growth at their ends. A commit compares other files as a whole, so this decides about speed; a wrong
answer would lose a change. The argument:

- The content of a file on a tmpfs changes by mappings, by calls that set its size or make holes, by splice, and by
  writes. Mappings, sizes, holes and splice are noted with their file (or, where the file is not looked up, with none:
  then nothing is known until the next commit). What may be mapped is never explained.
- The kernel counts each write call of a thread when it ends (syscw in /proc/PID/io), whatever it writes to, also for
  sendfile and copy_file_range. If all processes of the container together have counted exactly as many writes as noted
  ones have ended since some moment, then there were no others since then.
- A noted write counts exactly once if its descriptor is a regular file that is open for writing, and its range is
  valid. All others make the count unsure. Whether it has ended is told by the count of its own thread, which is read
  while the thread is stopped, and again later. Ends that come between two looks are looked for again.
- A process that is new, ends, or cannot be looked at makes the count unsure. New ones are noticed by the number that
  the kernel gave last.
- A write tells the watch of the directories just before it is counted. So a file may be taken for explained by a
  commit that saw its change, and not yet the count. When the count does not fit later, all files that were explained
  are compared; the thread that wrote has not come back from its call before that.
"""

from __future__ import annotations

import contextlib
import os
import select
from dataclasses import dataclass, field
from functools import partial

from sconectl.protect.volume.hints import Hints
from sconectl.runtime.system_calls import task

_COUNTER = b"syscw: "
_LENGTH = 512
_MOST_OPEN = 128
"""Processes, and threads, whose counts are looked at."""


@dataclass(slots=True)
class Flight:
    """A call that may still be running: what it will have changed when it is over."""

    number: int
    inode: int | None
    """None: a file that was not looked up."""
    range: tuple[int, int] | None = None
    """None: anything in the file."""
    counts: int | None = 0
    """How many writes the kernel will count for it; None: that is not known."""
    before: int = -1
    """What its thread had counted before, if one write will be counted."""


@dataclass
class Account:
    """What is known about the files of one volume since its last commit."""

    nothing: bool = True
    """Anything may have been written."""
    nothing_again: bool = False
    """So it is for the next commit, too: what was counted may not have been among the hints yet."""
    others: set[int] = field(default_factory=set)
    """Files that may have changed in other ways."""
    trusted: set[int] = field(default_factory=set)
    """Files that were explained, and not compared since then."""


class Writes:
    """Counts the writes of all processes, and those that were noted."""

    def __init__(self, silent: int | None = None) -> None:
        """Begin without knowing anything. `silent` is a child of this process that never writes."""
        self.accounts: list[Account] = []
        self._ended = 0
        self._unsure = False
        self._base: tuple[int, int] | None = None
        """At some moment: writes that the kernel had counted, and noted ones that had ended."""
        self._processes: dict[int, int] = {}
        self._threads: dict[int, int] = {}
        self._newest: bytes | None = None
        self._is_current = False
        """Tells whether all processes are known that there were when `_newest` was the newest one."""
        self._silent: tuple[int, select.poll] | None = None
        """That process, and what tells of its end: then its number may be that of another one."""
        if silent is not None:
            with contextlib.suppress(OSError, AttributeError):  # without one it is looked at, as all others are
                end = select.poll()
                end.register(os.pidfd_open(silent))
                self._silent = silent, end
        self._load = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)

    def account(self) -> Account:
        """Open the account of another volume."""
        self.accounts.append(Account())
        return self.accounts[-1]

    def counted_by(self, tid: int) -> int:
        """Return how many writes a thread has counted; -1 if it cannot be told."""
        try:
            if tid not in self._threads:
                _make_room(self._threads)
                path = f"/proc/{tid}/task/{tid}/io"
                self._threads[tid] = task.seen(tid, partial(os.open, path, os.O_RDONLY | os.O_CLOEXEC))
            return _counter(tid, self._threads[tid])
        except (OSError, ValueError):
            with contextlib.suppress(KeyError, OSError):
                os.close(self._threads.pop(tid))
            return -1

    def note(self, flight: Flight) -> None:
        """Note what a call does besides writing to a range that is known."""
        if flight.range is None:
            for account in self.accounts:
                if flight.inode is None:
                    account.nothing = True
                else:
                    account.others.add(flight.inode)

    def is_over(self, tid: int, flight: Flight) -> bool:
        """Tell whether a call is known to have ended."""
        if flight.counts == 1 and self.counted_by(tid) > flight.before:
            return True
        if not task.is_surely_out_of(tid, flight.number):
            return False
        if flight.counts == 1 and self.counted_by(tid) == flight.before:
            flight.counts = None  # it failed in a way that nobody has thought of
        return True

    def ended(self, flight: Flight) -> None:
        """Count a call that has ended."""
        if flight.counts is None:
            self._unsure = True
        else:
            self._ended += flight.counts

    def explain(self, account: Account, hints: Hints, flights: dict[int, Flight]) -> None:
        """Add to `hints` the files that are explained. To be called when all changes so far are among the hints."""
        hints.explained.clear()
        if not hints.modified:
            return
        self._compare(flights)
        found = set()
        if account.nothing:
            hints.modified |= account.trusted
            account.nothing, account.nothing_again = account.nothing_again, False
        else:
            found = hints.modified - account.others - hints.mapped
        hints.explained |= found
        account.trusted = account.trusted - hints.modified | found
        account.others.clear()

    def committed(self, account: Account, hints: Hints) -> None:
        """Take note of what a commit, also one that failed, has left for the next one, which has to compare it."""
        account.others |= hints.modified

    def _compare(self, flights: dict[int, Flight]) -> None:
        """Compare both counts; if they differ, nothing is known about any volume since its last commit."""
        counted = self._counted()
        while over := [tid for tid, flight in flights.items() if self.is_over(tid, flight)]:
            for tid in over:
                self.ended(flights.pop(tid))
            counted = self._counted()
        fits = (
            counted is not None
            and self._base is not None
            and not self._unsure
            and counted - self._base[0] == self._ended - self._base[1]
        )
        if fits:
            return
        for account in self.accounts:
            account.nothing = account.nothing_again = True
        self._base = None
        if counted is not None and all(_is_exact(flight) for flight in flights.values()):
            self._base, self._unsure = (counted, self._ended), False

    def _counted(self) -> int | None:
        """Return how many writes the kernel has counted for all processes but this one; None if that is not known."""
        newest = newest_process(self._load)
        if newest != self._newest:  # of those in between that have ended, nothing is known
            self._newest = newest
            self._is_current = False
            return None
        if not self._is_current:
            self._is_current = True
            self._find_processes()
        total = 0
        try:
            for pid, handle in self._processes.items():
                total += _counter(pid, handle)
        except (OSError, ValueError):
            self._is_current = False
            return None
        return total if self._is_current else None

    def _find_processes(self) -> None:
        found = processes()
        if self._silent is not None and not self._silent[1].poll(0):
            found.discard(self._silent[0])
        if len(found) > _MOST_OPEN:  # it would take long to ask them all, and many descriptors
            self._is_current = False
            found = set()
        for pid in self._processes.keys() - found:
            os.close(self._processes.pop(pid))
        for pid in found - self._processes.keys():
            try:
                self._processes[pid] = task.seen(pid, partial(os.open, f"/proc/{pid}/io", os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                self._is_current = False


def processes() -> set[int]:
    """Return all processes of the container but this one."""
    return {int(name) for name in os.listdir("/proc") if name.isdecimal()} - {os.getpid()}  # noqa: PTH208


def newest_process(load: int) -> bytes:
    """Return the number that the kernel gave last to a process or thread of the container, from /proc/loadavg."""
    return os.pread(load, _LENGTH, 0).rpartition(b" ")[2]


def _is_exact(flight: Flight) -> bool:
    """Tell whether it is known that a call that may be running was not counted yet."""
    return flight.counts is not None


def _counter(pid: int, handle: int) -> int:
    try:
        text = os.pread(handle, _LENGTH, 0)
    except PermissionError:
        text = task.seen(pid, lambda: os.pread(handle, _LENGTH, 0))
    start = text.index(_COUNTER) + len(_COUNTER)
    return int(text[start : text.index(b"\n", start)])


def _make_room(handles: dict[int, int]) -> None:
    while len(handles) >= _MOST_OPEN:
        os.close(handles.pop(next(iter(handles))))
