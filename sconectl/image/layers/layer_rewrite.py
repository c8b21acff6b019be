"""Decides which layers of a native image stay as they are, and what is in those that do not.

In: a native image, its base image, what is measured and encrypted. Out: a plan for each layer: the same content gives
the same plan, whatever day, engine or builder.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import takewhile

from sconectl.image.build.native_build import SCRATCH
from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.root_index import TRANSIENT, MeasuredRoot
from sconectl.image.layers.root_tree import RootTree
from sconectl.image.layers.saved_image import NativeImage
from sconectl.protect.index import is_below

PACKS = "/scone/image/packs"
_STUBS = frozenset(
    {
        "/.dockerenv",
        "/etc/hostname",
        "/etc/hosts",
        "/etc/mtab",
        "/etc/resolv.conf",
        "/run/.containerenv",
        "/sbin/docker-init",
        "/usr/sbin/docker-init",
    }
)
"""What build containers leave behind where something is mounted; containers get their own."""


@dataclass(frozen=True)
class BuildTime:
    """The time that an image says it was made: SOURCE_DATE_EPOCH, else when its base image was made.

    Files that are newer than the base image were made by a build, whenever that was: they get this time.
    """

    epoch: int
    base: int

    @classmethod
    def of(cls, created: str, epoch: int | None) -> BuildTime:
        """Return the time for a base image that was `created` then (RFC 3339); `epoch` is SOURCE_DATE_EPOCH."""
        try:
            base = max(int(datetime.fromisoformat(created).astimezone(UTC).timestamp()), 0)
        except (ValueError, OverflowError):
            base = 0
        return cls(base if epoch is None else epoch, base)

    def clamped(self, member: Member) -> Member:
        """Return a member with a time that does not depend on when it was built."""
        kept = 0 <= member.mtime <= min(self.base, self.epoch)
        return member if kept else replace(member, mtime=self.epoch)


@dataclass(frozen=True)
class LayerPlan:
    """The plan for native layer `number`: taken over as it is, or `entries` and a pack of `sealed` files instead."""

    number: int
    verbatim: bool
    entries: Sequence[Member] = ()
    sealed: Sequence[Member] = ()

    @property
    def empty(self) -> bool:
        """Tell whether nothing is left of the layer."""
        return not (self.verbatim or self.entries or self.sealed)

    @property
    def pack(self) -> str:
        """The path of the pack in the image."""
        return f"{PACKS}/{self.number}"


def plan_layers(image: NativeImage, base: Sequence[str], root: MeasuredRoot, time: BuildTime) -> list[LayerPlan]:
    """Plan each layer of `image`; `base` are the digests (`sha256:…`) of its base image's layers."""
    return _Planning(image, root, time).plans(base)


def base_layers(image: NativeImage, base: Sequence[str]) -> int:
    """Return how many of the lowest layers are those of the base image."""
    return common_layers([layer.digest for layer in image.layers], base)


def common_layers(digests: Iterable[str], others: Sequence[str]) -> int:
    """Return how many of the lowest layers are the same: `digests` have 64 hex digits, `others` are `sha256:…`."""
    pairs = zip(digests, others, strict=False)
    return sum(1 for _ in takewhile(lambda pair: f"sha256:{pair[0]}" == pair[1], pairs))


@dataclass
class _Content:
    """The content of a rewritten layer."""

    entries: dict[str, Member] = field(default_factory=dict)
    sealed: list[Member] = field(default_factory=list)


class _Planning:
    def __init__(self, image: NativeImage, root: MeasuredRoot, time: BuildTime) -> None:
        self._image = image
        self._tree: RootTree = image.tree
        self._sealed = sealed = frozenset(root.index.sealed)
        self._replaced = sealed | root.volumes
        self._packed = {path for path, member in root.sealed.items() if member.kind == "f"}
        self._time = time
        self._secret = {
            member.digest
            for layer in image.layers
            for member in layer.members
            if member.kind == "f" and member.size and is_below(member.path, sealed)
        }

    def plans(self, base: Sequence[str]) -> list[LayerPlan]:
        kept = base_layers(self._image, base)
        verbatim = [
            number < kept and not any(map(self._must_go, layer.members))
            for number, layer in enumerate(self._image.layers)
        ]
        contents = {number: _Content() for number, keep in enumerate(verbatim) if not keep}
        self._distribute(contents)
        self._remove(
            contents, [layer.members for layer, keep in zip(self._image.layers, verbatim, strict=True) if keep]
        )
        return [
            self._plan(number, contents[number]) if number in contents else LayerPlan(number, verbatim=True)
            for number in range(len(verbatim))
        ]

    def _must_go(self, member: Member) -> bool:
        """Tell whether an entry of a layer may not stay in the image."""
        if is_below(member.path, (f"/{SCRATCH}",)):
            return True
        if is_below(member.path, self._replaced):
            return not (member.kind == "d" and member.path in self._replaced)
        if member.kind != "f" or member.digest not in self._secret:
            return False
        visible = self._tree.members.get(member.path)
        return visible is None or visible.digest != member.digest  # a copy of a secret that an upper layer removed

    def _distribute(self, contents: Mapping[int, _Content]) -> None:
        for path, member in self._tree.members.items():
            content = contents.get(self._tree.layer_of[path])
            if content is None or path == "/" or _dropped(path):
                continue
            if not is_below(path, self._replaced):
                content.entries[path] = self._time.clamped(member)
            elif path in self._packed:
                content.sealed.append(member)

    def _remove(self, contents: Mapping[int, _Content], kept: Sequence[Sequence[Member]]) -> None:
        """Hide removed entries that are still in layers that stay as they are."""
        there = _with_parents(member.path for members in kept for member in members if member.kind not in "wo")
        for path, number in self._tree.removed_in.items():
            above = self._tree.members.get(posixpath.dirname(path))
            hidden = above is None or above.kind != "d" or is_below(path, self._replaced) or _dropped(path)
            if number in contents and path in there and not hidden:
                contents[number].entries[path] = Member(path, "w", 0)

    def _plan(self, number: int, content: _Content) -> LayerPlan:
        entries = dict(content.entries)
        for path in content.entries:
            self._add_parents(path, entries)
        plan = LayerPlan(
            number,
            verbatim=False,
            entries=_with_links(entries[path] for path in sorted(entries)),
            sealed=sorted(content.sealed, key=lambda member: member.path),
        )
        return plan

    def _add_parents(self, path: str, entries: dict[str, Member]) -> None:
        """Add the directories above `path`: engines make missing ones as they like."""
        while (path := posixpath.dirname(path)) != "/" and path not in entries:
            entries[path] = self._time.clamped(self._tree.members[path])


def _dropped(path: str) -> bool:
    if is_below(path, (f"/{SCRATCH}",)) or path in _STUBS:
        return True
    return is_below(path, TRANSIENT) and path not in TRANSIENT


def _with_parents(paths: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        above = path
        while above not in found:
            found.add(above)
            above = posixpath.dirname(above)
    return found


def _with_links(entries: Iterable[Member]) -> list[Member]:
    """Return the entries with all but the first name of a file as hard links."""
    first: dict[str, str] = {}
    result = []
    for entry in entries:
        known = first.setdefault(entry.target or entry.path, entry.path) if entry.kind == "f" else entry.path
        if known == entry.path:
            result.append(replace(entry, target="") if entry.kind == "f" else entry)
        else:
            result.append(replace(entry, kind="h", target=known, size=0, digest="", offset=0))
    return result
