"""Key hashes as CAS tools write them: base58check with version byte 1 over the SHA-256 of a public key."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58check(version: int, payload: bytes) -> str:
    """Encode `payload` behind a version byte with a four-byte double-SHA-256 checksum."""
    data = bytes([version]) + payload
    data += hashlib.sha256(hashlib.sha256(data).digest()).digest()[:4]
    number = int.from_bytes(data, "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return _ALPHABET[0] * (len(data) - len(data.lstrip(b"\0"))) + text


def key_hash(public_key: Any) -> str:
    """Return the hash (50 characters) of a `cryptography` public key: over its SubjectPublicKeyInfo in DER."""
    spki = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base58check(1, hashlib.sha256(spki).digest())
