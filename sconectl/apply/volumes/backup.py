"""Copies the storage of a volume as it is at one moment, also while a program writes to it; and copies it back.

In: two directories. Out: the states that the copy claims. It is ciphertext, so no key is needed. Between two
checkpoints a program only appends to journals, and contents of files stay as they are. So a copy is of one moment if
the index is the same before and after, and no checkpoint was being put in place before; journals come last, and one
that is cut off in the midst of a commit ends at the one before. Raises `SconectlError`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sconectl.apply.volumes.claimed import Claimed, claimed
from sconectl.apply.volumes.opened_storage import give_to_owner, kept_still, opened_storage, take
from sconectl.errors import Refused, UsageError
from sconectl.protect.volume.contents import written_parts
from sconectl.protect.volume.index import FILE, read_head
from sconectl.protect.volume.storage import JOURNAL, LOCK, NEXT, UNPLACED, Storage

_ATTEMPTS = 20
_PAUSE = 0.5
_OURS = frozenset({FILE.encode(), LOCK.encode(), b"lost+found"})
_PIECE = 8 << 20
_NO_REGULAR_FILE = (errno.EINVAL, errno.ELOOP, errno.ENXIO, errno.ENODEV)
"""What opening links, pipes, sockets and devices says; a volume has none of these."""
_Counts = tuple[int, int, tuple[bytes, ...]]
"""Files, bytes, and what was left out."""


@dataclass(frozen=True)
class Copied:
    """What a copy holds; `left_out` are the places of what is no part of a volume: links, devices."""

    claimed: Claimed
    files: int
    size: int
    left_out: tuple[bytes, ...]


def back_up(source: Path, target: Path) -> Copied:
    """Copy the storage `source` to the new directory `target`."""
    _make_new(target)
    with opened_storage(source) as storage, opened_storage(target) as copy:
        claimed(storage)
        with kept_still(storage) as still:
            found = _copied(storage, copy) if still else _copy_running(storage, copy)
        copy.sync_everything()
        return Copied(claimed(copy), *found)


def restore(backup: Path, target: Path, *, replace: bool) -> Copied:
    """Make the storage `target` what `backup` holds; what is there is removed, if `replace` allows it."""
    with opened_storage(backup) as source, opened_storage(target) as storage:
        claimed(source)
        take(storage)
        if not storage.is_empty():
            if not replace:
                raise Refused(
                    f"there is something in {target} already", hint="give --replace to remove it, or an empty directory"
                )
            storage.remove(FILE.encode())  # first: what is left is no volume if this is interrupted
            _clear(storage)
        found = _copied(source, storage)
        storage.sync_everything()
        give_to_owner(storage)
        return Copied(claimed(storage), *found)


def _make_new(target: Path) -> None:
    try:
        target.mkdir(mode=0o700)
    except FileExistsError:
        if not target.is_dir() or any(target.iterdir()):
            raise UsageError(f"{target} is there already", hint="give a new or empty directory") from None
    except OSError as error:
        raise UsageError(f"{target} cannot be made: {error.strerror}", hint="choose another directory") from error


def _clear(storage: Storage) -> None:
    for name in storage.list_folder(b""):
        if name in (LOCK.encode(), b"lost+found"):
            continue
        if storage.is_folder(name):
            shutil.rmtree(os.path.join(storage.root, os.fsdecode(name)))  # noqa: PTH118
        else:
            storage.remove(name)
    storage.forget_folders()


def _copied(storage: Storage, copy: Storage) -> _Counts:
    """Copy what nobody changes."""
    found = _copy(storage, copy, _index(storage), with_leftovers=True)
    if found is None:
        raise Refused(f"{storage.root}: this storage was changed while it was copied", hint="find out by whom")
    return found


def _copy_running(storage: Storage, copy: Storage) -> _Counts:
    for _ in range(_ATTEMPTS):
        storage.forget_folders()
        index = _index(storage)
        if not storage.is_marked(UNPLACED, read_head(index).state):
            with contextlib.suppress(FileNotFoundError):  # a checkpoint has moved or removed it
                found = _copy(storage, copy, index, with_leftovers=False)
                if found is not None:
                    return found
            _clear(copy)
        time.sleep(_PAUSE)
    raise Refused(
        f"{storage.root}: the program makes checkpoints faster than they can be copied",
        hint="try again when it has less to do, or end it for the backup",
    )


def _index(storage: Storage) -> bytes:
    index = storage.read_index()
    if index is None:
        raise Refused(f"{storage.root}: this volume was removed while it was copied", hint="find out by whom")
    return index


def _copy(storage: Storage, copy: Storage, index: bytes, *, with_leftovers: bool) -> _Counts | None:
    """Copy contents, then journals, then `index`; return None if the storage has another one by then."""
    files = size = 0
    left_out = []
    places = list(_contents(storage, with_leftovers=with_leftovers))
    for place, is_folder in places:
        if is_folder:
            copy.make_folder(place)
            continue
        try:
            handle = storage.open(place)
        except OSError as error:
            if error.errno not in _NO_REGULAR_FILE:
                raise
            left_out.append(place)
            continue
        files, size = files + 1, size + _copy_file(handle, copy.create(place))
    for number in storage.journals():
        name = f"{JOURNAL}{number}".encode()
        size += _copy_file(storage.open_journal(number), copy.create(name))
    if storage.read_index() != index:
        return None
    copy.replace_index(index)
    if not copy.list_folder(NEXT):
        copy.remove(NEXT)
    return files, size + len(index), tuple(left_out)


def _contents(storage: Storage, *, with_leftovers: bool) -> Iterator[tuple[bytes, bool]]:
    """Yield everything but index, journals and lock, directories before what is in them."""
    pending = [
        name
        for name in storage.list_folder(b"")
        if name not in _OURS and not name.startswith(JOURNAL.encode()) and (with_leftovers or name != NEXT)
    ]
    while pending:
        place = pending.pop()
        is_folder = storage.is_folder(place)
        yield place, is_folder
        if is_folder:
            pending += [place + b"/" + name for name in storage.list_folder(place)]


def _copy_file(source: int, target: int) -> int:
    """Copy an open file, without its holes; close both, and return its size."""
    try:
        size = os.fstat(source).st_size
        for start, end in written_parts(source, 0, size):
            while start < end:
                data = os.pread(source, min(_PIECE, end - start), start)
                if not data:
                    break
                os.pwrite(target, data, start)
                start += len(data)
        os.ftruncate(target, size)
    finally:
        os.close(source)
        os.close(target)
    return size
