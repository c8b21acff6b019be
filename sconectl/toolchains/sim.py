"""The `sim` toolchain: turns a native root file system into a protected, measured image without any hardware.

In: the tar of a native image and what to protect how. Out: layers, measurement and the state of the encrypted files.
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from sconectl.errors import BuildFailed
from sconectl.protect.index import (
    RUNTIME_PATHS,
    Entry,
    Index,
    directory_entry,
    file_entry,
    is_below,
    link_entry,
)
from sconectl.protect.measure import measurement
from sconectl.protect.sealed import SealedFile, blob_name, seal_content, seal_index, sealed_size
from sconectl.runtime.files import IN_PLACE, injected_target, sealed_target
from sconectl.toolchains.image_archive import Layer, LayerWriter
from sconectl.toolchains.launcher_bundle import Bundle
from sconectl.toolchains.native_build import SCRATCH

FSPF_PATH = "/scone/image/fs.fspf"
_SPOOL = 64 << 20
_TRANSIENT = ("/dev", "/proc", "/sys")


@dataclass(frozen=True)
class Protection:
    """What to do with which path. All paths are absolute and normalised."""

    sealed: tuple[str, ...]
    outside: tuple[str, ...]
    injected: tuple[str, ...]
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class ProtectedRoot:
    """The result: the layer with the protected files, and what a policy has to know about it."""

    layer: Layer
    index: Index
    measurement: str
    fspf_tag: str


def protect(stream: BinaryIO, protection: Protection, key: bytes, bundle: Bundle, file: Path) -> ProtectedRoot:
    """Protect the root file system in `stream` (a tar) and write the layer to `file`.

    `key` (32 bytes) encrypts the sealed directories. Raises `BuildFailed` for what cannot be protected.
    """
    _check_places(protection)
    try:
        with LayerWriter(file) as writer:
            walk = _Walk(protection, key, writer)
            with tarfile.open(fileobj=stream, mode="r|") as source:
                for member in source:
                    walk.take(member, source)
            return _finish(walk, protection, writer, bundle)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BuildFailed(f"the root file system of the native image cannot be copied: {error}") from error


def _finish(walk: _Walk, protection: Protection, writer: LayerWriter, bundle: Bundle) -> ProtectedRoot:
    walk.check_sealed()
    walk.place_links()
    tag = walk.write_sealed_index()
    index = Index(walk.outside, protection.sealed, walk.entries)
    enclave = {"launcher": bundle.digest, "parameters": dict(protection.parameters)}
    writer.add_bytes("scone/image/index.json", index.to_bytes())
    writer.add_bytes("scone/image/enclave.json", json.dumps(enclave, indent=1, sort_keys=True).encode())
    found = measurement(launcher=bundle.digest, root=index.digest(), parameters=protection.parameters)
    return ProtectedRoot(writer.finish(), index, found, tag)


def _check_places(protection: Protection) -> None:
    """Refuse places where what is asked for would not hold."""
    outside = (*RUNTIME_PATHS, *protection.outside)
    for path in (*protection.sealed, *protection.outside, *protection.injected):
        if path == "/" or is_below(path, ("/scone",)):
            raise BuildFailed(f"{path} can be neither encrypted nor unprotected nor injected")
    for path in protection.injected:
        if is_below(path, _TRANSIENT):
            raise BuildFailed(f"{path} cannot be injected: container runtimes fill {'/'.join(path.split('/')[:2])}")
    for path in protection.sealed:
        for other in (*outside, *(other for other in protection.sealed if other != path)):
            if is_below(path, (other,)) or is_below(other, (path,)):
                raise BuildFailed(
                    f"{path} cannot be encrypted together with {other}",
                    hint="encrypt directories that neither contain nor lie in an unprotected or encrypted one",
                )


def _path_of(name: str) -> str:
    return posixpath.normpath("/" + name.lstrip("/"))


class _Walk:
    """One pass over the members of a root file system."""

    def __init__(self, protection: Protection, key: bytes, writer: LayerWriter) -> None:
        self.protection = protection
        self.outside = tuple(sorted({*RUNTIME_PATHS, *protection.outside}))
        self.entries: dict[str, Entry] = {}
        self._key = key
        self._writer = writer
        self._outside = frozenset(self.outside)
        self._sealed_roots = frozenset(protection.sealed)
        self._sealed: dict[str, SealedFile] = {}
        self._placed: dict[str, tarfile.TarInfo] = {}  # files of the layer, protected or not
        self._links = {path: sealed_target(path) for path in protection.sealed}
        self._links |= {path: injected_target(path) for path in protection.injected if path not in IN_PLACE}

    def take(self, member: tarfile.TarInfo, source: tarfile.TarFile) -> None:
        path = _path_of(member.name)
        if path == "/" or is_below(path, (f"/{SCRATCH}", "/.dockerenv")):
            return
        if is_below(path, ("/scone",)):
            raise BuildFailed("the native image already has /scone: it is a confidential image itself")
        if path in self._links and path not in self._sealed_roots:
            if member.isdir():
                raise BuildFailed(f"{path} is to be injected, but the image has a directory there")
            return  # the injected file takes its place
        if is_below(path, self._sealed_roots):
            self._seal(path, member, source)
        elif is_below(path, self._outside):
            if not (is_below(path, _TRANSIENT) and path not in _TRANSIENT):
                self._make_parents(path)
                self._copy(path, member, source)
        else:
            self._protect(path, member, source)

    def _protect(self, path: str, member: tarfile.TarInfo, source: tarfile.TarFile) -> None:
        self._make_parents(path)
        digest = self._copy(path, member, source)
        if member.isdir():
            self.entries[path] = directory_entry(member.mode)
        elif member.issym():
            self.entries[path] = link_entry(member.linkname)
        elif member.isreg():
            self.entries[path] = file_entry(member.mode, member.size, digest)
        elif member.islnk():
            target = _path_of(member.linkname)
            if target not in self.entries:
                raise BuildFailed(f"{path} is a hard link to {target}, which is protected in another way")
            self.entries[path] = self.entries[target]
        else:
            raise BuildFailed(
                f"{path} is a device, socket or FIFO, which cannot be protected",
                hint="remove it in a `run` step, or name its directory in host_paths",
            )

    def _copy(self, path: str, member: tarfile.TarInfo, source: tarfile.TarFile) -> str:
        clean = tarfile.TarInfo(path[1:])
        clean.type, clean.mode, clean.uid, clean.gid = member.type, member.mode, member.uid, member.gid
        clean.mtime = int(member.mtime)
        clean.linkname, clean.devmajor, clean.devminor = member.linkname, member.devmajor, member.devminor
        kept = {key: value for key, value in member.pax_headers.items() if key.startswith("SCHILY.xattr.")}
        clean.pax_headers = kept  # the others would override what is set here
        if member.islnk():
            target = self._placed.get(_path_of(member.linkname))
            if target is None:
                raise BuildFailed(f"{path} is a hard link to {member.linkname}, which is protected in another way")
            clean.linkname, clean.mode, clean.uid, clean.gid = target.name, target.mode, target.uid, target.gid
        if not member.isdir():
            self._placed[path] = clean
        if not member.isreg():
            self._writer.tar.addfile(clean)
            return ""
        clean.type, clean.size = tarfile.REGTYPE, member.size
        reader = _Hashing(cast(IO[bytes], source.extractfile(member)))
        self._writer.tar.addfile(clean, reader)
        return reader.digest.hexdigest()

    def _seal(self, path: str, member: tarfile.TarInfo, source: tarfile.TarFile) -> None:
        if member.isdir():
            self._sealed[path] = SealedFile(path, "d", member.mode)
        elif member.issym():
            self._sealed[path] = SealedFile(path, "l", 0o777, target=member.linkname)
        elif member.isreg():
            with tempfile.SpooledTemporaryFile(max_size=_SPOOL) as spool:
                reader = _Hashing(cast(IO[bytes], source.extractfile(member)))
                while chunk := reader.read(1 << 20):
                    spool.write(chunk)
                spool.seek(0)
                digest = reader.digest.hexdigest()
                blob = blob_name(self._key, path)
                sealed = tarfile.TarInfo(f"scone/image/blobs/{blob}")
                sealed.size, sealed.mode = sealed_size(member.size), 0o644
                chunks = seal_content(self._key, path, digest, cast(BinaryIO, spool))
                self._writer.tar.addfile(sealed, _Chunks(chunks))
            self._sealed[path] = SealedFile(path, "f", member.mode, size=member.size, digest=digest, blob=blob)
        else:
            raise BuildFailed(
                f"{path} is a hard link or special file, which cannot be encrypted",
                hint="remove it in a `run` step, or copy it there",
            )

    def check_sealed(self) -> None:
        """Refuse encrypted directories that are not in the image: nothing would be protected."""
        found = {file.path for file in self._sealed.values() if file.kind == "d"}
        missing = sorted(self._sealed_roots - found)
        if missing:
            raise BuildFailed(
                f"to be encrypted, but not a directory of the image: {', '.join(missing)}",
                hint="check build.dirs of the service manifest",
            )

    def place_links(self) -> None:
        """Put links where decrypted and injected files will appear, and make way for what runtimes mount."""
        for path, target in sorted(self._links.items()):
            self._require_directory(posixpath.dirname(path), path)
            if path not in self._sealed_roots and is_below(path, self._sealed_roots):
                self._sealed[path] = SealedFile(path, "l", 0o777, target=target)
                continue
            self._make_parents(path)
            member = tarfile.TarInfo(path.lstrip("/"))
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
            self._writer.tar.addfile(member)
            if not is_below(path, self._outside):
                self.entries[path] = link_entry(target)
        for path in self.outside:  # runtimes create what is missing above a mount; that would be a change
            self._make_parents(path)

    def _require_directory(self, parent: str, path: str) -> None:
        """Refuse a place that the image reaches in another way, or not at all: its link would never be found."""
        while parent != "/":
            sealed = self._sealed.get(parent)
            kind = sealed.kind if sealed else self.entries.get(parent, ("d",))[0]
            if kind != "d":
                raise BuildFailed(
                    f"{path} cannot be injected: {parent} is {'a link' if kind == 'l' else 'a file'} in the image",
                    hint="name the path without links",
                )
            parent = posixpath.dirname(parent)

    def _make_parents(self, path: str) -> None:
        parent = posixpath.dirname(path)
        if parent == "/" or parent in self.entries or is_below(parent, self._outside):
            return
        self._make_parents(parent)
        if self._below_link(parent):
            return
        member = tarfile.TarInfo(parent.lstrip("/"))
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        self._writer.tar.addfile(member)
        self.entries[parent] = directory_entry(0o755)

    def _below_link(self, path: str) -> bool:
        """Tell whether `path` leads through something that is not a directory."""
        while (path := posixpath.dirname(path)) != "/":
            if self.entries.get(path, ("d",))[0] != "d":
                return True
        return False

    def write_sealed_index(self) -> str:
        """Write the encrypted index and return its tag, or nothing if no directory is encrypted."""
        if not self._sealed_roots:
            return ""
        data, tag = seal_index(self._key, list(self._sealed.values()))
        self._writer.add_bytes(FSPF_PATH.lstrip("/"), data)
        return tag


class _Hashing(io.RawIOBase):
    """Hashes what is read through it."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        return data


class _Chunks(io.RawIOBase):
    """Lets a tar writer read from an iterator."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self._rest += chunk
        data, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return data
