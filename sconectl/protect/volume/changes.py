"""Finds what has changed in the live files of a volume since its last commit.

In: hints where to look, the tree of the last commit, and the live directory. Out: the operations that lead from one to
the other, applied to the tree, and the ranges of files to be written. A file keeps its number as long as its inode has
a name. Raises `OSError`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from sconectl.protect.chunks import CHUNK as BLOCK
from sconectl.protect.inodes import inode_of
from sconectl.protect.volume.digests import Digests
from sconectl.protect.volume.hints import Hints
from sconectl.protect.volume.model import (
    DIRECTORY,
    FILE,
    LINK,
    PIPE,
    ROOT,
    Make,
    Name,
    Node,
    Operation,
    Resize,
    Tree,
    Unname,
    Zeros,
)
from sconectl.protect.volume.ranges import differing

LARGE = 1 << 20
"""A larger file is only compared as a whole when its own sync asks for it, or at a commit of all files."""
_OPEN = 64
"""So many changed files are kept open until they are written."""
_LEFT_OPEN, _SMALL = 8, 8 << 20
"""So many of them, not larger than this, are left open for the next commits: most write to the same file again."""
_KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: LINK, stat.S_IFIFO: PIPE}


class Content(NamedTuple):
    """The ranges (offset, length) of a file whose content is to be committed.

    `handle` is the open file, or None: if there are many, they are opened one after the other.
    """

    id: int
    handle: int | None
    size: int
    ranges: Sequence[tuple[int, int]]

    @property
    def length(self) -> int:
        """How many bytes that are."""
        return sum(length for _, length in self.ranges)


@dataclass(slots=True)
class Changes:
    """What a commit consists of.

    `later` are inodes of files, and `names_later` entries of directories, that the next commit has to look at; of
    `times_later` the next commit of attributes has to look at the times.
    """

    operations: list[Operation] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    dropped: list[Node] = field(default_factory=list)
    later: set[int] = field(default_factory=set)
    names_later: set[tuple[int, bytes]] = field(default_factory=set)
    times_later: set[int] = field(default_factory=set)

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing has changed."""
        return not (self.operations or self.contents)

    def files(self) -> set[int]:
        """Return the files whose content or size has changed."""
        return {content.id for content in self.contents} | {
            operation.id for operation in self.operations if isinstance(operation, Resize | Zeros)
        }


class Watch(Protocol):
    """Is told what to watch."""

    linked: set[int]
    """Inodes of files with several names."""

    def add(self, path: str) -> None:
        """Watch a directory, before it is read."""

    def drain(self, hints: Hints) -> None:
        """Add everything that changed until now."""


class Live:
    """The live files below `root`."""

    def __init__(self, root: str, tree: Tree, digests: Digests, watch: Watch, inodes: Mapping[int, int]) -> None:
        """Take the files below `root`, which are those of the tree; `inodes` has those of nodes that are known."""
        self._base = os.fsencode(root)
        self._tree, self._digests, self._watch = tree, digests, watch
        self.ids: dict[int, int] = {}
        self._inodes: dict[int, int] = {}
        self._handles: dict[int, int] = {}
        """Files that are open, by their inodes; they have had the same names since they were opened."""
        self._first_new = tree.next_id
        self._bind(os.lstat(root).st_ino, ROOT)
        watch.add(root)
        for id_, node in tree.nodes.items():
            inode = inodes.get(id_)
            if inode is None and id_ != ROOT:
                place = self._path(id_)
                if node.kind == DIRECTORY:
                    watch.add(os.fsdecode(place))
                inode = os.lstat(place).st_ino
            if inode is not None:
                self._bind(inode, id_)
                if len(tree.names[id_]) > 1:
                    watch.linked.add(inode)

    def _bind(self, inode: int, id_: int) -> None:
        self.ids[inode], self._inodes[id_] = id_, inode

    def forget(self, ids: Iterable[int]) -> None:
        """Forget which inodes were these nodes."""
        for id_ in ids:
            inode = self._inodes.pop(id_, None)
            if inode is not None and self.ids.get(inode) == id_:
                del self.ids[inode]

    def close_files(self, *, but_some: bool = False) -> None:
        """Close the open files, but for some that were opened last: a deleted one takes its memory until then."""
        most = _LEFT_OPEN if but_some else 0
        for inode in list(self._handles):
            node = self._node(inode)
            if len(self._handles) > most or node is None or node.size > _SMALL:
                os.close(self._handles.pop(inode))

    def has_file(self, inode: int) -> bool:
        """Tell whether this is the inode of a file of the tree."""
        node = self._node(inode)
        return node is not None and node.kind == FILE

    def changes(self, seen: Hints, target: int | None, *, data_only: bool = False) -> Changes:
        """Return what has changed, and apply it to the tree. `target` is the inode whose sync asks, None: all.

        `data_only`: as with fdatasync (POSIX), times that are others because a content has changed can wait.
        """
        changes = Changes()
        self._first_new = self._tree.next_id
        fresh: set[int] = set()
        if seen.names or seen.everything:
            self.close_files()
            fresh |= self._look_at_names(self._names(seen), changes)
        if seen.everything:
            known = -1
            while known != len(changes.operations):  # what is in directories that were moved can be listed now
                known = len(changes.operations)
                fresh |= self._look_at_names(self._names(seen), changes)
            fresh |= {inode for inode, id_ in self.ids.items() if self._tree.nodes[id_].kind == FILE}
        touched = fresh | seen.modified | seen.written.keys() | seen.mapped
        if target is not None and not seen.everything:
            touched -= seen.mapped - fresh - {target}  # a sync of another file promises nothing about them
        for inode in sorted(touched):
            self._look_at_content(inode, seen, target, changes, fresh)
        folders = {inode for inode, _ in seen.names}  # their times have changed with their entries
        others = seen.attributes | folders
        if data_only and not seen.everything:
            changes.times_later = seen.times | touched - others
        else:
            others |= seen.times | touched | (set(self.ids) if seen.everything else set())
        for inode in sorted(others):
            if inode not in changes.later:
                self._look_at_attributes(inode, changes)
        changes.dropped = self._tree.drop_unnamed()
        return changes

    def _do(self, operation: Operation, changes: Changes) -> None:
        self._tree.apply(operation)
        changes.operations.append(operation)

    def _names(self, seen: Hints) -> list[tuple[int, bytes]]:
        if not seen.everything:
            return sorted(seen.names, reverse=True)
        found = set(seen.names)
        for id_, entries in self._tree.entries.items():
            inode = self._inodes[id_]
            found |= {(inode, name) for name in entries}
            with contextlib.suppress(OSError, ValueError):
                path = self._path(id_)
                self._watch.add(os.fsdecode(path))
                found |= {(inode, name) for name in os.listdir(path)}  # noqa: PTH208 - names as bytes
        return sorted(found, reverse=True)

    def _path(self, id_: int) -> bytes:
        """Return where a node is in the tree. Raises `ValueError` if it has no name."""
        return self._base + b"/" + self._tree.path(id_) if id_ != ROOT else self._base

    def _look_at_names(self, pending: list[tuple[int, bytes]], changes: Changes) -> set[int]:
        """Look at entries of directories until all are as in the tree; return inodes of files that are new there."""
        fresh: set[int] = set()
        waiting: list[tuple[int, bytes]] = []
        folders: dict[int, bytes | None] = {}
        while pending:
            inode, name = pending.pop()
            folder = self.ids.get(inode)
            if folder is None or folder not in self._tree.entries:
                continue  # not of this volume, or no more
            if inode not in folders:
                folders[inode] = self._checked_path(inode, folder)
            path = folders[inode]
            if path is None:  # it was moved: first its own name has to be looked at
                waiting.append((inode, name))
            elif self._look_at_name(folder, name, path, changes, fresh, pending):
                folders.clear()
                pending += waiting
                waiting.clear()
        changes.names_later.update(waiting)
        return fresh

    def _checked_path(self, inode: int, folder: int) -> bytes | None:
        with contextlib.suppress(OSError, ValueError):
            path = self._path(folder)
            if os.lstat(path).st_ino == inode:
                return path
        return None

    def _look_at_name(
        self, folder: int, name: bytes, above: bytes, changes: Changes, fresh: set[int],
        pending: list[tuple[int, bytes]],
    ) -> bool:  # fmt: skip
        """Compare one entry; return whether a directory appeared or vanished, so that paths may be others."""
        path, known = above + b"/" + name, self._tree.entries[folder].get(name)
        was_folder = known is not None and self._tree.nodes[known].kind == DIRECTORY
        try:
            status = os.lstat(path)
            kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        except (FileNotFoundError, NotADirectoryError):
            kind = None
        if kind is None:
            if known is not None:
                self._do(Unname(folder, name), changes)
            return was_folder
        id_ = self.ids.get(status.st_ino)
        if id_ is not None and id_ in self._tree.nodes and self._tree.nodes[id_].kind == kind:
            if id_ != known:
                self._do(Name(folder, name, id_), changes)
                self._appeared(folder, path, status, fresh)
            return id_ != known and (kind == DIRECTORY or was_folder)
        id_ = self._tree.next_id
        node = Node(id_, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)
        if kind == LINK:
            node = replace(node, target=os.readlink(path))  # noqa: PTH115 - a name as bytes
        if kind == DIRECTORY:
            self._watch.add(os.fsdecode(path))
        self._do(Make(node), changes)
        self._do(Name(folder, name, id_), changes)
        self._bind(status.st_ino, id_)
        if kind == FILE:
            fresh.add(status.st_ino)
        elif kind == DIRECTORY:
            pending += [(status.st_ino, inner) for inner in sorted(os.listdir(path), reverse=True)]  # noqa: PTH208
        return was_folder or kind == DIRECTORY

    def _appeared(self, folder: int, path: bytes, status: os.stat_result, fresh: set[int]) -> None:
        """Take note of a known file or directory that has a new name."""
        if stat.S_ISDIR(status.st_mode):  # the watch may not know where it went
            self._watch.add(os.fsdecode(path))
        elif stat.S_ISREG(status.st_mode):
            self._watch.linked.add(status.st_ino)
            if folder >= self._first_new:  # nobody watched what was done to it there
                fresh.add(status.st_ino)

    def _look_at_attributes(self, inode: int, changes: Changes) -> None:
        node = self._node(inode)
        if node is None:
            return
        try:
            status = os.lstat(self._path(node.id))
        except (FileNotFoundError, ValueError):
            return
        if status.st_ino != inode:
            return
        found = replace(
            node, mode=stat.S_IMODE(status.st_mode), uid=status.st_uid, gid=status.st_gid, mtime=status.st_mtime_ns
        )
        if found != node:
            self._do(Make(found), changes)

    def _node(self, inode: int) -> Node | None:
        return self._tree.nodes.get(self.ids.get(inode, 0))  # no node has the number 0

    def _look_at_content(self, inode: int, seen: Hints, target: int | None, changes: Changes, fresh: set[int]) -> None:
        node = self._node(inode)
        if node is None or node.kind != FILE:
            return
        handle = self._handles.get(inode)
        if handle is None and (handle := self._opened(inode, node, changes)) is None:
            return
        try:
            size = os.lseek(handle, 0, os.SEEK_END)  # its status is not asked for (`inodes` says why)
            anywhere = inode in seen.modified or inode in seen.mapped or inode in fresh or seen.everything
            known = not seen.everything and (inode in seen.explained or not anywhere)
            large = min(node.size, size) > LARGE
            if not known and large and target not in (None, inode) and inode not in fresh:
                changes.later.add(inode)
                return
            written = seen.written.get(inode, []) if known else None
            ranges, zeros = differing(node, handle, size, written, self._digests)
            for part in zeros:
                self._do(part, changes)
            if size != node.size:
                self._digests.forget(node.id, min(size, node.size) // BLOCK)
                self._do(Resize(node.id, size), changes)
            if ranges:
                if len(changes.contents) < _OPEN:
                    self._handles[inode] = handle
                changes.contents.append(Content(node.id, self._handles.get(inode), size, ranges))
        finally:
            if self._handles.get(inode) != handle:
                os.close(handle)

    def _opened(self, inode: int, node: Node, changes: Changes) -> int | None:
        """Open a file where the tree has it; None if it is not there, or has no name there."""
        try:
            handle = self._open(self._path(node.id))
        except FileNotFoundError:
            changes.later.add(inode)  # it was moved or removed a moment ago; that is seen at the next look
            return None
        except ValueError:
            return None  # without a name, nothing is left of it after a crash
        if inode_of(handle) == inode:
            return handle
        os.close(handle)
        changes.later.add(inode)  # the same
        return None

    def open(self, node: Node, seen: Hints) -> int:
        """Open a file for reading. Raises `FileNotFoundError` if it is gone; then `seen` says where to look again."""
        try:
            handle = self._open(self._path(node.id))
            if inode_of(handle) == self._inodes[node.id]:
                return handle
            os.close(handle)
            raise FileNotFoundError(errno.ENOENT, "another file has its name")
        except FileNotFoundError:
            seen.names.update((self._inodes[folder], name) for folder, name in self._tree.names[node.id])
            raise

    def _open(self, path: bytes) -> int:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(path, flags)
        except PermissionError:
            mode = stat.S_IMODE(os.lstat(path).st_mode)
            os.chmod(path, mode | stat.S_IRUSR)  # noqa: PTH101 - its owner can always do that, and it is done for a moment
            try:
                return os.open(path, flags)
            finally:
                os.chmod(path, mode)  # noqa: PTH101
