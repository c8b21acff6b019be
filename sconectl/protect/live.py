"""Measures a live file system: reads every protected file below a directory.

In: a directory and the index that is expected there. Out: what was `Found`. What the caller may not read is said to be
unreadable; whether it matters is for the caller to decide, who knows whether the program can become somebody else.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from sconectl.protect.collector import no_collection
from sconectl.protect.index import (
    UNREADABLE,
    Entry,
    Index,
    directory_entry,
    file_entry,
    is_below,
    link_entry,
)
from sconectl.protect.workers import PROCESSES, balanced, each_unit

_CHUNK = 1 << 18
_RUN, _FILES, _EACH = 32 << 20, 2000, 1 << 14
"""A process takes files of so many bytes, or so many files, at once; a file costs at least as much as so many bytes."""
_HIDDEN: Entry = ("hidden",)
"""Stands for a file that is out of reach, until it is noted as such."""
_MUCH = 64 << 20
"""For less, another process takes longer to begin than it saves."""


@dataclass(frozen=True)
class Found:
    """The result of a scan.

    `index` has an entry for each path, either read or `UNREADABLE`. `hidden` are those of the unreadable paths which
    the caller's user and groups, by owner and mode, can neither read nor run (a file) nor enter (a directory), with
    their expected entries. The content of the directories in `closed` is unknown.
    """

    index: Index
    hidden: Mapping[str, Entry]
    closed: frozenset[str]

    def believed(self, expected: Index) -> Index:
        """Return the index with the expected entries for hidden paths.

        Right only if the program can never have another user, other groups or more capabilities than the caller.
        """
        entries = {**self.index.entries, **self.hidden}
        if self.closed:
            behind = ((path, entry) for path, entry in expected.entries.items() if path not in entries)
            entries.update((path, entry) for path, entry in behind if is_below(path, self.closed))
        return Index(self.index.outside, self.index.sealed, entries)


def scan(root: str, expected: Index) -> Found:
    """Read the file system below `root`, without the paths that `expected` does not protect.

    Unreadable and special files become entries of their own kinds, which no expected index contains.
    """
    return _Scan(root, expected).run()


class _Scan:
    def __init__(self, root: str, expected: Index) -> None:
        self._base, self._expected, self._outside = root.rstrip("/"), expected, frozenset(expected.outside)
        self._entries: dict[str, Entry] = {}
        self._hidden: dict[str, Entry] = {}
        self._closed: set[str] = set()
        self._files: list[tuple[str, str]] = []
        self._buffer = memoryview(bytearray(_CHUNK))

    @no_collection()
    def run(self) -> Found:
        """Scan everything, once. Raises `OSError` if a process that reads files ends before its time."""
        self._walk()
        self._read_files()
        index = Index(self._expected.outside, self._expected.sealed, self._entries)
        return Found(index, self._hidden, frozenset(self._closed))

    def _walk(self) -> None:
        """Take down everything but the contents of files."""
        pending = [""]
        while pending:
            parent = pending.pop()
            directory = self._base + (parent or "/")
            if parent and not os.access(directory, os.X_OK):
                self._note_closed(parent, directory)
                continue
            try:
                with os.scandir(directory) as listing:
                    names = list(listing)
            except FileNotFoundError:
                continue  # gone since it was listed: its content is missing
            except OSError:
                self._entries[parent or "/"] = UNREADABLE
                continue
            for name in names:
                path = f"{parent}/{name.name}"
                if path in self._outside:
                    continue
                entry = self._live_entry(name, path)
                if entry is not None:
                    self._entries[path] = entry
                    if entry[0] == "d":
                        pending.append(path)

    def _read_files(self) -> None:
        """Read all files, in several processes if they are much; what the index expects says how long that takes."""
        expected = (self._expected.entries.get(path) for _, path in self._files)
        costs = [_EACH + _size(entry) for entry in expected]
        runs = balanced(costs, most=_RUN, many=_FILES)

        def read_run(number: int) -> list[Entry | None]:
            return [self._file_entry(*self._files[each]) for each in runs[number]]

        found = each_unit(len(runs), read_run, processes=PROCESSES if sum(costs) >= _MUCH else 1)
        for number, entry in zip(chain(*runs), chain(*found), strict=True):
            _, path = self._files[number]
            if entry == _HIDDEN:
                self._hidden[path] = self._expected.entries[path]
            if entry is not None:
                self._entries[path] = UNREADABLE if entry == _HIDDEN else entry

    def _note_closed(self, path: str, directory: str) -> None:
        """Note a directory that cannot be entered. Where its names can be listed, they must be the expected ones."""
        try:
            status = os.lstat(directory)
        except FileNotFoundError:
            return
        except OSError:
            self._entries[path] = UNREADABLE
            return
        self._entries[path] = UNREADABLE
        if not _kept_out(directory, status):
            return
        self._hidden[path] = directory_entry(status.st_mode)
        try:
            with os.scandir(directory) as listing:
                names = [(f"{path}/{name.name}", _kind(name)) for name in listing]
        except OSError:
            self._closed.add(path)
            return
        for inner, kind in names:
            if inner in self._outside:
                continue
            known = self._expected.entries.get(inner)
            if known is None or known[0] != kind:
                self._entries[inner] = UNREADABLE
                continue
            self._hidden[inner] = known
            if kind == "d":
                self._closed.add(inner)

    def _live_entry(self, name: os.DirEntry[str], path: str) -> Entry | None:
        """Return the entry of what is not a regular file; None for one, which is read later, or for what is gone."""
        place = name.path
        try:
            if name.is_symlink():
                return link_entry(os.readlink(place))  # noqa: PTH115
            if not name.is_file(follow_symlinks=False):
                kind = os.lstat(place).st_mode
                return directory_entry(kind) if stat.S_ISDIR(kind) else ("special", f"{kind:o}")
        except FileNotFoundError:
            return None
        except OSError:
            return UNREADABLE
        self._files.append((place, path))
        return None

    def _file_entry(self, place: str, path: str) -> Entry | None:
        """Return the entry of a regular file, or None if it is gone."""
        try:
            return _read_entry(place, self._buffer)
        except FileNotFoundError:
            return None
        except OSError:
            known = self._expected.entries.get(path)
            return _HIDDEN if known is not None and _is_hidden(place, known) else UNREADABLE


def _kind(name: os.DirEntry[str]) -> str:
    """Return the kind of entry that a listed name will get, without looking at the file itself."""
    try:
        if name.is_symlink():
            return "l"
        return "d" if name.is_dir(follow_symlinks=False) else "f" if name.is_file(follow_symlinks=False) else ""
    except OSError:
        return ""


def _size(entry: Entry | None) -> int:
    """Return the size that an entry names; 0 if it names none, as in an index that somebody made up."""
    size = entry[2] if entry and len(entry) == 4 else ""
    return int(size) if size.isdecimal() and len(size) < 16 else 0


def _read_entry(path: str, buffer: memoryview) -> Entry:
    """Return the entry of a regular file. It must still be one: a FIFO would block, a link leads elsewhere."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} was replaced while it was measured")
        digest, size = hashlib.sha256(), len(buffer)
        while size == len(buffer):  # less: the end
            size = os.readv(handle, [buffer])
            digest.update(buffer[:size])
        return file_entry(status.st_mode, status.st_size, digest.hexdigest())
    finally:
        os.close(handle)


def _is_hidden(path: str, known: Entry) -> bool:
    """Tell whether a file that cannot be read is out of reach, and has the mode and size of the known one."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    like = stat.S_ISREG(status.st_mode) and known[:3] == file_entry(status.st_mode, status.st_size, "")[:3]
    return like and _kept_out(path, status)


def _kept_out(path: str, status: os.stat_result) -> bool:
    """Tell whether owner and mode keep the caller from reading and running (a file) or from entering (a directory).

    Not so if the caller is the owner, who may change the mode, or if the reason may be an access control list or a
    security module, which can have other rules for the program.
    """
    if status.st_uid == os.geteuid():
        return False
    mine = status.st_gid in (os.getegid(), *os.getgroups())
    granted = stat.S_IMODE(status.st_mode) >> (3 if mine else 0) & 7
    if granted & (1 if stat.S_ISDIR(status.st_mode) else 5):
        return False
    try:
        return not any(name.startswith("system.") for name in os.listxattr(path, follow_symlinks=False))
    except OSError as error:
        return error.errno == errno.ENOTSUP  # a file system without such lists
