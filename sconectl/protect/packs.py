"""Packs: one file with the encrypted contents of many files, one behind the other and nothing in between.

In: where the plain contents are, and the data key. Out: bytes written, and one record for each file. Raises `OSError`
for what cannot be read or written, and for a file whose content is not what the caller said or changed meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import NamedTuple

from sconectl.protect.chunks import CHUNK, ContentIdentity, FileCipher, path_bytes, sealed_size
from sconectl.protect.collector import no_collection
from sconectl.protect.fspf import SealedFile
from sconectl.protect.workers import PROCESSES, balanced, each_unit

_BUFFER = 1 << 23
"""Files up to this size are read once, longer ones twice."""
_PIECE = 1 << 20
"""Bytes that are encrypted and written at once. Any chunk fits in."""
_RUN = 1 << 22
_FILES = 250
_EACH = 50_000
"""The work for a file besides its content, as bytes to encrypt."""


class Plain(NamedTuple):
    """Where the content of one file is: `size` bytes of `file` from `offset`.

    `digest` is its SHA-256 if that is known: then the content must have it.
    """

    path: str
    mode: int
    size: int
    file: Path | str
    offset: int = 0
    digest: str = ""


def pack_size(files: Sequence[Plain]) -> int:
    """Return the size of the pack that `write_pack` makes."""
    return sum(sealed_size(file.size) for file in files)


@no_collection()
def write_pack(
    data_key: bytes,
    name: str,
    files: Sequence[Plain],
    output: Path,
    *,
    start: int = 0,
    processes: int | None = None,
    chunk: int = CHUNK,
) -> list[SealedFile]:
    """Encrypt `files` into `output` from byte `start` on, and return their records; `name` is what the pack is called.

    The rest of `output` stays as it is. Memory does not grow with the files.
    """
    ends = list(accumulate((sealed_size(file.size, chunk) for file in files), initial=0))
    runs = balanced([file.size + _EACH for file in files], most=_RUN, many=_FILES)
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        writer = _PackWriter(data_key, chunk, files, runs, [start + end for end in ends], target)
        identities = each_unit(len(runs), writer.write_run, processes=PROCESSES if processes is None else processes)
    except OSError as error:
        if error.filename is None and error.errno:  # of writing: what was read has its name
            raise OSError(error.errno, error.strerror, os.fspath(output)) from error
        raise
    finally:
        os.close(target)
    found = dict(zip(chain(*runs), chain(*identities), strict=True))
    return [
        SealedFile(file.path, "f", file.mode, "", file.size, found[number].hex(), name, ends[number])
        if file.size
        else SealedFile(file.path, "f", file.mode)
        for number, file in enumerate(files)
    ]


@dataclass
class _PackWriter:
    """Encrypts runs of files; each copy of the process has an open source and a buffer of its own."""

    data_key: bytes
    chunk: int
    files: Sequence[Plain]
    runs: Sequence[range]
    places: Sequence[int]
    target: int
    _name: Path | str = ""
    _source: int = -1
    _size: int = 0

    def __post_init__(self) -> None:
        self._identity = ContentIdentity(self.data_key, self.chunk)
        self._piece = _PIECE // self.chunk * self.chunk
        self._buffer = memoryview(bytearray(_BUFFER // self.chunk * self.chunk))
        self._output = _Output(self.target, memoryview(bytearray(sealed_size(self._piece, self.chunk))))

    def write_run(self, number: int) -> list[bytes]:
        """Encrypt a run of files; return the identities of their contents."""
        run = self.runs[number]
        self._output.place = self.places[run.start]
        try:
            identities = [self._write(self.files[each]) for each in run]
        finally:
            self._close()
        self._output.flush()
        return identities

    def _write(self, plain: Plain) -> bytes:
        """Encrypt a file and return the identity of its content."""
        self._open(plain)
        size = plain.size
        if size > len(self._buffer):
            return self._write_long(plain)
        content = self._buffer[:size]
        _require(os.preadv(self._source, [content], plain.offset) == size, plain)
        if plain.digest:
            _require(hashlib.sha256(content).hexdigest() == plain.digest, plain)
        if not size:
            return b""
        identity = self._identity.of(self._identity.tags(content))
        cipher = FileCipher(self.data_key, path_bytes(plain.path), self.chunk, identity, size)
        self._encrypt(cipher, content, 0)
        return identity

    def _encrypt(self, cipher: FileCipher, content: memoryview, first: int) -> None:
        """Encrypt content that begins with chunk `first`, in pieces that the processor's cache holds."""
        for start in range(0, len(content), self._piece):
            piece = content[start : start + self._piece]
            room = self._output.room(sealed_size(len(piece), self.chunk))
            cipher.encrypt(piece, room, first + start // self.chunk)

    def _write_long(self, plain: Plain) -> bytes:
        """Encrypt a file that is too large for memory: it is read twice, and must have the same content each time."""
        digest, tags = hashlib.sha256(), []
        for block in self._blocks(plain):
            tags += self._identity.tags(block)
            if plain.digest:
                digest.update(block)
        _require(not plain.digest or digest.hexdigest() == plain.digest, plain)
        identity = self._identity.of(tags)
        cipher = FileCipher(self.data_key, path_bytes(plain.path), self.chunk, identity, plain.size)
        number = 0
        for block in self._blocks(plain):
            again = self._identity.tags(block)
            _require(again == tags[number : number + len(again)], plain)
            self._encrypt(cipher, block, number)
            number += len(again)
        return identity

    def _blocks(self, plain: Plain) -> Iterator[memoryview]:
        """Yield the content in blocks of whole chunks; each is gone when the next one comes."""
        start = 0
        while start < plain.size:
            block = self._buffer[: plain.size - start]
            _require(os.preadv(self._source, [block], plain.offset + start) == len(block), plain)
            yield block
            start += len(block)

    def _open(self, plain: Plain) -> None:
        """Open the source. Without a digest of the content, its size must not have changed."""
        if plain.file is not self._name:
            self._close()
            self._source, self._size = open_regular(plain.file)
            self._name = plain.file
        _require(bool(plain.digest) or self._size == plain.offset + plain.size, plain)

    def _close(self) -> None:
        if self._source >= 0:
            os.close(self._source)
        self._source, self._name = -1, ""


def open_regular(file: Path | str) -> tuple[int, int]:
    """Open a regular file for reading; return also its size. Raises `OSError` for anything else, and for a link."""
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(file))
    return handle, status.st_size


def _require(good: bool, plain: Plain) -> None:
    if not good:
        raise OSError(errno.ESTALE, "the content changed while it was read, or does not have its digest", plain.path)


@dataclass
class _Output:
    """Collects encrypted content in one buffer, and writes it in one go."""

    target: int
    buffer: memoryview
    place: int = 0
    _used: int = 0

    def room(self, size: int) -> memoryview:
        """Return where the next `size` bytes go; they are written later."""
        if self._used + size > len(self.buffer):
            self.flush()
        start = self._used
        self._used += size
        return self.buffer[start : self._used]

    def flush(self) -> None:
        """Write the collected content."""
        rest = self.buffer[: self._used]
        while rest:
            written = os.pwrite(self.target, rest, self.place)
            self.place += written
            rest = rest[written:]
        self._used = 0
