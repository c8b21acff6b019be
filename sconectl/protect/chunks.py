"""Encrypts the content of one file in chunks that can be read independently of each other.

In: the data key, what the file is (path, chunk length, identity and size of its content), and plain or encrypted bytes.
Out: the others. Raises `SealBroken`. A key belongs to one path, chunk length and content, so that the numbers of chunks
are safe nonces.
"""

from __future__ import annotations

import hmac
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK = 1 << 16
"""The chunk length unless a region has another one."""
MIN_CHUNK, MAX_CHUNK = 64, 1 << 20
TAG = 16

_NONCES = struct.Struct(">3xQ?")  # 12 bytes: the chunk's number, and whether it is the last
_POSITION = struct.Struct(">QQQ")
_IDENTITY = struct.Struct(">IQ16s")
_ONLY = _NONCES.pack(0, True)
_OF_CHUNKS, _OF_TAGS = bytes(12), bytes(11) + b"\1"


class SealBroken(Exception):
    """Protected content differs from the sealed one (changed, cut off, longer, swapped), or the key is wrong."""


def path_bytes(path: str) -> bytes:
    """Return a path as the bytes that the file system has; names need not be UTF-8."""
    return path.encode("utf-8", "surrogateescape")


def sealed_size(size: int, chunk: int = CHUNK) -> int:
    """Return how many bytes the encrypted content of a file of `size` bytes has; an empty file has none."""
    return size + TAG * -(-size // chunk)


class ContentIdentity:
    """Gives contents identities, 16 bytes: different ones to different contents, to the same content the same.

    It is a MAC under a key of its own (GMAC of the chunks, then of their tags) and ten times as fast as SHA-256.
    """

    __slots__ = ("_chunk", "_mac")

    def __init__(self, data_key: bytes, chunk: int) -> None:
        self._mac = AESGCM(hmac.digest(data_key, b"identity\0", "sha256"))
        self._chunk = chunk

    def tags(self, plain: memoryview) -> list[bytes]:
        """Return a tag for each chunk of `plain`, which ends with a whole chunk or with the file."""
        mac, chunk = self._mac, self._chunk
        return [mac.encrypt(_OF_CHUNKS, b"", plain[start : start + chunk]) for start in range(0, len(plain), chunk)]

    def of(self, tags: list[bytes]) -> bytes:
        """Return the identity of the content whose chunks have `tags`."""
        return tags[0] if len(tags) == 1 else self._mac.encrypt(_OF_TAGS, b"", b"".join(tags))


class FileCipher:
    """Encrypts and decrypts the chunks of one file, whose content has an `identity` and a `size`."""

    __slots__ = ("_chunk", "_cipher", "_count", "_path", "_size")

    def __init__(self, data_key: bytes, path: bytes, chunk: int, identity: bytes, size: int) -> None:
        what = b"file\0" + _IDENTITY.pack(chunk, size, identity) + path
        self._cipher = AESGCM(hmac.digest(data_key, what, "sha256"))
        self._path, self._chunk, self._size = path, chunk, size
        self._count = -(-size // chunk)

    def encrypt(self, plain: memoryview, sealed: memoryview, first: int = 0) -> int:
        """Encrypt `plain`, whole chunks from chunk `first` on, into `sealed`; return the number of bytes there."""
        chunk, count, place = self._chunk, self._count, 0
        if count == 1:
            return self._cipher.encrypt_into(_ONLY, plain, _POSITION.pack(0, 1, self._size) + self._path, sealed)
        for number, start in enumerate(range(0, len(plain), chunk), first):
            part = plain[start : start + chunk]
            nonce, bound = _NONCES.pack(number, number == count - 1), _POSITION.pack(number, count, self._size)
            end = place + len(part) + TAG
            self._cipher.encrypt_into(nonce, part, bound + self._path, sealed[place:end])
            place = end
        return place

    def decrypt(self, sealed: memoryview, plain: memoryview, first: int = 0) -> int:
        """Decrypt `sealed`, whole chunks from chunk `first` on, into `plain`; return the number of bytes there.

        Raises `SealBroken`; the bytes in `plain` must not be used then.
        """
        step, count, place = self._chunk + TAG, self._count, 0
        try:
            for number, start in enumerate(range(0, len(sealed), step), first):
                part = sealed[start : start + step]
                nonce, bound = _NONCES.pack(number, number == count - 1), _POSITION.pack(number, count, self._size)
                end = place + len(part) - TAG
                self._cipher.decrypt_into(nonce, part, bound + self._path, plain[place:end])
                place = end
        except (InvalidTag, ValueError) as error:  # ValueError: too short to have a tag
            path = self._path.decode("utf-8", "surrogateescape")
            raise SealBroken(f"the protected content of {path} is not what was sealed") from error
        return place
