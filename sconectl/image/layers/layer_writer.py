"""Writes the tar of a layer: the same members give the same bytes.

In: members, and files that hold their contents. Out: a `Layer`. Zeros become holes, so that a large empty file costs
nothing.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sconectl.image.layers.layer_index import WHITEOUT, XATTR, Member

_CHUNK = 1 << 20
_NOTHING = bytes(_CHUNK)
_TYPES = {
    "f": tarfile.REGTYPE,
    "w": tarfile.REGTYPE,
    "d": tarfile.DIRTYPE,
    "l": tarfile.SYMTYPE,
    "h": tarfile.LNKTYPE,
    "c": tarfile.CHRTYPE,
    "b": tarfile.BLKTYPE,
    "p": tarfile.FIFOTYPE,
}


@dataclass(frozen=True)
class Layer:
    """A layer: its digest (64 hex digits), and its uncompressed tar."""

    digest: str
    file: Path


def header(member: Member) -> bytes:
    """Return the header of a member in a tar, which precedes its content. Owners have no names, times no fractions."""
    entry = tarfile.TarInfo(member.path[1:])
    entry.type, entry.mode, entry.mtime = _TYPES[member.kind], member.mode, member.mtime
    entry.uid, entry.gid, entry.size = member.uid, member.gid, member.size if member.kind == "f" else 0
    entry.devmajor, entry.devminor = member.device
    if member.kind == "w":
        parent, name = posixpath.split(member.path)
        entry.name = posixpath.join(parent, WHITEOUT + name)[1:]
    elif member.kind in "lh":
        entry.linkname = member.target if member.kind == "l" else member.target[1:]
    entry.pax_headers = {XATTR + name: value for name, value in member.xattrs}
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


class HoleWriter:
    """Writes a file from front to back, with holes where there is nothing but zeros."""

    def __init__(self, file: Path) -> None:
        self._output: BinaryIO = file.open("wb", buffering=0)
        self._buffer = bytearray()

    def write(self, data: bytes) -> None:
        """Append `data`."""
        if len(data) < _CHUNK:
            self._buffer += data
            if len(self._buffer) < _CHUNK:
                return
            data = b""
        self._flush()
        for start in range(0, len(data), _CHUNK):
            self._put(data[start : start + _CHUNK])

    def skip(self, count: int) -> int:
        """Leave room for `count` bytes that the caller writes; return where it begins."""
        self._flush()
        return self._output.seek(count, os.SEEK_CUR) - count

    def _flush(self) -> None:
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._put(data)

    def _put(self, data: bytes) -> None:
        if data == _NOTHING[: len(data)]:
            self._output.seek(len(data), os.SEEK_CUR)
            return
        view = memoryview(data)
        while view:
            view = view[self._output.write(view) :]

    def close(self) -> None:
        """Write the rest; the file then has its full length."""
        try:
            self._flush()
            self._output.truncate(self._output.tell())
        finally:
            self._output.close()


class LayerWriter:
    """Writes one layer to `file`, in the order of the calls; `source` holds the contents of native files."""

    def __init__(self, file: Path, source: Path | None = None) -> None:
        self._file = file
        self._source = source.open("rb", buffering=0) if source else None
        self._output = HoleWriter(file)

    def add(self, member: Member) -> None:
        """Add a member; a file's content is in the source, at the member's offset."""
        self._output.write(header(member))
        if member.kind == "f" and member.size:
            assert self._source is not None  # noqa: S101 - the caller gave files
            self._copy(self._source, member)

    def add_bytes(self, member: Member, content: bytes) -> None:
        """Add a file with this content."""
        self._output.write(header(member))
        self._output.write(content + padding(len(content)))

    def add_copy(self, member: Member, source: Path) -> None:
        """Add a file whose content is in another source, at the member's offset."""
        self._output.write(header(member))
        with source.open("rb", buffering=0) as opened:
            self._copy(opened, member)

    def reserve(self, member: Member) -> int:
        """Add a file whose content the caller writes before `finish`; return where in the tar it begins."""
        self._output.write(header(member))
        start = self._output.skip(member.size)
        self._output.write(padding(member.size))
        return start

    def _copy(self, source: BinaryIO, member: Member) -> None:
        position, end = member.offset, member.offset + member.size
        while position < end:
            chunk = os.pread(source.fileno(), min(_CHUNK, end - position), position)
            if not chunk:
                raise OSError(f"the content of {member.path} is not there")
            self._output.write(chunk)
            position += len(chunk)
        self._output.write(padding(member.size))

    def close(self) -> None:
        """End the tar. Its reserved files can be written until `digest`."""
        try:
            self._output.write(bytes(2 * tarfile.BLOCKSIZE))
            self._output.close()
        finally:
            if self._source:
                self._source.close()

    def finish(self) -> Layer:
        """Return the layer, after `close`."""
        digest = hashlib.sha256()
        with self._file.open("rb", buffering=0) as written:
            while chunk := written.read(_CHUNK):
                digest.update(chunk)
        return Layer(digest.hexdigest(), self._file)


def padding(size: int) -> bytes:
    """Return the zeros that fill the last block of a content of this size in a tar."""
    return bytes(-size % tarfile.BLOCKSIZE)
