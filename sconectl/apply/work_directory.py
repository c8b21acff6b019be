"""A directory for what a run needs only while it lasts; nothing of it stays, even if the run is killed.

In: nothing. Out: an empty private directory below TMPDIR, which is removed at the end. What killed runs left there is
removed first: a run holds a lock on its directory, and the system takes the lock from it when it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "sconectl-work-"


@contextmanager
def work_directory() -> Iterator[Path]:
    """Make the directory, and remove it at the end."""
    _sweep(Path(tempfile.gettempdir()))
    path, lock = _locked()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _locked() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = _lock(path)
        if lock is not None and path.is_dir():
            return path, lock
        # Another run took it for that of a killed one, between making and locking.


def _lock(path: Path) -> int | None:
    """Return the lock of a directory, or None if somebody else has it or there is no such directory of ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _sweep(folder: Path) -> None:
    with suppress(OSError):
        for path in folder.glob(f"{_PREFIX}*"):
            lock = _lock(path)
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)
