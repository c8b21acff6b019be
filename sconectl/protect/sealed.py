"""Sealed directories: every file encrypted on its own, and one encrypted index that binds names to contents.

Keys and nonces are derived, so the same content under the same key gives the same bytes. Each file has a key of
its own, derived from path and content: a nonce (the chunk number) is never used for two contents.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"sconectl-sealed-1\n"
CHUNK = 1 << 16
TAG = 16
_NONCE = 12


class SealBroken(Exception):
    """Sealed content is not what was sealed: changed, truncated, extended, swapped, or opened with a wrong key."""


@dataclass(frozen=True)
class SealedFile:
    """One entry of the sealed index. `kind` is f, d or l; `blob` names the encrypted content of a file."""

    path: str
    kind: str
    mode: int
    target: str = ""
    size: int = 0
    digest: str = ""
    blob: str = ""


def _derive(key: bytes, purpose: str, context: bytes = b"") -> bytes:
    return hmac.new(key, purpose.encode() + b"\0" + context, hashlib.sha256).digest()


def _file_key(key: bytes, path: str, digest: str) -> bytes:
    return _derive(key, "file", path.encode("utf-8", "surrogateescape") + b"\0" + digest.encode())


def blob_name(key: bytes, path: str) -> str:
    """Return the name under which the content of `path` is stored; it says nothing about the path."""
    return _derive(key, "name", path.encode("utf-8", "surrogateescape")).hex()[:32]


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\1" if last else b"\0")


def seal_content(key: bytes, path: str, digest: str, source: BinaryIO) -> Iterator[bytes]:
    """Yield the encrypted chunks of a file; `digest` is the SHA-256 of what `source` holds (64 hex digits)."""
    cipher = AESGCM(_file_key(key, path, digest))
    number, chunk = 0, source.read(CHUNK)
    while True:
        following = source.read(CHUNK)
        yield cipher.encrypt(_nonce(number, last=not following), chunk, None)
        if not following:
            return
        number, chunk = number + 1, following


def sealed_size(size: int) -> int:
    """Return how many bytes `seal_content` yields for `size` bytes."""
    return size + TAG * max(1, -(-size // CHUNK))


def open_content(key: bytes, file: SealedFile, source: BinaryIO) -> Iterator[bytes]:
    """Yield the plain chunks of a file. Raises `SealBroken` before anything changed is yielded."""
    cipher = AESGCM(_file_key(key, file.path, file.digest))
    number, left, chunk = 0, file.size, source.read(CHUNK + TAG)
    while True:
        following = source.read(CHUNK + TAG)
        try:
            plain = cipher.decrypt(_nonce(number, last=not following), chunk, None)
        except InvalidTag as error:
            raise SealBroken(f"the protected content of {file.path} is not what was sealed") from error
        left -= len(plain)
        yield plain
        if not following:
            break
        number, chunk = number + 1, following
    if left:
        raise SealBroken(f"the protected content of {file.path} has the wrong length")


def seal_index(key: bytes, files: list[SealedFile]) -> tuple[bytes, str]:
    """Return the encrypted index and its tag (32 hex digits), which stands for the state of all sealed files."""
    rows = [[f.path, f.kind, f.mode, f.target, f.size, f.digest, f.blob] for f in sorted(files, key=_by_path)]
    plain = json.dumps(rows, separators=(",", ":")).encode("ascii")
    nonce = _derive(key, "index-nonce", plain)[:_NONCE]
    sealed = AESGCM(_derive(key, "index")).encrypt(nonce, plain, MAGIC)
    return MAGIC + nonce + sealed, sealed[-TAG:].hex()


def _by_path(file: SealedFile) -> str:
    return file.path


def open_index(key: bytes, tag: str, data: bytes) -> list[SealedFile]:
    """Read an encrypted index. Raises `SealBroken` if it is not the one that `key` and `tag` belong to."""
    start, right = len(MAGIC), hmac.compare_digest(data[-TAG:].hex().encode(), tag.lower().encode())
    if not right or not data.startswith(MAGIC) or len(data) < start + _NONCE + TAG:
        raise SealBroken("the index of the encrypted files is not the one that the policy names (its tag differs)")
    nonce, sealed = data[start : start + _NONCE], data[start + _NONCE :]
    try:
        plain = AESGCM(_derive(key, "index")).decrypt(nonce, sealed, MAGIC)
    except InvalidTag as error:
        raise SealBroken("the index of the encrypted files does not open with the key of the policy") from error
    return [SealedFile(*row) for row in json.loads(plain)]
