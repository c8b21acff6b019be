"""The journal of a volume: an encrypted file of frames, each bound to the one before it.

In: the key of the volume, the state that the journal begins from, and operations. Out: frames; the tag of a frame that
ends a commit is the new state. Raises `OSError` if a commit could not be made durable, and `SealBroken` for a file that
is no journal of this volume. A frame that is not whole ends the journal: what follows was never committed.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sconectl.protect.chunks import TAG, SealBroken

MAGIC = b"SCTLVOLJ"
VERSION = 1
STATE = 16
"""Bytes of a state."""
FRAME = 1 << 20
"""A frame is closed when its plain text has this length; one operation may exceed it."""
MAX_FRAME = 4 << 20
_LONGEST = 2 * FRAME + (1 << 16)
"""Bytes of plain text that a frame can hold: it is closed before the operation after the one that fills it."""
RESERVE = 4 << 20
"""Bytes that are written ahead as zeros, so that the commits that fill them change no metadata of the file system."""
_SMALL = RESERVE // 8
"""A commit of more bytes reserves nothing: what it writes takes longer than the metadata."""
_BLOCK = 4096
"""What is written without the kernel's cache begins and ends at multiples of this, in the file and in memory."""
_HEADER = struct.Struct(">8sH6xQ16s16s8x")
HEADER = _HEADER.size
_FRAME = struct.Struct(">IB3xQ")
_NONCE = struct.Struct(">4xQ")
_COMMIT = 1


def _cipher(key: bytes, header: bytes) -> AESGCM:
    return AESGCM(hmac.digest(key, b"sconectl volume journal\0" + header, "sha256"))


def _aligned_memory(length: int) -> mmap.mmap:
    return mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


_NOTHING = memoryview(_aligned_memory(RESERVE))


class Journal:
    """A new journal that commits are appended to. Its key is its own, so that its numbers of frames are safe nonces.

    A small commit goes past the kernel's cache, and is durable with the same call, if the file system can do that. It
    writes the block anew that the commit before it ended in, as the kernel would.
    """

    def __init__(self, key: bytes, handle: int, number: int, base: bytes) -> None:
        """Begin in the empty file `handle`, which is the journal's from now on; the caller syncs its directory."""
        header = _HEADER.pack(MAGIC, VERSION, number, os.urandom(16), base)
        self._cipher = _cipher(key, header)
        self._handle = handle
        self.number, self.state = number, base
        self._chain = base
        self._frames = 0
        self._end = self.size = 0
        self._reserved = 0
        self._may_reserve = True
        self._plain = memoryview(bytearray(_LONGEST))
        self._sealed = memoryview(_aligned_memory(2 * _BLOCK + _FRAME.size + _LONGEST + TAG))
        self._filled = 0
        self._append(memoryview(header))
        self.size = self._end
        self._sealed[:HEADER] = header
        self._known = HEADER
        """So many bytes at the beginning of `_sealed` are what is committed of the block that the journal ends in."""
        self._direct = _opened_past_the_cache(handle)

    def add(self, operation: bytes) -> None:
        """Add an operation, as bytes, to the commit that is being made. Raises `OSError`."""
        self.place(len(operation))[:] = operation

    def place(self, length: int) -> memoryview:
        """Return where an operation of this length, at most a frame, is to be put before the next call.

        Raises `OSError`.
        """
        if self._filled >= FRAME:
            self._append(self._sealed_frame(0))
        begin, self._filled = self._filled, self._filled + length
        return self._plain[begin : self._filled]

    def cut(self, length: int) -> None:
        """Take back so many bytes of what was added last."""
        self._filled -= length

    def commit(self) -> bytes:
        """End the commit: when this returns it is durable. Return the new state. Raises `OSError`; then nothing is."""
        try:
            frame = self._sealed_frame(_COMMIT)
            if not self._commit_past_the_cache(frame):
                self._append(frame)
                self._reserve()
                os.fdatasync(self._handle)
                used = self._end % _BLOCK
                self._known = os.preadv(self._handle, [self._sealed[:used]], self._end - used)
        except OSError:
            self._may_reserve = False  # there may be no space for more than is needed
            self.give_up()
            raise
        self.state, self.size = self._chain, self._end
        return self.state

    def give_up(self) -> None:
        """Forget the commit that is being made; what it wrote is cut off. Raises `OSError`."""
        self._filled = 0
        self._chain, self._end = self.state, self.size
        self._reserved = 0
        os.ftruncate(self._handle, self.size)

    def close(self) -> None:
        """Cut off what was reserved, and close the file."""
        if self._direct is not None:
            os.close(self._direct)
        with contextlib.suppress(OSError):  # zeros at the end are no frame
            os.ftruncate(self._handle, self.size)
        os.close(self._handle)

    def _sealed_frame(self, flag: int) -> memoryview:
        """Return what was added as a frame, in memory at the place in its block that it gets in the file."""
        head = _FRAME.pack(self._filled + TAG, flag, self._frames)
        begin = self._end % _BLOCK
        if self._end != self.size:  # not the first frame of its commit: it may be put where those bytes are
            self._known = -1
        frame = self._sealed[begin : begin + len(head) + self._filled + TAG]
        frame[: len(head)] = head
        plain, bound = self._plain[: self._filled], head + self._chain
        self._cipher.encrypt_into(_NONCE.pack(self._frames), plain, bound, frame[len(head) :])
        self._frames += 1  # also if it is cut off again: a nonce is never used for another text
        self._filled = 0
        self._chain = bytes(frame[-TAG:])
        return frame

    def _append(self, left: memoryview) -> None:
        while left:
            written = os.pwrite(self._handle, left, self._end)
            left, self._end = left[written:], self._end + written

    def _reserve(self) -> None:
        """Write zeros behind a small commit that has used up what was reserved."""
        if self._end <= self._reserved or self._end - self.size > _SMALL or not self._may_reserve:
            return
        begin = -(-self._end // _BLOCK) * _BLOCK
        try:
            written = self._write_past_the_cache(_NOTHING, begin) or os.pwrite(self._handle, _NOTHING, begin)
            self._reserved = begin + written // _BLOCK * _BLOCK
        except OSError:
            self._may_reserve = False

    def _commit_past_the_cache(self, frame: memoryview) -> bool:
        """Write the only frame of a commit durably to what is reserved; tell whether that was possible."""
        if self._direct is None or self._end != self.size or self._end + len(frame) > self._reserved:
            return False
        if self._known != self._end % _BLOCK:  # as when somebody has cut off the file
            return False
        used = self._known + len(frame)
        blocks = self._sealed[: -(-used // _BLOCK) * _BLOCK]
        blocks[used:] = bytes(len(blocks) - used)
        if self._write_past_the_cache(blocks, self._end - self._known) < used:
            return False
        self._end += len(frame)
        self._known = used % _BLOCK
        self._sealed[: self._known] = blocks[used - self._known : used]
        return True

    def _write_past_the_cache(self, data: memoryview, offset: int) -> int:
        """Write whole blocks durably; return how many bytes were written, 0 if the file system cannot do that."""
        if self._direct is None:
            return 0
        try:
            return os.pwrite(self._direct, data, offset)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            os.close(self._direct)
            self._direct = None
            return 0


def _opened_past_the_cache(handle: int) -> int | None:
    """Open a file once more, for writes that go past the kernel's cache and are durable; None if that is impossible."""
    try:
        return os.open(f"/proc/self/fd/{handle}", os.O_WRONLY | os.O_DIRECT | os.O_DSYNC | os.O_CLOEXEC)
    except OSError:
        return None


@dataclass(frozen=True)
class Frame:
    """A whole frame: its plain text, the state after it if it ends a commit, and where it ends in the file."""

    plain: memoryview
    state: bytes | None
    end: int


def unverified_states(handle: int) -> tuple[int, list[bytes]]:
    """Return the number of the journal in a file, and its states from the one that it begins from, as it claims them.

    This needs no key, and so proves nothing. Raises `SealBroken` if the file is no journal, and `OSError`.
    """
    header = os.pread(handle, HEADER, 0)
    if len(header) < HEADER or _HEADER.unpack(header)[:2] != (MAGIC, VERSION):
        raise SealBroken("the journal is cut off, or none of a version that we know")
    _, _, number, _, base = _HEADER.unpack(header)
    states, place, size = [base], HEADER, os.fstat(handle).st_size
    while True:
        head = os.pread(handle, _FRAME.size, place)
        length, flag, _ = _FRAME.unpack(head) if len(head) == _FRAME.size else (0, 0, 0)
        place += _FRAME.size + length
        if not TAG <= length <= MAX_FRAME or place > size:
            return number, states
        if flag == _COMMIT:
            states.append(os.pread(handle, TAG, place - TAG))


class OldJournal:
    """A journal that is read. Raises `SealBroken` if the file is none of this volume."""

    def __init__(self, key: bytes, handle: int) -> None:
        """Read the header in the file `handle`, which belongs to the journal from now on."""
        self._handle = handle
        header = os.pread(handle, HEADER, 0)
        if len(header) < HEADER:
            raise SealBroken("the journal is cut off")
        magic, version, self.number, _, self.base = _HEADER.unpack(header)
        if (magic, version) != (MAGIC, VERSION):
            raise SealBroken("the journal is none of a version that we know")
        self._cipher = _cipher(key, header)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames up to the first one that is not whole."""
        place, chain = HEADER, self.base
        while True:
            head = os.pread(self._handle, _FRAME.size, place)
            if len(head) < _FRAME.size:
                return
            length, flag, number = _FRAME.unpack(head)
            if not TAG <= length <= MAX_FRAME:
                return
            sealed = os.pread(self._handle, length, place + _FRAME.size)
            try:
                plain = self._cipher.decrypt(_NONCE.pack(number), sealed, head + chain)
            except InvalidTag:
                return
            chain = sealed[-TAG:]
            place += _FRAME.size + length
            yield Frame(memoryview(plain), chain if flag == _COMMIT else None, place)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)
