"""Finds the shared libraries of a program in an image, by the rules of its dynamic loader (glibc or musl).

In: the files of the image and an ELF program. Out: each library with the reason why it is loaded, and those that are
not there. Nothing of the image runs. Raises nothing: a damaged file is no library.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sconectl.errors import BuildFailed
from sconectl.image.layers.root_tree import RootFiles
from sconectl.image.program.elf import Elf, read_elf

_TRIPLETS = {
    "386": "i386-linux-gnu", "amd64": "x86_64-linux-gnu", "arm": "arm-linux-gnueabihf", "arm64": "aarch64-linux-gnu",
    "ppc64": "powerpc64le-linux-gnu", "riscv64": "riscv64-linux-gnu", "s390x": "s390x-linux-gnu",
}  # fmt: skip
_PLATFORMS = {"386": "i686", "amd64": "x86_64", "arm": "v7l", "arm64": "aarch64"}
_MUSL_OWN = ("c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet.")
"""Libraries, as `lib<one of these>…`, that musl's loader provides itself."""
_MAX_LIBRARIES = 4096
_MAX_CONFIGURATIONS = 256
_MAX_TEXT = 1 << 20


@dataclass(frozen=True)
class Library:
    """A library that is mapped at the start; `why` names the file that needs it."""

    path: str
    why: str


@dataclass(frozen=True)
class Libraries:
    """The libraries of a program, its dynamic loader first; `missing` holds sentences about those not found."""

    found: tuple[Library, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Object:
    """A loaded file, and the file that needed it."""

    path: str
    elf: Elf
    parent: _Object | None = None

    def chain(self) -> Iterator[_Object]:
        current: _Object | None = self
        while current is not None:
            yield current
            current = current.parent


def elf_at(root: RootFiles, path: str) -> Elf | None:
    """Return the ELF file at a resolved path, or None for any other file. Raises `BuildFailed` if it is damaged."""
    member = root.member(path)
    if member is None or member.kind != "f":
        return None
    try:
        return read_elf(lambda offset, size: root.read(path, offset, size), member.size)
    except BuildFailed as error:
        raise BuildFailed(f"{path}: {error.message}", hint=error.hint) from error


def find_libraries(root: RootFiles, binary: str, elf: Elf, environment: Mapping[str, str], pwd: str) -> Libraries:
    """Return the libraries that the loader maps for `binary` (a resolved path) before the program runs."""
    if not elf.interpreter:
        return Libraries()
    search = _Musl if "musl" in posixpath.basename(elf.interpreter) else _Glibc
    return search(root, _Object(binary, elf), environment, pwd).load()


class _Glibc:
    """The search order of glibc: RPATH, LD_LIBRARY_PATH, RUNPATH, ld.so.conf, default directories."""

    def __init__(self, root: RootFiles, program: _Object, environment: Mapping[str, str], pwd: str) -> None:
        self._root = root
        self._program = program
        self._pwd = pwd
        self._library_path = [
            posixpath.join(pwd, folder)
            for folder in re.split("[:;]", environment.get("LD_LIBRARY_PATH", ""))
            if folder or environment.get("LD_LIBRARY_PATH")
        ]
        self._system = tuple(dict.fromkeys(self._system_folders()))

    def load(self) -> Libraries:
        """Follow the names that each file needs, as the loader does, breadth first."""
        interpreter = self._program.elf.interpreter
        real = self._root.resolve(interpreter)
        if real is None or elf_at(self._root, real) is None:
            return Libraries((), (f"{interpreter}, the dynamic loader of {self._program.path}",))
        found = {real: Library(real, f"dynamic loader of {self._program.path}")}
        known = {posixpath.basename(interpreter)}
        missing: list[str] = []
        queue = [self._program]
        for current in queue:
            for name in current.elf.needed:
                if name in known or self._own(name):
                    continue
                known.add(name)
                place = self._find(name, current)
                if place is None:
                    missing.append(f"{name}, needed by {current.path}")
                    continue
                path, elf = place
                known.add(elf.soname or name)
                target = self._root.resolve(path) or path
                if target not in found and len(found) < _MAX_LIBRARIES:
                    found[target] = Library(target, f"{name}, needed by {current.path}")
                    queue.append(_Object(path, elf, current))
        return Libraries(tuple(found.values()), tuple(missing))

    def _own(self, name: str) -> bool:
        """Tell whether the loader provides a library itself."""
        del name
        return False

    def _find(self, name: str, needed_by: _Object) -> tuple[str, Elf] | None:
        if "/" in name:
            return self._usable(posixpath.join(self._pwd, name))
        for folder in self._folders(needed_by):
            if (usable := self._usable(posixpath.join(folder, name))) is not None:
                return usable
        return None

    def _usable(self, path: str) -> tuple[str, Elf] | None:
        real = self._root.resolve(posixpath.normpath(path))
        try:
            elf = elf_at(self._root, real) if real else None
        except BuildFailed:
            return None
        own = self._program.elf
        return (posixpath.normpath(path), elf) if elf and (elf.machine, elf.bits) == (own.machine, own.bits) else None

    def _folders(self, needed_by: _Object) -> Iterator[str]:
        if not needed_by.elf.runpath:
            for ancestor in needed_by.chain():
                if not ancestor.elf.runpath:
                    yield from self._expanded(ancestor, ancestor.elf.rpath)
        yield from self._library_path
        yield from self._expanded(needed_by, needed_by.elf.runpath)
        yield from self._system

    def _expanded(self, owner: _Object, folders: Sequence[str]) -> Iterator[str]:
        """Replace $ORIGIN, $LIB and $PLATFORM."""
        machine = owner.elf.machine
        libs = (f"lib/{_TRIPLETS.get(machine, machine)}", "lib64" if owner.elf.bits == 64 else "lib", "lib")
        for folder in folders:
            text = re.sub(r"\$(\{ORIGIN\}|ORIGIN\b)", lambda _: posixpath.dirname(owner.path), folder)
            text = re.sub(r"\$(\{PLATFORM\}|PLATFORM\b)", lambda _: _PLATFORMS.get(machine, machine), text)
            for lib in libs if re.search(r"\$(\{LIB\}|LIB\b)", text) else ("",):
                yield posixpath.join(self._pwd, re.sub(r"\$(\{LIB\}|LIB\b)", lib, text))

    def _system_folders(self) -> Iterator[str]:
        yield from _configured(self._root, "/etc/ld.so.conf", set())
        elf = self._program.elf
        triplet = _TRIPLETS.get(elf.machine)
        names = [*([f"lib/{triplet}"] if triplet else []), *(["lib64"] if elf.bits == 64 else []), "lib"]
        for name in names:
            yield from (f"/{name}", f"/usr/{name}")


class _Musl(_Glibc):
    """The search order of musl: LD_LIBRARY_PATH, RPATH or RUNPATH of the file and of what needed it, its path file."""

    def _own(self, name: str) -> bool:
        return name.startswith("lib") and name.removeprefix("lib").startswith(_MUSL_OWN)

    def _folders(self, needed_by: _Object) -> Iterator[str]:
        yield from self._library_path
        for ancestor in needed_by.chain():
            yield from self._expanded(ancestor, ancestor.elf.runpath or ancestor.elf.rpath)
        yield from self._system

    def _system_folders(self) -> Iterator[str]:
        interpreter = self._program.elf.interpreter
        stem = posixpath.basename(interpreter).partition(".")[0]
        prefix = posixpath.dirname(posixpath.dirname(interpreter))
        text = _text_of(self._root, posixpath.join(prefix, "etc", f"{stem}.path"))
        folders = re.split("[:\n]", text) if text is not None else ["/lib", "/usr/local/lib", "/usr/lib"]
        yield from (folder for folder in folders if folder)


def _configured(root: RootFiles, path: str, seen: set[str]) -> Iterator[str]:
    """Yield the directories that a configuration of ldconfig names; `include` takes patterns."""
    if path in seen or len(seen) >= _MAX_CONFIGURATIONS:
        return
    seen.add(path)
    for line in (_text_of(root, path) or "").splitlines():
        words = line.partition("#")[0].split()
        if words[:1] == ["include"]:
            for pattern in words[1:]:
                for file in _matching(root, posixpath.join(posixpath.dirname(path), pattern)):
                    yield from _configured(root, file, seen)
        elif words[:1] != ["hwcap"]:
            for word in words:
                yield from (folder for folder in re.split("[:,]", word) if folder.startswith("/"))


def _matching(root: RootFiles, pattern: str) -> list[str]:
    """Return the paths that a shell pattern stands for, sorted."""
    paths = ["/"]
    for part in posixpath.normpath(pattern).strip("/").split("/"):
        below = [(path, root.resolve(path)) for path in paths]
        paths = [
            posixpath.join(path, name)
            for path, real in below
            if real is not None
            for name in root.names(real)
            if fnmatch.fnmatchcase(name, part)
        ]
    return sorted(paths)


def _text_of(root: RootFiles, path: str) -> str | None:
    real = root.resolve(path)
    member = root.member(real) if real else None
    if real is None or member is None or member.kind != "f":
        return None
    return root.read(real, 0, min(member.size, _MAX_TEXT)).decode("utf-8", "surrogateescape")
