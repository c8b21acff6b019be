"""Key hashes: the short text form in which public keys are named in policies and on the command line.

In: the DER bytes of a public key or certificate. Out: base58check text, version byte 1, over the SHA-256 of the
key's SubjectPublicKeyInfo.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS = {character: digit for digit, character in enumerate(_ALPHABET)}
KEY_HASH_VERSION = 1
SIGNER_VERSION = 10
_MAX_TEXT = 128


def encode_base58check(version: int, payload: bytes) -> str:
    """Return `payload` behind its version byte with a checksum, in the Bitcoin alphabet."""
    body = bytes([version]) + payload
    raw = body + _checksum(body)
    number = int.from_bytes(raw, "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return _ALPHABET[0] * (len(raw) - len(raw.lstrip(b"\0"))) + text


def decode_base58check(text: str) -> tuple[int, bytes]:
    """Return version byte and payload of `text`; raises `ValueError` if it is not base58check."""
    if not text or len(text) > _MAX_TEXT or any(character not in _DIGITS for character in text):
        raise ValueError("not base58check text")
    number = 0
    for character in text:
        number = number * 58 + _DIGITS[character]
    zeros = len(text) - len(text.lstrip(_ALPHABET[0]))
    raw = b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
    body, checksum = raw[:-4], raw[-4:]
    if len(body) < 1 or _checksum(body) != checksum:
        raise ValueError("the checksum does not match")
    return body[0], body[1:]


def hash_of_spki(spki_der: bytes) -> str:
    """Return the key hash of a DER SubjectPublicKeyInfo."""
    return encode_base58check(KEY_HASH_VERSION, hashlib.sha256(spki_der).digest())


def key_hash(public_key: Any) -> str:
    """Return the key hash of a public key (any type that `cryptography` knows)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hash_of_spki(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def is_key_hash(text: str) -> bool:
    """Say whether `text` is a well-formed key hash."""
    try:
        version, payload = decode_base58check(text)
    except ValueError:
        return False
    return version == KEY_HASH_VERSION and len(payload) == 32


def hash_of_certificate(certificate: bytes) -> str:
    """Return the key hash of the public key in a certificate (DER or PEM); raises `ValueError` if it is none."""
    return key_hash(_load(certificate).public_key())


def normal_certificate(pem: str) -> str:
    """Return a PEM certificate in the one spelling that is stored; raises `ValueError` if it is none."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return _load(pem.encode()).public_bytes(Encoding.PEM).decode()


def _load(certificate: bytes) -> Certificate:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        if certificate.lstrip().startswith(b"-----BEGIN"):
            found = x509.load_pem_x509_certificates(certificate)
            if len(found) != 1:
                raise ValueError("more than one certificate")
            certificate_object = found[0]
        else:
            certificate_object = x509.load_der_x509_certificate(certificate)
        certificate_object.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("not an X.509 certificate with a usable public key") from error
    return certificate_object


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(body).digest()).digest()[:4]
