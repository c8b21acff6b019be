"""The tree of a volume without the contents of its files: nodes, their names, and the operations that change them.

In: operations, as the journal keeps them. Out: the tree after them. A node has a number that is never used again and
stays the same whatever it is called; a file with several names (hard links) is one node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

ROOT = 1
FILE, DIRECTORY, LINK, PIPE = "f", "d", "l", "p"


class Stored(NamedTuple):
    """Where the storage has the content of a file: `place` is a path below the mount, `identity` that of the content.

    `holes` are runs of chunks (the first one, how many) that are zeros and not stored.
    """

    identity: bytes
    size: int
    place: bytes
    holes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A file, directory, symbolic link or named pipe. `mtime` is in nanoseconds, `target` that of a link.

    `stored` is the content at the last checkpoint; None for a file that was empty then, or not there.
    """

    id: int
    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    target: bytes = b""
    stored: Stored | None = None


class Make(NamedTuple):
    """A new node, or new attributes of one that is there; size and content are left alone."""

    node: Node


class Name(NamedTuple):
    """The entry `name` of a directory is the node `id` from now on, whatever it was before."""

    folder: int
    name: bytes
    id: int


class Unname(NamedTuple):
    """A directory has no entry `name` any more."""

    folder: int
    name: bytes


class Write(NamedTuple):
    """Content of a file from `offset` on; a file that is shorter grows."""

    id: int
    offset: int
    data: bytes | bytearray | memoryview


class Zeros(NamedTuple):
    """A part of a file is zeros; it need not take any space."""

    id: int
    offset: int
    length: int


class Resize(NamedTuple):
    """A file has `size` bytes: it is cut off, or continued with zeros."""

    id: int
    size: int


class Extend(NamedTuple):
    """A file has at least `end` bytes: a `Write` whose data do not matter."""

    id: int
    end: int


Operation = Make | Name | Unname | Write | Zeros | Resize


def new_root(mode: int, uid: int, gid: int, mtime: int) -> Node:
    """Return the node of a volume's own directory."""
    return Node(ROOT, DIRECTORY, mode, uid, gid, mtime)


@dataclass
class Tree:
    """Nodes by number, and the entries of each directory. Nodes without a name are dropped by `drop_unnamed`.

    With `undo`, each change leaves there what takes it back.
    """

    nodes: dict[int, Node] = field(default_factory=dict)
    entries: dict[int, dict[bytes, int]] = field(default_factory=dict)
    names: dict[int, dict[tuple[int, bytes], None]] = field(default_factory=dict)
    next_id: int = ROOT + 1
    unnamed: set[int] = field(default_factory=set)
    undo: list[Callable[[], object]] | None = None

    def apply(self, operation: Operation | Extend) -> None:
        """Change the tree. Raises `KeyError` for an operation on something that is not there."""
        match operation:
            case Write(id, offset, data):
                self.apply(Extend(id, offset + len(data)))
            case Extend(id, end):
                if end > self.nodes[id].size:
                    self._set(replace(self.nodes[id], size=end))
            case Resize(id, size):
                self._set(replace(self.nodes[id], size=size))
            case Make(node):
                known = self.nodes.get(node.id)
                self._set(node if known is None else replace(node, size=known.size, stored=known.stored))
            case Name(folder, name, id):
                self._name(folder, name, id)
            case Unname(folder, name):
                self._unname(folder, name)

    def _set(self, node: Node) -> None:
        known = self.nodes.get(node.id)
        self.nodes[node.id] = node
        if known is None:
            if node.kind == DIRECTORY:
                self.entries[node.id] = {}
            self.names[node.id] = {}
            self.unnamed.add(node.id)
            self.next_id = max(self.next_id, node.id + 1)
        if self.undo is not None:
            self.undo.append(
                (lambda: self.nodes.__setitem__(node.id, known)) if known else lambda: self._forget(node.id)
            )

    def _forget(self, id_: int) -> None:
        del self.nodes[id_], self.names[id_]
        self.entries.pop(id_, None)
        self.unnamed.discard(id_)

    def _name(self, folder: int, name: bytes, id_: int) -> None:
        names = self.names[id_]
        before = self.entries[folder].get(name)
        if before == id_:
            return
        if before is not None:
            self._unname(folder, name)
        self.entries[folder][name] = id_
        names[folder, name] = None
        self.unnamed.discard(id_)
        if self.undo is not None:
            self.undo.append(lambda: self._take_name(folder, name, id_))

    def _unname(self, folder: int, name: bytes) -> None:
        id_ = self.entries[folder].get(name)
        if id_ is None:
            return
        self._take_name(folder, name, id_)
        if self.undo is not None:
            self.undo.append(lambda: self._give_name(folder, name, id_))

    def _take_name(self, folder: int, name: bytes, id_: int) -> None:
        del self.entries[folder][name], self.names[id_][folder, name]
        if not self.names[id_]:
            self.unnamed.add(id_)

    def _give_name(self, folder: int, name: bytes, id_: int) -> None:
        self.entries[folder][name] = id_
        self.names[id_][folder, name] = None
        self.unnamed.discard(id_)

    def drop_unnamed(self) -> list[Node]:
        """Drop all nodes that have no name any more, with what is in directories among them; return them."""
        dropped = []
        pending = [id_ for id_ in self.unnamed if id_ != ROOT]
        while pending:
            node = self.nodes[pending.pop()]
            dropped.append(node)
            for name, inner in list(self.entries.get(node.id, {}).items()):
                self._unname(node.id, name)
                if not self.names[inner]:
                    pending.append(inner)
            self._drop(node)
        return dropped

    def _drop(self, node: Node) -> None:
        self._forget(node.id)
        if self.undo is not None:
            self.undo.append(lambda: self._restore(node))

    def _restore(self, node: Node) -> None:
        self.nodes[node.id], self.names[node.id] = node, {}
        if node.kind == DIRECTORY:
            self.entries[node.id] = {}
        self.unnamed.add(node.id)

    def path(self, id_: int) -> bytes:
        """Return the path of a node below the root, empty for the root itself; of several, always the same one."""
        parts = []
        while id_ != ROOT:
            folder, name = min(self.names[id_])
            parts.append(name)
            id_ = folder
        return b"/".join(reversed(parts))

    def paths(self) -> dict[int, bytes]:
        """Return the path of each node, as `path` does."""
        found, pending = {ROOT: b""}, [(b"", ROOT)]
        for prefix, folder in pending:
            for name, id_ in self.entries[folder].items():
                names = self.names[id_]
                if len(names) == 1 or min(names) == (folder, name):
                    found[id_] = prefix + name
                    if id_ in self.entries:
                        pending.append((prefix + name + b"/", id_))
        return found

    def walk(self) -> Iterator[tuple[bytes, Node]]:
        """Yield each name below the root with its node, directories before what is in them, in a fixed order."""
        pending = [(b"", ROOT)]
        while pending:
            prefix, folder = pending.pop()
            found = [(name, self.nodes[id_]) for name, id_ in sorted(self.entries[folder].items())]
            pending += [(prefix + name + b"/", node.id) for name, node in reversed(found) if node.kind == DIRECTORY]
            for name, node in found:
                yield prefix + name, node
