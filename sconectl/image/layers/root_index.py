"""The measured index of a root file system, and what an image has to carry so that the live one matches it.

In: the root file system of a native image, and which paths are encrypted, unprotected, injected and volumes. Out: a
`MeasuredRoot`. Raises `BuildFailed`, with all paths that cannot be protected at once.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sconectl.errors import BuildFailed
from sconectl.image.build.native_build import SCRATCH
from sconectl.image.layers.layer_index import Member, entry_of
from sconectl.image.layers.root_tree import RootTree
from sconectl.protect.index import RUNTIME_PATHS, Entry, Index, directory_entry, file_entry, is_below, link_entry
from sconectl.runtime.files import IN_PLACE, ORIGINALS, injected_target, original_of, sealed_target, volume_target

TRANSIENT = ("/dev", "/proc", "/sys")
"""Directories whose content in the image containers do not see."""
_SHOWN = 20
_SET_ID = 0o6000
_REMOVE = "remove them from the image, where it is made (its Dockerfile, or `run` of a manifest)"


@dataclass(frozen=True)
class MeasuredRoot:
    """The measured files (`index`), the files to encrypt (`sealed`), and additions to the native files of the image.

    These are `links` with their targets, `made` directories, and `originals`: by path, the file to copy there. What is
    in the paths of `volumes` is left out, and `mounted` are directories with owner and mode of those of the volumes.
    """

    index: Index
    links: Mapping[str, str]
    made: tuple[str, ...]
    originals: Mapping[str, str]
    sealed: Mapping[str, Member]
    volumes: frozenset[str] = frozenset()
    mounted: Mapping[str, Member] = field(default_factory=dict)


def root_index(
    tree: RootTree,
    *,
    outside: tuple[str, ...],
    sealed: tuple[str, ...],
    injected: tuple[str, ...],
    folders: tuple[str, ...] = (),
    volumes: Mapping[str, str] = MappingProxyType({}),
) -> MeasuredRoot:
    """Index the protected part of `tree`. `sealed` directories are encrypted, `outside` paths are left alone.

    `folders` are made where they are missing: container runtimes would, which would be a change. `volumes` are the
    names of volumes by their paths.
    """
    _check_places(outside, sealed, injected, tuple(volumes))
    return _Indexing(tree, outside, sealed, injected, volumes).finish(folders)


def _check_places(
    outside: tuple[str, ...], sealed: tuple[str, ...], injected: tuple[str, ...], volumes: tuple[str, ...]
) -> None:
    """Refuse paths that cannot be protected in the demanded way."""
    for path in (*sealed, *outside, *injected, *volumes):
        if path == "/" or is_below(path, ("/scone",)):
            raise BuildFailed(f"{path} can be neither encrypted nor unprotected nor injected nor a volume")
    for path in volumes:
        for other in (*RUNTIME_PATHS, ORIGINALS, *outside, *sealed, *injected, *volumes):
            if other != path and (is_below(path, (other,)) or is_below(other, (path,))):
                raise BuildFailed(
                    f"{path} cannot be a volume together with {other}",
                    hint="a volume neither contains a path that is kept in another way, nor lies in one",
                )
    for path in injected:
        if is_below(path, TRANSIENT):
            raise BuildFailed(f"{path} cannot be injected: container runtimes fill {'/'.join(path.split('/')[:2])}")
    for path in sealed:
        for other in (*RUNTIME_PATHS, *outside, *(other for other in sealed if other != path)):
            if is_below(path, (other,)) or is_below(other, (path,)):
                raise BuildFailed(
                    f"{path} cannot be encrypted together with {other}",
                    hint="encrypt directories that neither contain nor lie in an unprotected or encrypted one",
                )


@dataclass
class _Faults:
    """Collects faults, so that one message names all of them."""

    paths: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, path: str, reason: str, hint: str) -> None:
        self.paths[reason, hint].append(path)

    def report(self) -> None:
        """Raise `BuildFailed` if there is anything."""
        if self.paths:
            lines = [f"{reason}: {_shown(sorted(paths))}" for (reason, _), paths in self.paths.items()]
            raise BuildFailed("; ".join(lines), hint="; ".join(dict.fromkeys(hint for _, hint in self.paths)))


def _shown(paths: list[str]) -> str:
    more = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


class _Indexing:
    def __init__(
        self,
        tree: RootTree,
        outside: tuple[str, ...],
        sealed: tuple[str, ...],
        injected: tuple[str, ...],
        volumes: Mapping[str, str],
    ) -> None:
        self._tree = tree
        self._outside = frozenset({*RUNTIME_PATHS, *outside})
        self._sealed_roots = frozenset(sealed)
        self._links = {path: sealed_target(path) for path in sealed}
        self._links |= {path: injected_target(path) for path in injected if path not in IN_PLACE}
        self._links |= {path: volume_target(name) for path, name in volumes.items()}
        self._volumes = frozenset(volumes)
        self._entries: dict[str, Entry] = {}
        self._sealed: dict[str, Member] = {}
        self._made: dict[str, None] = {}
        self._originals: dict[str, str] = {}
        self._files: dict[tuple[int, str], dict[str, str]] = defaultdict(dict)
        self._faults = _Faults()

    def finish(self, folders: tuple[str, ...]) -> MeasuredRoot:
        for path, member in sorted(self._tree.members.items()):
            self._take(path, member)
        for names in self._files.values():
            self._check_hard_links(names)
        missing = sorted(root for root in self._sealed_roots if self._kind(root) != "d")
        for root in missing:
            self._faults.add(root, "to be encrypted, but not a directory of the image", "check build.dirs (--dir)")
        self._faults.report()
        links = self._place_links()
        mounted = {path: self._mounted(path) for path in sorted(self._volumes)}
        for path in self._outside:  # runtimes create missing directories above a mount; that would be a change
            self._make_parents(path)
        for path in folders:
            hidden = is_below(path, self._sealed_roots | self._volumes)
            if self._tree.resolve(path) is None and not hidden:
                self._make_parents(posixpath.join(self._real(path), "-"))
        index = Index(tuple(sorted(self._outside)), tuple(sorted(self._sealed_roots)), self._entries)
        made = tuple(sorted(self._made))
        return MeasuredRoot(index, links, made, self._originals, self._sealed, self._volumes, mounted)

    def _kind(self, path: str) -> str:
        found = self._tree.members.get(path)
        return found.kind if found else ""

    def _take(self, path: str, member: Member) -> None:
        if path == "/" or is_below(path, (f"/{SCRATCH}",)):
            return
        if is_below(path, self._sealed_roots):
            self._seal(path, member)
        elif is_below(path, self._volumes):
            if path in self._volumes and member.kind != "d":
                self._faults.add(path, "to be a volume, but not a directory of the image", "name a directory")
        elif path in self._links:
            self._keep_original(path, member)
        elif is_below(path, self._outside):
            self._note_file(path, member, "unprotected")
        else:
            self._protect(path, member)

    def _protect(self, path: str, member: Member) -> None:
        self._note_file(path, member, "protected")
        if entry := entry_of(member):
            self._entries[path] = entry
        else:
            hint = f"{_REMOVE}, or name their directory in host_paths"
            self._faults.add(path, "devices and FIFOs, which cannot be protected", hint)

    def _seal(self, path: str, member: Member) -> None:
        self._sealed[path] = member
        self._note_file(path, member, "encrypted")
        if path in self._links and path not in self._sealed_roots:
            if member.kind == "d":
                self._faults.add(path, "to be injected, but a directory there", "name a file")
            self._sealed[path] = Member(path, "l", 0o777, target=self._links[path])
        elif member.kind not in "dlf":
            self._faults.add(path, "devices and FIFOs, which cannot be encrypted", _REMOVE)
        elif member.mode & _SET_ID and member.kind == "f":
            hint = f"{_REMOVE}, or take their mode away with chmod"
            self._faults.add(path, "set-uid and set-gid files, which cannot be encrypted", hint)

    def _keep_original(self, path: str, member: Member) -> None:
        """Keep a file that an injected one will replace: the policy may fill secrets into this original."""
        if member.kind == "d":
            self._faults.add(path, "to be injected, but a directory there", "name a file")
        elif member.kind == "f" and not is_below(ORIGINALS, self._sealed_roots):
            self._originals[original_of(path)] = path

    def _mounted(self, path: str) -> Member:
        """Keep an empty directory for a volume, with owner and mode of the one that is there in the native image."""
        kept, native = original_of(path), self._tree.members.get(path, Member(path, "d", 0o755))
        if kept in self._tree.members:
            raise BuildFailed(f"the image has {kept}, where confidential images keep something", hint=_REMOVE)
        found = Member(kept, "d", native.mode, native.uid, native.gid)
        if is_below(kept, self._sealed_roots):
            self._seal_path(found)
        else:
            self._make_parents(kept)
            self._entries[kept] = directory_entry(native.mode)
        return found

    def _note_file(self, path: str, member: Member, protection: str) -> None:
        if member.kind == "f":
            self._files[self._tree.layer_of[path], member.target or path][path] = protection

    def _check_hard_links(self, names: Mapping[str, str]) -> None:
        """Refuse one file under names that are protected in different ways."""
        if len(set(names.values())) > 1:
            for path, protection in names.items():
                self._faults.add(
                    f"{path} ({protection})",
                    "hard links to files that are protected in another way",
                    f"{_REMOVE}, or copy the files",
                )

    def _place_links(self) -> dict[str, str]:
        """Put links where decrypted and injected files will appear; return those of the plain part."""
        placed = {}
        for path, target in sorted(self._links.items()):
            self._require_directory(posixpath.dirname(path), path)
            if path not in self._sealed_roots and is_below(path, self._sealed_roots):
                self._seal_path(Member(path, "l", 0o777, target=target))
                continue
            real = self._real(path)
            placed[real] = target
            self._make_parents(real)
            if not is_below(real, self._outside):
                self._entries[real] = link_entry(target)
        for path, source in sorted(self._originals.items()):
            self._require_directory(posixpath.dirname(path), source)
            self._make_parents(path)
            found = self._tree.members[source]
            self._entries[path] = file_entry(found.mode, found.size, found.digest)
        return placed

    def _real(self, path: str) -> str:
        """Return `path` without links on the way; unprotected paths like /var/run may lead through some."""
        above, rest = posixpath.split(path)
        while (real := self._tree.resolve(above)) is None:
            above, name = posixpath.split(above)
            rest = posixpath.join(name, rest)
        return posixpath.join(real, rest)

    def _seal_path(self, member: Member) -> None:
        """Add something to an encrypted directory, with the directories above it."""
        path = member.path
        self._sealed[path] = member
        while (path := posixpath.dirname(path)) not in self._sealed:
            self._sealed[path] = Member(path, "d", 0o755)

    def _require_directory(self, parent: str, path: str) -> None:
        """Refuse a directory that is a link or a file in the image: a link in it would never be found."""
        while parent != "/":
            kind = self._kind(parent) or "d"
            if kind != "d" and not is_below(parent, self._outside):
                wish = "a volume" if path in self._volumes else "injected"
                raise BuildFailed(
                    f"{path} cannot be {wish}: {parent} is {'a link' if kind == 'l' else 'a file'} in the image",
                    hint="name the path without links",
                )
            parent = posixpath.dirname(parent)

    def _make_parents(self, path: str) -> None:
        missing = []
        while (path := posixpath.dirname(path)) != "/" and path not in self._entries:
            if is_below(path, self._outside):
                break
            missing.append(path)
        for parent in reversed(missing):
            if self._entries.get(posixpath.dirname(parent), ("d",))[0] != "d":
                return  # the image has a link there, and runtimes follow it
            self._made[parent] = None
            self._entries[parent] = directory_entry(0o755)
