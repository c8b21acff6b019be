"""A volume on a directory, as the launcher has it, and what its files look like from outside."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sconectl.protect.volume.changes import Watch
from sconectl.protect.volume.hints import Hints
from sconectl.protect.volume.history import read_history
from sconectl.protect.volume.index import ENCRYPTED
from sconectl.protect.volume.opening import materialise
from sconectl.protect.volume.storage import Storage
from sconectl.protect.volume.volume import Volume, initialise

KEY = bytes(range(32))
Picture = dict[bytes, tuple[object, ...]]


class NoWatch:
    """Watches nothing."""

    def __init__(self) -> None:
        self.linked: set[int] = set()

    def add(self, path: str) -> None:
        """Do nothing."""

    def drain(self, hints: Hints) -> None:
        """Do nothing."""


def look_everywhere() -> Hints:
    """Return hints that say nothing, but that everything has to be looked at."""
    return Hints(everything=True)


def open_volume(
    mount: Path, live: Path, tag: bytes | None, *, key: bytes = KEY, kind: int = ENCRYPTED, any_state: bool = False,
    processes: int = 1, watch: Watch | None = None,
) -> Volume:  # fmt: skip
    """Open what is on `mount` into the new directory `live`."""
    live.mkdir(parents=True, exist_ok=True)
    storage = Storage(str(mount))
    try:
        storage.lock()
        history = read_history(storage, key, tag, any_state=any_state)
        if history is None:
            history = initialise(storage, key, kind, os.stat(live))  # noqa: PTH116
        inodes = materialise(storage, key, history, str(live), path="/V1", processes=processes)
        return Volume("V1", "/V1", str(live), storage, key, history, watch or NoWatch(), inodes)
    except BaseException:
        storage.close()
        raise


def picture(root: Path) -> Picture:
    """Return all that a program can see below `root`; hard links have the first of their names beside them."""
    found: Picture = {}
    first: dict[int, bytes] = {}
    pending = [os.fsencode(root)]
    while pending:
        folder = pending.pop()
        for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names as bytes
            path = folder + b"/" + name
            status = os.lstat(path)
            mode = stat.S_IMODE(status.st_mode)
            shown = path.removeprefix(os.fsencode(root) + b"/")
            if stat.S_ISDIR(status.st_mode):
                found[shown] = ("d", mode, status.st_mtime_ns)
                pending.append(path)
            elif stat.S_ISLNK(status.st_mode):
                found[shown] = ("l", os.readlink(path))  # noqa: PTH115
            elif stat.S_ISREG(status.st_mode):
                handle = os.open(path, os.O_RDONLY)
                content = os.pread(handle, status.st_size, 0)
                os.close(handle)
                found[shown] = ("f", mode, status.st_mtime_ns, content, first.setdefault(status.st_ino, shown))
            elif stat.S_ISFIFO(status.st_mode):
                found[shown] = ("p", mode)
    return found
