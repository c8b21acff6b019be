"""Finds out which files are still mapped by a program; those that are not need not be compared at every commit.

In: files that were mapped shared, from descriptors that may write, and the memory maps of all processes. Out: those
that nobody has mapped any more. If a process cannot be looked at, or a new one appears meanwhile, nothing is forgotten.
"""

from __future__ import annotations

import os
from functools import partial

from sconectl.runtime.system_calls import task
from sconectl.runtime.volumes import explained

INTERVAL = 5.0
"""Seconds between two looks."""
_READ = 1 << 16


class Mappings:
    """The calls of a program that map files of volumes."""

    def __init__(self) -> None:
        """Begin with none."""
        self._begun: dict[int, tuple[int, int]] = {}
        self._load = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
        self._next: dict[int, float] = {}

    def begin(self, tid: int, number: int, inode: int) -> None:
        """Note that a thread is about to map a file with this system call."""
        self._begun[tid] = (number, inode)

    def gone(self, now: float, device: int, inodes: set[int]) -> set[int]:
        """Return which of these files nobody has mapped; none, if it is too early to look again."""
        if not inodes or now < self._next.get(device, 0.0):
            return set()
        self._next[device] = now + INTERVAL
        before = explained.newest_process(self._load)
        for tid, (number, _) in list(self._begun.items()):
            if task.is_surely_out_of(tid, number):
                del self._begun[tid]
        found = {inode for _, inode in self._begun.values()}
        try:
            maps = b"".join(_maps(pid) for pid in explained.processes())
        except OSError:
            return set()
        if explained.newest_process(self._load) != before:  # it may have inherited a mapping
            return set()
        place = b" %02x:%02x " % (os.major(device), os.minor(device))
        return {inode for inode in inodes - found if place + b"%d " % inode not in maps}


def _maps(pid: int) -> bytes:
    try:
        return task.seen(pid, partial(_read, f"/proc/{pid}/maps"))
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _read(path: str) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(handle, _READ):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(handle)
