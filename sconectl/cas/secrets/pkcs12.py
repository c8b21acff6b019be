"""PKCS #12 key stores that open with the empty password (RFC 7292; LANG §8, `:pkcs12-with-private-key`).

In: a private key, its certificate and the issuers. Out: DER. It is written here because `cryptography` encrypts with
non-empty passwords only, and Java overlooks keys that are not encrypted. What protects the store is where it lies.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sconectl.cas.keys.certificates import SigningKey

_INTEGER, _OCTETS, _NULL, _OID, _SEQUENCE, _SET, _EXPLICIT = 0x02, 0x04, 0x05, 0x06, 0x30, 0x31, 0xA0
_VERSION = 3
_SALT, _BLOCK, _ITERATIONS = 16, 16, 2048
_MAC_PURPOSE, _MAC_BLOCK = 3, 64  # RFC 7292 appendix B, for SHA-256


def keystore(key: SigningKey, certificate: x509.Certificate, issuers: Iterable[x509.Certificate]) -> bytes:
    """Return a store with `key` (PBES2, AES-256), `certificate` and `issuers` under an empty password."""
    own = certificate.public_bytes(Encoding.DER)
    local_id = hashlib.sha256(own).digest()
    bags = [
        _certificate_bag(own, local_id),
        *(_certificate_bag(issuer.public_bytes(Encoding.DER)) for issuer in issuers),
    ]
    safes = _sequence(_data(_sequence(*bags)), _data(_sequence(_key_bag(key, local_id))))
    return _sequence(_integer(_VERSION), _data(safes), _mac(safes))


def _certificate_bag(der: bytes, local_id: bytes | None = None) -> bytes:
    content = _sequence(_oid("1.2.840.113549.1.9.22.1"), _explicit(_octets(der)))
    return _bag("1.2.840.113549.1.12.10.1.3", content, local_id)


def _key_bag(key: SigningKey, local_id: bytes) -> bytes:
    salt, vector = secrets.token_bytes(_SALT), secrets.token_bytes(_BLOCK)
    derived = PBKDF2HMAC(hashes.SHA256(), 32, salt, _ITERATIONS).derive(b"")
    padder = padding.PKCS7(8 * _BLOCK).padder()
    plain = padder.update(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())) + padder.finalize()
    encryptor = Cipher(algorithms.AES(derived), modes.CBC(vector)).encryptor()
    pseudorandom = _sequence(_oid("1.2.840.113549.2.9"), _tlv(_NULL, b""))
    derivation = _sequence(_oid("1.2.840.113549.1.5.12"), _sequence(_octets(salt), _integer(_ITERATIONS), pseudorandom))
    encryption = _sequence(_oid("2.16.840.1.101.3.4.1.42"), _octets(vector))
    algorithm = _sequence(_oid("1.2.840.113549.1.5.13"), _sequence(derivation, encryption))
    content = _sequence(algorithm, _octets(encryptor.update(plain) + encryptor.finalize()))
    return _bag("1.2.840.113549.1.12.10.1.2", content, local_id)


def _bag(kind: str, content: bytes, local_id: bytes | None) -> bytes:
    if local_id is None:
        return _sequence(_oid(kind), _explicit(content))
    attribute = _sequence(_oid("1.2.840.113549.1.9.21"), _tlv(_SET, _octets(local_id)))
    return _sequence(_oid(kind), _explicit(content), _tlv(_SET, attribute))


def _data(content: bytes) -> bytes:
    return _sequence(_oid("1.2.840.113549.1.7.1"), _explicit(_octets(content)))


def _mac(content: bytes) -> bytes:
    """Return the MacData of the store; the key of the MAC comes from the empty password, as two zero bytes."""
    salt = secrets.token_bytes(_SALT)
    key = bytes([_MAC_PURPOSE]) * _MAC_BLOCK + salt * (_MAC_BLOCK // _SALT) + bytes(_MAC_BLOCK)
    for _ in range(_ITERATIONS):
        key = hashlib.sha256(key).digest()
    algorithm = _sequence(_oid("2.16.840.1.101.3.4.2.1"), _tlv(_NULL, b""))
    digest = _sequence(algorithm, _octets(hmac.digest(key, content, "sha256")))
    return _sequence(digest, _octets(salt), _integer(_ITERATIONS))


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(size)]) + size + content


def _sequence(*parts: bytes) -> bytes:
    return _tlv(_SEQUENCE, b"".join(parts))


def _explicit(content: bytes) -> bytes:
    return _tlv(_EXPLICIT, content)


def _octets(content: bytes) -> bytes:
    return _tlv(_OCTETS, content)


def _integer(number: int) -> bytes:
    return _tlv(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1))


def _oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    content = b""
    for number in (40 * first + second, *rest):
        septets = [number & 0x7F]
        while number := number >> 7:
            septets.append(0x80 | number & 0x7F)
        content += bytes(reversed(septets))
    return _tlv(_OID, content)
