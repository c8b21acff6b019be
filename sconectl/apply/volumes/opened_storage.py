"""Opens the storage of a volume for its owner, beside a program that may be using it.

In: a directory. Out: a `Storage`, and whether a process of this machine has it. Nothing is made for reading: a file of
the wrong owner would keep the program away. Raises `UsageError`, `Refused` and `BuildFailed` for what the disk says.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sconectl.errors import BuildFailed, Refused, UsageError
from sconectl.protect.chunks import SealBroken
from sconectl.protect.volume.storage import LOCK, Busy, Storage

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def opened_storage(directory: Path) -> Iterator[Storage]:
    """Give the storage in `directory`; faults of what is read there become errors that a user understands."""
    try:
        storage = Storage(str(directory))
    except OSError as error:
        raise UsageError(f"{directory}: {error.strerror}", hint="give the directory of the storage") from error
    try:
        with contextlib.closing(storage):
            yield storage
    except SealBroken as error:
        raise Refused(f"{directory}: {error}", hint="do not use it; restore a backup") from error
    except OSError as error:
        where = "" if error.filename is None else f" ({os.fsdecode(error.filename)})"
        raise BuildFailed(
            f"{directory}: {error.strerror or error}{where}", hint="check free space, and whose files these are"
        ) from error


@contextlib.contextmanager
def kept_still(storage: Storage) -> Iterator[bool]:
    """Keep programs from starting to use the storage; say whether none has it now. Else it may change."""
    try:
        handle = os.open(os.path.join(storage.root, LOCK), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)  # noqa: PTH118
    except FileNotFoundError:  # no program ever had it
        yield True
        return
    try:
        yield _locked(handle)
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def take(storage: Storage) -> None:
    """Take the storage as a program would, to write to it; raises `Refused` if one has it."""
    try:
        storage.lock()
    except Busy as error:
        raise Refused(f"{storage.root}: a program is using this storage", hint="end it first") from error


def give_to_owner(storage: Storage) -> None:
    """Let everything in the storage belong to whom its directory belongs, as the program expects; only root can."""
    owner = os.stat(storage.root)  # noqa: PTH116 - of a directory that was opened
    if (owner.st_uid, owner.st_gid) == (os.geteuid(), os.getegid()) or os.geteuid() != 0:
        return
    for folder, folders, files in os.walk(storage.root):
        for name in (*folders, *files):
            os.chown(os.path.join(folder, name), owner.st_uid, owner.st_gid, follow_symlinks=False)  # noqa: PTH118
