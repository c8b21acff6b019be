"""The root file system of an image: its layers laid over each other, without unpacking any of them.

In: the members of each layer, the lowest first, and the layers' tars. Out: a `RootTree`. Raises `BuildFailed` for
layers that engines would unpack differently.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from sconectl.errors import BuildFailed
from sconectl.image.layers.known_contents import KnownContents
from sconectl.image.layers.layer_index import Member

_MAX_LINKS = 40
_HINT = "flatten the image: docker export CONTAINER | docker import - NAME"


class RootFiles(Protocol):
    """A root file system to look into. Paths are absolute and normalised."""

    def member(self, path: str) -> Member | None:
        """Return the entry at `path`, following no link, or None."""

    def names(self, path: str) -> Sequence[str]:
        """Return the names in a directory, sorted; none if it is no directory."""

    def resolve(self, path: str) -> str | None:
        """Return where `path` leads when symbolic links are followed inside the root; None if nowhere."""

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Return content of a regular file, following no link. Raises `BuildFailed` if it is none."""


@dataclass(frozen=True)
class RootTree:
    """Implements `RootFiles` over layers.

    In `members`, a hard link is a file (kind f) with the content of its target, and `target` names that. `layer_of`
    is the number of the layer that an entry comes from; `removed_in` that of the layer that removed a path. `files`
    give the tars of the layers; what `contents` knows is not read from them. `implied`
    are directories that a layer needs but does not have, with the number of the lowest such layer: engines make them
    as they like.
    """

    members: Mapping[str, Member]
    layer_of: Mapping[str, int]
    files: Sequence[Callable[[], Path]] = ()
    contents: KnownContents | None = None
    removed_in: Mapping[str, int] = field(default_factory=dict)
    implied: Mapping[str, int] = field(default_factory=dict)
    children: Mapping[str, Mapping[str, None]] = field(default_factory=dict)

    def member(self, path: str) -> Member | None:
        """Return the entry at `path`, following no link, or None."""
        return self.members.get(path)

    def names(self, path: str) -> Sequence[str]:
        """Return the names in a directory, sorted; none if it is no directory."""
        return sorted(self.children.get(path, ()))

    def resolve(self, path: str) -> str | None:
        """Return where `path` leads when symbolic links are followed inside the root; None if nowhere."""
        real, left, links = "/", path.split("/")[::-1], 0
        while left:
            part = left.pop()
            if part in ("", "."):
                continue
            if part == "..":
                real = posixpath.dirname(real)
                continue
            step = posixpath.join(real, part)
            found = self.members.get(step)
            if found is None or (left and found.kind not in "dl"):
                return None
            if found.kind != "l":
                real = step
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            real = "/" if found.target.startswith("/") else real
            left += found.target.split("/")[::-1]
        return real

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Return content of a regular file, following no link. Raises `BuildFailed` if it is none."""
        found = self.members.get(path)
        if found is None or found.kind != "f":
            raise BuildFailed(f"{path} is not a file of the image")
        left = max(found.size - offset, 0)
        size = left if size < 0 else min(size, left)

        def read() -> bytes:
            with self.file(path).open("rb") as layer:
                layer.seek(found.offset + offset)
                return layer.read(size)

        return self.contents.part(found, offset, size, read) if self.contents else read()

    def file(self, path: str) -> Path:
        """Return the tar of the layer that the entry at `path` comes from; it may have to be fetched."""
        return self.files[self.layer_of[path]]()


def merge(
    layers: Sequence[Sequence[Member]],
    files: Sequence[Callable[[], Path]] = (),
    contents: KnownContents | None = None,
) -> RootTree:
    """Lay the layers over each other; `files` give their tars, for `RootTree.read`. Raises `BuildFailed`."""
    merging = _Merging()
    for number, members in enumerate(layers):
        merging.add(number, members)
    return RootTree(
        members=merging.members,
        layer_of=merging.layer_of,
        files=tuple(files),
        contents=contents,
        removed_in=merging.removed_in,
        implied=merging.implied,
        children=merging.children,
    )


@dataclass
class _Merging:
    members: dict[str, Member] = field(default_factory=lambda: {"/": Member("/", "d", 0o755)})
    layer_of: dict[str, int] = field(default_factory=lambda: {"/": 0})
    removed_in: dict[str, int] = field(default_factory=dict)
    implied: dict[str, int] = field(default_factory=dict)
    children: dict[str, dict[str, None]] = field(default_factory=lambda: {"/": {}})

    def add(self, number: int, members: Sequence[Member]) -> None:
        """Lay one layer over those below. Its whiteouts concern lower layers only, wherever they stand in it."""
        for member in members:
            if member.kind == "w":
                self._remove(member.path, number)
            elif member.kind == "o":
                for name in tuple(self.children.get(member.path, ())):
                    self._remove(posixpath.join(member.path, name), number)
        own = own_entries(members)
        ready = {"/"}
        for member in own.values():
            self._make_parents(member.path, own, ready, number)
            self._place(member, number)

    def _make_parents(self, path: str, own: Mapping[str, Member], ready: set[str], number: int) -> None:
        """Make missing directories above `path`, as engines do."""
        missing = []
        while (path := posixpath.dirname(path)) not in ready:
            missing.append(path)
        for parent in reversed(missing):
            given, known = own.get(parent), self.members.get(parent)
            if given is not None:
                if given.kind != "d":
                    raise BuildFailed(f"a layer has entries below {parent}, which is no directory in it", hint=_HINT)
                self._place(given, number)
            elif known is None:
                self._put(Member(parent, "d", 0o755), number)
            elif known.kind != "d":
                raise BuildFailed(f"a layer has entries below {parent}, which is no directory under it", hint=_HINT)
            if given is None:
                self.implied.setdefault(parent, number)
            ready.add(parent)

    def _place(self, member: Member, number: int) -> None:
        known = self.members.get(member.path)
        if known is not None:
            if _same(known, member):
                return
            if not known.kind == member.kind == "d":
                self._remove(member.path, number)
        self._put(member, number)

    def _put(self, member: Member, number: int) -> None:
        path = member.path
        self.members[path] = member
        self.layer_of[path] = number
        self.removed_in.pop(path, None)
        if path != "/":
            parent, name = posixpath.split(path)
            self.children[parent][name] = None
        if member.kind == "d":
            self.children.setdefault(path, {})

    def _remove(self, path: str, number: int) -> None:
        """Remove the entry of lower layers at `path`, with everything below."""
        if path == "/" or path not in self.members:
            return
        parent, name = posixpath.split(path)
        self.children[parent].pop(name, None)
        pending = [path]
        while pending:
            gone = pending.pop()
            del self.members[gone], self.layer_of[gone]
            self.removed_in[gone] = number
            pending += [posixpath.join(gone, name) for name in self.children.pop(gone, ())]


def own_entries(members: Iterable[Member]) -> dict[str, Member]:
    """Return the entries of one layer by path, with its hard links resolved. Raises `BuildFailed`.

    Which name of a file is the first does not depend on the order in the tar.
    """
    own: dict[str, Member] = {}
    names: dict[str, set[str]] = {}
    for member in members:
        path = member.path
        if member.kind in "wo":
            continue
        own.pop(path, None)  # the last one counts
        names.pop(path, set()).discard(path)
        if member.kind != "h":
            own[path] = member
            continue
        target = own.get(member.target)
        if target is None or target.kind == "d":
            raise BuildFailed(f"{path} is a hard link to {member.target}, which its layer does not have", hint=_HINT)
        own[path] = replace(target, path=path)
        if target.kind == "f":
            names[path] = names.setdefault(target.path, {target.path})
            names[path].add(path)
    for path, same in names.items():
        first = min(same)
        own[path] = replace(own[path], target="" if path == first else first)
    return own


def _same(one: Member, other: Member) -> bool:
    """Tell whether two entries differ in nothing but times and place."""
    return _essence(one) == _essence(other)


def _essence(member: Member) -> tuple[object, ...]:
    return (
        member.kind, member.mode, member.uid, member.gid, member.size, member.target, member.digest, member.xattrs,
        member.device,
    )  # fmt: skip
