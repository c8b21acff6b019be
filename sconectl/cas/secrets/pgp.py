"""OpenPGP version 4 keys: Ed25519 to sign and certify, Curve25519 to encrypt (RFC 9580; LANG §7.2).

In: a time. Out: keys in binary and in ASCII armor. The packets are written here because no maintained library makes
keys of this shape with these preferences; the cryptography itself is not.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

PRIVATE, PUBLIC = "PGP PRIVATE KEY BLOCK", "PGP PUBLIC KEY BLOCK"

_SIGNATURE, _SECRET_KEY, _PUBLIC_KEY, _SECRET_SUBKEY, _USER_ID, _PUBLIC_SUBKEY = 2, 5, 6, 7, 13, 14
_PUBLIC_TAG = {_SECRET_KEY: _PUBLIC_KEY, _SECRET_SUBKEY: _PUBLIC_SUBKEY}
_VERSION = 4
_ECDH, _EDDSA = 18, 22
_SHA256, _AES128, _AES256, _ZLIB = 8, 7, 9, 2
_ED25519_OID = bytes.fromhex("092b06010401da470f01")
_CURVE25519_OID = bytes.fromhex("0a2b060104019755010501")
_ECDH_PARAMETERS = bytes([3, 1, _SHA256, _AES128])  # RFC 9580 §11.5.1: what all implementations use with this curve
_CERTIFICATION, _SUBKEY_BINDING = 0x13, 0x18
_CERTIFY_AND_SIGN, _ENCRYPT = 0x03, 0x0C
_CREATED, _SYMMETRIC, _ISSUER, _HASHES, _COMPRESSION, _FLAGS, _FEATURES, _FINGERPRINT = 2, 11, 16, 21, 22, 27, 30, 33
_MODIFICATION_DETECTION = 0x01

_ARMOR = re.compile(
    r"-----BEGIN PGP [A-Z ]+-----\r?\n(?:[^\n]+: [^\n]*\n)*\r?\n([A-Za-z0-9+/=\s]+?)\r?\n=[A-Za-z0-9+/]{4}"
)
_CRC_START, _CRC_POLYNOMIAL = 0xB704CE, 0x1864CFB


@dataclass(frozen=True)
class _KeyPacket:
    public: bytes

    @property
    def fingerprint(self) -> bytes:
        return hashlib.sha1(self.hashed, usedforsecurity=False).digest()

    @property
    def hashed(self) -> bytes:
        return b"\x99" + len(self.public).to_bytes(2) + self.public


def generate(now: datetime) -> bytes:
    """Return a new private key (a transferable secret key, not locked by a passphrase) in binary."""
    created = int(now.timestamp()).to_bytes(4)
    signing, encrypting = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
    primary = _KeyPacket(_key_head(created, _EDDSA, _ED25519_OID, signing.public_key().public_bytes_raw()))
    subkey = _KeyPacket(
        _key_head(created, _ECDH, _CURVE25519_OID, encrypting.public_key().public_bytes_raw()) + _ECDH_PARAMETERS
    )
    # The word keeps it from looking like the fingerprint of a key, by which programs would search for it.
    user_id = b"key-" + secrets.token_hex(16).encode()

    def signature(kind: int, subpackets: bytes, subject: bytes) -> bytes:
        return _packet(_SIGNATURE, _signed(signing, primary, kind, created, subpackets, primary.hashed + subject))

    preferences = (
        _subpacket(_FLAGS, bytes([_CERTIFY_AND_SIGN]))
        + _subpacket(_SYMMETRIC, bytes([_AES256]))
        + _subpacket(_HASHES, bytes([_SHA256]))
        + _subpacket(_COMPRESSION, bytes([_ZLIB]))
        + _subpacket(_FEATURES, bytes([_MODIFICATION_DETECTION]))
    )
    return b"".join(
        (
            _packet(_SECRET_KEY, primary.public + _secret(signing.private_bytes_raw())),
            _packet(_USER_ID, user_id),
            signature(_CERTIFICATION, preferences, b"\xb4" + len(user_id).to_bytes(4) + user_id),
            _packet(_SECRET_SUBKEY, subkey.public + _secret(_clamped(encrypting.private_bytes_raw())[::-1])),
            signature(_SUBKEY_BINDING, _subpacket(_FLAGS, bytes([_ENCRYPT])), subkey.hashed),
        )
    )


def public_of(private: bytes) -> bytes:
    """Return the public key (a transferable public key) of a key that `generate` made; raises `ValueError`."""
    return b"".join(
        _packet(_PUBLIC_TAG[tag], body[: _public_length(body)]) if tag in _PUBLIC_TAG else _packet(tag, body)
        for tag, body in _packets(private)
    )


def armored(raw: bytes, label: str) -> str:
    """Return `raw` in ASCII armor (RFC 9580 §6); `label` is `PRIVATE` or `PUBLIC`."""
    text = base64.b64encode(raw).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    checksum = base64.b64encode(_crc24(raw).to_bytes(3)).decode()
    return "\n".join((f"-----BEGIN {label}-----", "", *lines, f"={checksum}", f"-----END {label}-----", ""))


def dearmored(text: str) -> bytes:
    """Return the bytes in an ASCII armor; raises `ValueError` if `text` has none."""
    match = _ARMOR.search(text)
    if match is None:
        raise ValueError("not an OpenPGP key in ASCII armor")
    return base64.b64decode("".join(match[1].split()), validate=True)


def _key_head(created: bytes, algorithm: int, oid: bytes, point: bytes) -> bytes:
    return bytes([_VERSION]) + created + bytes([algorithm]) + oid + _number(b"\x40" + point)


def _number(big_endian: bytes) -> bytes:
    """Return a multiprecision integer: its length in bits, and its bytes without leading zeros."""
    value = big_endian.lstrip(b"\0")
    return int.from_bytes(value).bit_length().to_bytes(2) + value


def _clamped(scalar: bytes) -> bytes:
    """Return the scalar that X25519 really uses (RFC 7748 §5); OpenPGP stores that one."""
    return bytes([scalar[0] & 0xF8]) + scalar[1:31] + bytes([scalar[31] & 0x7F | 0x40])


def _secret(number: bytes) -> bytes:
    material = _number(number)
    return b"\0" + material + (sum(material) & 0xFFFF).to_bytes(2)


def _signed(
    key: Ed25519PrivateKey, primary: _KeyPacket, kind: int, created: bytes, subpackets: bytes, subject: bytes
) -> bytes:
    issuer = _subpacket(_FINGERPRINT, bytes([_VERSION]) + primary.fingerprint)
    hashed = _subpacket(_CREATED, created) + subpackets + issuer
    head = bytes([_VERSION, kind, _EDDSA, _SHA256]) + len(hashed).to_bytes(2) + hashed
    trailer = bytes([_VERSION, 0xFF]) + len(head).to_bytes(4)
    digest = hashlib.sha256(subject + head + trailer).digest()
    signature = key.sign(digest)
    unhashed = _subpacket(_ISSUER, primary.fingerprint[-8:])
    numbers = _number(signature[:32]) + _number(signature[32:])
    return head + len(unhashed).to_bytes(2) + unhashed + digest[:2] + numbers


def _subpacket(kind: int, body: bytes) -> bytes:
    return bytes([len(body) + 1, kind]) + body


def _packet(tag: int, body: bytes) -> bytes:
    length = len(body)
    # All packets here are far below the 8384 bytes that one or two octets of length can say (RFC 9580 §4.2.1).
    size = bytes([length]) if length < 192 else (length - 192 + 0xC000).to_bytes(2)
    return bytes([0xC0 | tag]) + size + body


def _packets(raw: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(raw):
        if at + 3 > len(raw) or raw[at] & 0xC0 != 0xC0 or raw[at + 1] >= 224:
            raise ValueError("not a sequence of OpenPGP packets")
        tag, length, at = raw[at] & 0x3F, raw[at + 1], at + 2
        if length >= 192:
            length, at = ((length - 192) << 8) + raw[at] + 192, at + 1
        if at + length > len(raw):
            raise ValueError("an OpenPGP packet is cut off")
        yield tag, raw[at : at + length]
        at += length


def _public_length(body: bytes) -> int:
    """Return how much of a secret key packet is public: head, curve and point, and the parameters of ECDH."""
    if len(body) < 7 or body[0] != _VERSION or body[5] not in {_ECDH, _EDDSA}:
        raise ValueError("not a version 4 key on an elliptic curve")
    point = 7 + body[6]
    end = point + 2 + (int.from_bytes(body[point : point + 2]) + 7) // 8
    return end + len(_ECDH_PARAMETERS) if body[5] == _ECDH else end


def _crc24(raw: bytes) -> int:
    crc = _CRC_START
    for byte in raw:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= _CRC_POLYNOMIAL
    return crc & 0xFFFFFF
