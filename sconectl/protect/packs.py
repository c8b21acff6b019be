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
from dataclasses import dataclass, field
from itertools import accumulate, chain
from pathlib import Path

from sconectl.protect.chunks import CHUNK, ContentIdentity, FileCipher, path_bytes, sealed_size
from sconectl.protect.fspf import SealedFile
from sconectl.protect.workers import PROCESSES, balanced, each_unit

_BUFFER = 1 << 23
"""Files up to this size are read once, longer ones twice."""
_RUN = 1 << 22
_FILES = 250
_EACH = 50_000
"""What a file costs besides its content, as bytes to encrypt."""
_VECTORS = 512


@dataclass(frozen=True, slots=True)
class Plain:
    """Where the content of one file is: `size` bytes of `file` from `offset`.

    `digest` is its SHA-256 if that is known: then the content must have it.
    """

    path: str
    mode: int
    size: int
    file: Path | str
    offset: int = 0
    digest: str = ""


def pack_size(files: Sequence[Plain], chunk: int = CHUNK) -> int:
    """Return the size of the pack that `write_pack` makes."""
    return sum(sealed_size(file.size, chunk) for file in files)


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

    def __post_init__(self) -> None:
        self._identity = ContentIdentity(self.data_key, self.chunk)
        self._buffer = memoryview(bytearray(_BUFFER // self.chunk * self.chunk))

    def write_run(self, number: int) -> list[bytes]:
        """Encrypt a run of files; return the identities of their contents."""
        run = self.runs[number]
        output = _Output(self.target, self.places[run.start])
        try:
            identities = [self._write(self.files[each], output) for each in run]
        finally:
            self._close()
        output.flush()
        return identities

    def _write(self, plain: Plain, output: _Output) -> bytes:
        """Encrypt a file. What cannot be kept is read twice, and must be the same before it is encrypted."""
        self._open(plain)
        digest, tags, blocks = hashlib.sha256(), [], 0
        for block in self._blocks(plain):
            tags += self._identity.tags(block)
            blocks += 1
            if plain.digest:
                digest.update(block)
        _require(not plain.digest or digest.hexdigest() == plain.digest, plain)
        if not plain.size:
            return b""
        identity = self._identity.of(tags)
        cipher = FileCipher(self.data_key, path_bytes(plain.path), self.chunk, identity, plain.size)
        if blocks == 1:
            output.add(cipher.encrypt(self._buffer[: plain.size]))
            return identity
        number = 0
        for block in self._blocks(plain):
            again = self._identity.tags(block)
            _require(again == tags[number : number + len(again)], plain)
            output.add(cipher.encrypt(block, number))
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
        ends = plain.digest or not os.pread(self._source, 1, plain.offset + plain.size)
        _require(bool(ends), plain)

    def _open(self, plain: Plain) -> None:
        if plain.file is not self._name:
            self._close()
            self._source = open_regular(plain.file)
            self._name = plain.file

    def _close(self) -> None:
        if self._source >= 0:
            os.close(self._source)
        self._source, self._name = -1, ""


def open_regular(file: Path | str) -> int:
    """Open a regular file for reading. Raises `OSError` for anything else, and for a link."""
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(file))
    return handle


def _require(good: bool, plain: Plain) -> None:
    if not good:
        raise OSError(
            errno.ESTALE, "the content changed while it was read, or is not what it was said to be", plain.path
        )


@dataclass
class _Output:
    """Collects encrypted chunks and writes them in one go."""

    target: int
    place: int
    _waiting: list[bytes] = field(default_factory=list)

    def add(self, chunks: list[bytes]) -> None:
        """Write `chunks` behind what was added before."""
        self._waiting += chunks
        if len(self._waiting) >= _VECTORS:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        for start in range(0, len(self._waiting), _VECTORS):
            chunks = self._waiting[start : start + _VECTORS]
            size = sum(map(len, chunks))
            written = os.pwritev(self.target, chunks, self.place)
            if written < size:
                rest = memoryview(b"".join(chunks))
                while written < size:
                    written += os.pwrite(self.target, rest[written:], self.place + written)
            self.place += size
        self._waiting = []
