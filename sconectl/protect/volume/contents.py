"""The content of one file on the storage, in protect/'s chunks, at a checkpoint.

In: an open file, the key of contents, and the file's number. Out: the other file. Each content has a random identity of
its own, so that no key meets two contents. Raises `SealBroken` for a content that is not the one of the index.
"""

from __future__ import annotations

import errno
import hmac
import os
import struct
from collections.abc import Callable, Iterator
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sconectl.protect.chunks import CHUNK, TAG, FileCipher, SealBroken, sealed_size
from sconectl.protect.inodes import blocks_of
from sconectl.protect.volume.index import ENCRYPTED
from sconectl.protect.volume.model import Stored
from sconectl.protect.volume.storage import begin_to_write

_MANY = 16
"""Chunks that are read at once."""
_SMALL_GROWTH = 1 << 20
"""It is not looked at for holes."""
_BEGIN_EACH = 8 << 20
_NUMBER = struct.Struct(">QQ?")


class _Cipher(Protocol):
    def encrypt(self, plain: memoryview, sealed: memoryview, first: int = 0) -> int: ...
    def decrypt(self, sealed: memoryview, plain: memoryview, first: int = 0) -> int: ...


def contents_key(key: bytes) -> bytes:
    """Return the key that the keys of contents are derived from."""
    return hmac.digest(key, b"sconectl volume data", "sha256")


def new_identity() -> bytes:
    """Draw the identity of a content, 16 bytes."""
    return os.urandom(16)


def _cipher(key: bytes, kind: int, id_: int, identity: bytes, size: int) -> _Cipher:
    name = b"node:%d" % id_
    if kind == ENCRYPTED:
        return FileCipher(key, name, CHUNK, identity, size)
    return _Authenticator(hmac.digest(key, b"authenticated\0" + identity + name, "sha256"), size)


class _Authenticator:
    """Chunks in plain text, each with a tag that is bound to its number and the file's size."""

    def __init__(self, key: bytes, size: int) -> None:
        self._mac, self._size = AESGCM(key), size

    def encrypt(self, plain: memoryview, sealed: memoryview, first: int = 0) -> int:
        place = 0
        for number, start in enumerate(range(0, len(plain), CHUNK), first):
            part = bytes(plain[start : start + CHUNK])
            end = place + len(part) + TAG
            sealed[place:end] = part + self._tag(number, part)
            place = end
        return place

    def decrypt(self, sealed: memoryview, plain: memoryview, first: int = 0) -> int:
        place = 0
        for number, start in enumerate(range(0, len(sealed), CHUNK + TAG), first):
            part = bytes(sealed[start : start + CHUNK + TAG])
            content, tag = part[:-TAG], part[-TAG:]
            if not hmac.compare_digest(self._tag(number, content), tag):
                raise SealBroken("a chunk is not what was sealed")
            plain[place : place + len(content)] = content
            place += len(content)
        return place

    def _tag(self, number: int, part: bytes) -> bytes:
        last = (number + 1) * CHUNK >= self._size
        return self._mac.encrypt(number.to_bytes(12, "big"), b"", _NUMBER.pack(number, self._size, last) + part)


Holes = tuple[tuple[int, int], ...]
"""Runs of chunks that are zeros and not stored: the first one, and how many."""
Seen = Callable[[int, memoryview], None]
"""Is given the number of a block of `CHUNK` bytes and its content."""


def store(
    key: bytes, kind: int, id_: int, identity: bytes, source: int, target: int, size: int, seen: Seen | None = None
) -> Holes:
    """Write `size` bytes of the open file `source` to `target` under a new `identity`; return the content's holes.

    What the source does not have any more is zeros. Raises `OSError`.
    """
    cipher = _cipher(key, kind, id_, identity, size)
    holes = holes_of(source, size)
    most = min(size, _MANY * CHUNK)
    plain, sealed = memoryview(bytearray(most)), memoryview(bytearray(sealed_size(most)))
    begun = 0
    for start, length in _runs(size, holes):
        _read(source, plain[:length], start)
        if seen is not None:
            for block in range(0, length, CHUNK):
                seen((start + block) // CHUNK, plain[block : min(block + CHUNK, length)])
        done = cipher.encrypt(plain[:length], sealed, start // CHUNK)
        if holes:
            os.lseek(target, sealed_size(start), os.SEEK_SET)
        _write(target, sealed[:done])
        if start - begun >= _BEGIN_EACH:
            begin_to_write(target, begun, start - begun)
            begun = start
    if holes:
        os.ftruncate(target, sealed_size(size))
    return holes


def holes_of(handle: int, size: int) -> Holes:
    """Return the runs of whole chunks of an open file that were never written."""
    if blocks_of(handle) * 512 >= size:
        return ()
    holes, place, count = [], 0, -(-size // CHUNK)
    for start, end in [*written_parts(handle, 0, size), (size, size)]:
        data = start // CHUNK if start < size else count
        if data > place:
            holes.append((place, data - place))
        place = max(place, -(-end // CHUNK))
    return tuple(holes)


def written_parts(handle: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of an open file between two offsets that were written, as offsets; the others are zeros."""
    place = start
    while place < end:
        try:
            place = os.lseek(handle, place, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data until the end
                return
            raise
        hole = min(os.lseek(handle, place, os.SEEK_HOLE), end)
        if hole > place:
            yield place, hole
        place = max(hole, place + 1)


def grown(handle: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts that were written of what a file has grown by, as whole blocks."""
    if end - start <= _SMALL_GROWTH:
        yield start, end - start
        return
    for first, last in written_parts(handle, start, end):
        first = max(start, first // CHUNK * CHUNK)
        yield first, min(end, -(-last // CHUNK) * CHUNK) - first


def _runs(size: int, holes: Holes) -> Iterator[tuple[int, int]]:
    """Yield offset and length of what is stored, in parts that are not too long."""
    place = 0
    for first, many in [*holes, (-(-size // CHUNK), 0)]:
        end = min(first * CHUNK, size)
        while place < end:
            length = min(_MANY * CHUNK, end - place)
            yield place, length
            place += length
        place = (first + many) * CHUNK


def _read(source: int, target: memoryview, offset: int) -> None:
    place = 0
    while place < len(target):
        done = os.preadv(source, [target[place:]], offset + place)
        if not done:
            target[place:] = bytes(len(target) - place)
            return
        place += done


def _write(target: int, data: memoryview) -> None:
    while data:
        data = data[os.write(target, data) :]


def restore(key: bytes, kind: int, id_: int, stored: Stored, source: int, target: int | None, path: str) -> None:
    """Write the content in the open file `source` to `target`, or only check it. Raises `SealBroken` and `OSError`.

    `path` is the name of the file in messages.
    """
    if stored.size <= CHUNK and not stored.holes and _restore_small(key, kind, id_, stored, source, target):
        return
    size = os.fstat(source).st_size
    if size != sealed_size(stored.size):
        raise SealBroken(f"the stored content of {path} has {size} bytes instead of {sealed_size(stored.size)}")
    cipher = _cipher(key, kind, id_, stored.identity, stored.size)
    most = min(stored.size, _MANY * CHUNK)
    plain, sealed = memoryview(bytearray(most)), memoryview(bytearray(sealed_size(most)))
    for start, length in _runs(stored.size, stored.holes):
        part = sealed[: sealed_size(length)]
        _read(source, part, sealed_size(start))
        try:
            cipher.decrypt(part, plain, start // CHUNK)
        except (SealBroken, InvalidTag) as error:
            raise SealBroken(_verification_failed(cipher, part, plain, start, stored.size, path)) from error
        if target is not None:
            if stored.holes:
                os.lseek(target, start, os.SEEK_SET)
            _write(target, plain[:length])
    if target is not None and stored.holes:
        os.ftruncate(target, stored.size)


def _restore_small(key: bytes, kind: int, id_: int, stored: Stored, source: int, target: int | None) -> bool:
    """Do the same with a content of one chunk, as most are; return False, and write nothing, if something is wrong."""
    sealed = os.read(source, stored.size + TAG + 1)
    if len(sealed) != stored.size + TAG:
        return False
    plain = memoryview(bytearray(stored.size))
    try:
        _cipher(key, kind, id_, stored.identity, stored.size).decrypt(memoryview(sealed), plain)
    except (SealBroken, InvalidTag):
        return False
    if target is not None:
        _write(target, plain)
    return True


def _verification_failed(
    cipher: _Cipher, sealed: memoryview, plain: memoryview, start: int, size: int, path: str
) -> str:
    """Say which chunk is not what was sealed; the words are those that operators know from SCONE."""
    for number in range(-(-len(sealed) // (CHUNK + TAG))):
        part = sealed[number * (CHUNK + TAG) : (number + 1) * (CHUNK + TAG)]
        chunk = start // CHUNK + number
        try:
            cipher.decrypt(part, plain, chunk)
        except SealBroken:
            last = min((chunk + 1) * CHUNK, size) - 1
            return f"Verification of file chunk {chunk} (bytes {chunk * CHUNK} to {last}) of file {path} failed"
    return f"Verification of file {path} failed"
