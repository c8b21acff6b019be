"""Checks a volume with its key, and moves data out of it and into a new one.

In: a storage, the key of the volume, directories of plain files. Out: states. Raises `SconectlError`.
"""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

from sconectl.apply.volumes.opened_storage import give_to_owner, kept_still, opened_storage, take
from sconectl.errors import Refused, UsageError
from sconectl.protect.volume.hints import Hints
from sconectl.protect.volume.history import History, read_history
from sconectl.protect.volume.index import AUTHENTICATED, ENCRYPTED
from sconectl.protect.volume.model import FILE
from sconectl.protect.volume.opening import check, materialise
from sconectl.protect.volume.storage import IGNORED, Storage
from sconectl.protect.volume.volume import Volume, initialise

_PATH = "/"
_KINDS = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK, stat.S_ISFIFO)


@dataclass(frozen=True)
class Found:
    """What was found in a volume: its state, and how many files and bytes it has."""

    state: bytes
    files: int
    size: int


@dataclass
class _NoWatch:
    """Nobody changes the files."""

    linked: set[int] = field(default_factory=set)

    def add(self, path: str) -> None:
        """Watch nothing."""

    def drain(self, hints: Hints) -> None:
        """Add nothing."""


def verify(directory: Path, key: bytes, tag: bytes | None) -> Found:
    """Open everything on a storage and write nothing; its state must be `tag`, or extend it. None: any state."""
    with opened_storage(directory) as storage, kept_still(storage) as still:
        _refuse_use(storage, still)
        history = _history(storage, key, tag)
        check(storage, key, history, path=_PATH)
        return _found(history)


def extract(directory: Path, key: bytes, tag: bytes | None, target: Path) -> Found:
    """Write the plain files to the new or empty directory `target`: all of them, or none."""
    partial = target.with_name(f".{target.name}.partial")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is there already", hint="give a new or empty directory")
    with opened_storage(directory) as storage, kept_still(storage) as still:
        _refuse_use(storage, still)
        history = _history(storage, key, tag)
        partial.mkdir(mode=0o700)
        try:
            materialise(storage, key, history, str(partial), path=_PATH)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return _found(history)


def create(directory: Path, source: Path, key: bytes, *, encrypted: bool) -> tuple[Found, tuple[str, ...]]:
    """Make a volume with the plain files of `source` on an empty storage.

    Return what it holds, and the paths that cannot be in a volume: sockets and devices.
    """
    if not source.is_dir():
        raise UsageError(f"{source} is no directory", hint="give the directory with the plain files")
    with opened_storage(directory) as storage:
        take(storage)
        if not storage.is_empty():
            raise Refused(f"there is something in {directory} already", hint="give an empty directory")
        try:
            history = initialise(storage, key, ENCRYPTED if encrypted else AUTHENTICATED, source.stat())
            volume = Volume("", _PATH, str(source.absolute()), storage, key, history, _NoWatch())
            volume.commit(Hints(everything=True), final=True)
        except BaseException:
            _empty(storage)
            raise
        give_to_owner(storage)
        written = read_history(storage, key, volume.state)
        assert written is not None  # noqa: S101 - it was made above
        return _found(written), _foreign(source)


def _history(storage: Storage, key: bytes, tag: bytes | None) -> History:
    history = read_history(storage, key, tag, any_state=tag is None)
    if history is None:
        raise Refused(f"{storage.root}: there is no volume here", hint="name the directory of its storage")
    return history


def _refuse_use(storage: Storage, still: bool) -> None:
    if not still:
        raise Refused(
            f"{storage.root}: a program is using this storage", hint="end it first, or look at a backup of the volume"
        )


def _found(history: History) -> Found:
    files = [node for node in history.tree.nodes.values() if node.kind == FILE]
    return Found(history.state, len(files), sum(node.size for node in files))


def _foreign(source: Path) -> tuple[str, ...]:
    found = []
    for folder, _, names in os.walk(source):
        for name in names:
            path = Path(folder) / name
            if not any(is_kind(path.lstat().st_mode) for is_kind in _KINDS):
                found.append(str(path.relative_to(source)))
    return tuple(sorted(found))


def _empty(storage: Storage) -> None:
    for entry in Path(storage.root).iterdir():
        if entry.name in IGNORED:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
