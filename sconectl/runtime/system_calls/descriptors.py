"""Tells quickly which file a descriptor of the program is, if it is a file that is known already.

In: a stopped thread and its descriptor. Out: the number of the mount, the inode, and whether it is open for writing,
as /proc/TID/fdinfo/FD says. That file of /proc stays open here; the kernel looks the descriptor up anew at each read,
and never takes a later thread for the one whose directory it is in.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sconectl.runtime.system_calls import task

_MOST_OPEN = 128
_LENGTH = 256
_ACCESS = 3


class Description(NamedTuple):
    """What a descriptor stands for."""

    mount: int
    inode: int
    is_writable: bool


_NOTHING = Description(-1, 0, is_writable=False)


@dataclass(slots=True)
class _Open:
    """An open file of /proc, what it said last, and what that means."""

    handle: int
    text: bytes
    description: Description


class Descriptors:
    """The descriptors that were looked at."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: dict[tuple[int, int], _Open] = {}

    def describe(self, tid: int, descriptor: int) -> Description | None:
        """Return what a descriptor of a thread stands for; None if the kernel does not say so."""
        try:
            known = self._open.get((tid, descriptor)) or self._opened(tid, descriptor)
            text = os.pread(known.handle, _LENGTH, 0)
            if text != known.text:
                known.text, known.description = text, described(text)
        except (OSError, ValueError, IndexError):
            if (gone := self._open.pop((tid, descriptor), None)) is not None:
                os.close(gone.handle)
            return None
        return known.description

    def _opened(self, tid: int, descriptor: int) -> _Open:
        while len(self._open) >= _MOST_OPEN:
            os.close(self._open.pop(next(iter(self._open))).handle)
        path = f"/proc/{tid}/fdinfo/{descriptor & 0xFFFFFFFF}"
        handle = task.seen(tid, lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        known = self._open[tid, descriptor] = _Open(handle, b"", _NOTHING)
        return known


def described(text: bytes) -> Description:
    """Read what fdinfo says: lines of a name, a colon and a value (proc(5)). Raises `ValueError` or `IndexError`."""
    words = text.split(None, 8)
    if words[2] != b"flags:" or words[4] != b"mnt_id:" or words[6] != b"ino:":
        raise ValueError
    return Description(int(words[5]), int(words[7]), int(words[3], 8) & _ACCESS in (os.O_WRONLY, os.O_RDWR))


def mount_of(path: str) -> int:
    """Return the number of the mount that a file is on; -1 if the kernel does not tell."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return described(Path(f"/proc/self/fdinfo/{handle}").read_bytes()).mount
    except (OSError, ValueError, IndexError):
        return -1
    finally:
        os.close(handle)
