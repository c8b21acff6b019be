"""Sealing: what is confidential is encrypted before it reaches a file, and bound to the place where it lies.

In: a 32-byte key, values and their places. Out: AES-256-GCM (NIST SP 800-38D) ciphertexts behind their random nonces.
A value that was changed, or moved to another place, does not open.
"""

from __future__ import annotations

import json
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

KEY_BYTES = 32
_NONCE = 12


class SealBroken(Exception):
    """A sealed value does not open: it was changed or moved, or belongs to another key."""


class Sealer:
    """Seals and opens under one key; safe to use from several threads."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, value: bytes, *place: str | int | None) -> bytes:
        """Return `value` encrypted for `place`."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, value, json.dumps(place).encode())

    def open(self, sealed: bytes, *place: str | int | None) -> bytes:
        """Return the value that was sealed for `place`; raises `SealBroken`."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], json.dumps(place).encode())
        except (InvalidTag, ValueError) as error:
            raise SealBroken from error


def derived_key(key: bytes, purpose: str) -> bytes:
    """Return a key of 32 bytes for one purpose (HKDF-Expand, RFC 5869; `key` is uniformly random)."""
    return HKDFExpand(hashes.SHA256(), KEY_BYTES, purpose.encode()).derive(key)
