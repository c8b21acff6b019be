"""Looks at the files below the manifest's directory: names, kinds and stamps, and no content.

In: the directory and what to select. Out: a row for each selected file, sorted, and what is odd about them. No link is
followed, and nothing outside of the directory is looked at.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sconectl.apply.sources.path_patterns import IgnoreRules
from sconectl.apply.sources.two_processes import in_two
from sconectl.image.build.source_files import DIRECTORY

Row = tuple[str, int, int, int, int, int]
"""Path relative to the directory ("" is the directory itself), mode, and the parts of a `Stamp`."""

MAX_DEPTH = 128
MAX_LINKS = 40
_WORTH_A_COPY = 24  # directories; below, a second process costs more than it does


@dataclass(frozen=True)
class Selection:
    """The files that a walk takes: those that are not ignored or private, and if `wanted` is given, match that.

    A directory below `depth` parts is looked into only if it is wanted itself.
    """

    rules: IgnoreRules
    private: frozenset[str] = frozenset()
    wanted: re.Pattern[str] | None = None
    depth: int = MAX_DEPTH

    @property
    def everything(self) -> bool:
        """Whether no path has to be looked at."""
        return not (self.rules.rules or self.private or self.wanted)


@dataclass
class Found:
    """What a walk saw: rows, the texts of links, and problems, by path."""

    rows: list[Row] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, rows: list[Row], links: dict[str, str], problems: dict[str, str]) -> None:
        """Add the files that another walk saw."""
        self.rows += rows
        self.links |= links
        self.problems |= problems


def row_of(path: str, status: os.stat_result) -> Row:
    """Return the row of one file."""
    return path, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def walk(root: str, top: str, selection: Selection) -> Found:
    """Return everything selected at and below `top`, a directory ("" is `root` itself)."""
    found = Found()
    descriptor = _enter(os.open(root, DIRECTORY), top)
    try:
        if selection.wanted is None:
            found.rows.append(row_of(top, os.fstat(descriptor)))
    finally:
        os.close(descriptor)
    waiting = [top]
    while waiting and len(waiting) < _WORTH_A_COPY:
        waiting += _Look(selection, found, deep=False).start(root, waiting.pop(0)).waiting
    if waiting:

        def work(folders: Sequence[str]) -> tuple[list[Row], dict[str, str], dict[str, str]]:
            part = Found()
            for folder in folders:
                _Look(selection, part, deep=True).start(root, folder)
            return part.rows, part.links, part.problems

        for half in in_two(work, waiting[::2], waiting[1::2]):
            found.add(*half)
    found.rows.sort()
    return found


def _enter(descriptor: int, path: str) -> int:
    """Exchange the descriptor of a directory for that of one below it."""
    for part in path.split("/") if path else ():
        try:
            below = os.open(part, DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


class _Look:
    """Looks into a directory, and those below it if `deep`; `waiting` are those that are still to be looked at."""

    def __init__(self, selection: Selection, found: Found, *, deep: bool) -> None:
        self.selection, self.found, self.deep = selection, found, deep
        self.waiting: list[str] = []

    def start(self, root: str, folder: str) -> _Look:
        head, _, name = folder.rpartition("/")
        try:
            parent = _enter(os.open(root, DIRECTORY), head)
        except OSError as error:
            self.found.problems[folder] = _reason(error)
            return self
        try:
            self._open(name or ".", parent, folder, folder.count("/") + 1 if folder else 0)
        finally:
            os.close(parent)
        return self

    def _open(self, name: str, parent: int, path: str, depth: int) -> None:
        try:
            descriptor = os.open(name, DIRECTORY, dir_fd=parent)
        except OSError as error:
            self.found.problems[path] = _reason(error)
            return
        try:
            folders = self._list(descriptor, f"{path}/" if path else "", depth)
            for folder in folders:
                below = f"{path}/{folder}" if path else folder
                if depth >= MAX_DEPTH:
                    self.found.problems[below] = f"lies deeper than {MAX_DEPTH} directories"
                elif not self.deep:
                    self.waiting.append(below)
                else:
                    self._open(folder, descriptor, below, depth + 1)
        except OSError as error:
            self.found.problems[path] = _reason(error)
        finally:
            os.close(descriptor)

    def _list(self, descriptor: int, prefix: str, depth: int) -> list[str]:
        """Take the entries of one directory; return the names of directories to go on with."""
        selection, everything = self.selection, self.selection.everything
        append, lstat = self.found.rows.append, os.lstat
        folders = []
        for name in os.listdir(descriptor):
            path = prefix + name
            taken = everything or _takes(selection, path)
            try:
                status = lstat(name, dir_fd=descriptor)
            except FileNotFoundError:
                continue  # removed in this moment
            mode = status.st_mode
            if taken:
                # As `row_of` does; calling it here would cost more than the system does.
                append((path, mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
            if mode & 0o170004 == 0o100004:
                continue  # a regular file that everybody may read: nothing odd about it
            if stat.S_ISDIR(mode):
                if taken or _leads_on(selection, path, depth):
                    folders.append(name)
            elif taken:
                _note_odd(descriptor, name, path, mode, self.found)
        return folders


def _takes(selection: Selection, path: str) -> bool:
    wanted = selection.wanted is None or selection.wanted.match(path)
    return bool(wanted) and path not in selection.private and not selection.rules.ignore(path)


def _leads_on(selection: Selection, path: str, depth: int) -> bool:
    """Say whether a directory that is not taken may have something below it that is."""
    if path in selection.private or (selection.rules.prunable and selection.rules.ignore(path)):
        return False
    return selection.wanted is None or depth + 1 < selection.depth or bool(selection.wanted.match(path))


def _note_odd(descriptor: int, name: str, path: str, mode: int, found: Found) -> None:
    try:
        if stat.S_ISLNK(mode):
            found.links[path] = os.readlink(name, dir_fd=descriptor)
        elif not stat.S_ISREG(mode):
            found.problems[path] = "is not a file, directory or link"
        elif not os.access(name, os.R_OK, dir_fd=descriptor):
            found.problems[path] = "may not be read"
    except OSError as error:
        found.problems[path] = _reason(error)


def _reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "may not be read"
    return f"cannot be read: {error.strerror}"


def resolve(root: str, path: str) -> str:
    """Return where a path leads with all links followed, relative to `root`; missing parts stay as they are written.

    Raises `ValueError` for absolute links, for what leads out of `root`, and for circles of links.
    """
    done: list[str] = []
    waiting, links = path.split("/")[::-1], 0
    while waiting:
        part = waiting.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not done:
                raise ValueError("leads out of the manifest's directory")
            done.pop()
            continue
        try:
            target = str(Path("/".join([root, *done, part])).readlink())
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise ValueError("has a name that is too long") from error
            done.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            raise ValueError("is a link that leads in a circle")
        if target.startswith("/"):
            raise ValueError("is an absolute link, which leads elsewhere in the image")
        waiting += target.split("/")[::-1]
    return "/".join(done)
