"""Making up the values of secrets: passwords, bytes and keys (LANG §7.2).

In: sizes and types of keys. Out: random values, from the random number generator of the operating system.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from sconectl.cas.keys.certificates import SigningKey

# Printable ASCII without blanks: a password with a leading or trailing blank is a trap.
_FIRST, _COUNT = 0x21, 0x7F - 0x21
# Bytes above the last multiple of the count are thrown away, so that all characters are equally likely.
_FAIR = 256 - 256 % _COUNT
_TO_PRINTABLE = bytes(_FIRST + byte % _COUNT for byte in range(256))
_UNFAIR = bytes(range(_FAIR, 256))

_RSA_EXPONENT = 65537
_KEYS: Mapping[str, Callable[[], SigningKey]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA-2048": lambda: rsa.generate_private_key(_RSA_EXPONENT, 2048),
    "RSA-3072": lambda: rsa.generate_private_key(_RSA_EXPONENT, 3072),
}


def printable(size: int) -> bytes:
    """Return `size` random printable ASCII characters, special characters included, blanks excluded."""
    text = b""
    while len(text) < size:
        text += secrets.token_bytes(2 * (size - len(text))).translate(_TO_PRINTABLE, _UNFAIR)
    return text[:size]


def random_bytes(size: int) -> bytes:
    """Return `size` random bytes."""
    return secrets.token_bytes(size)


def private_key(key_type: str) -> SigningKey:
    """Return a fresh key; `key_type` is one of P-256, P-384, Ed25519, RSA-2048, RSA-3072."""
    return _KEYS[key_type]()


def private_key_pem(key: SigningKey) -> bytes:
    """Return `key` as unencrypted PKCS#8 PEM.

    Ed25519 keys are written as version 1 (RFC 8410 §7), which every reader takes; LANG §7.2 says version 2, which
    adds the public key and which OpenSSL before 1.1.1i cannot read. The key is the same.
    """
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_key_pem(key: SigningKey) -> bytes:
    """Return the public half of `key` as SubjectPublicKeyInfo PEM."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def load_private_key(pem: bytes, *, trusted: bool = False) -> SigningKey:
    """Return the key in an unencrypted PEM; raises `ValueError` for anything that cannot sign.

    `trusted` skips the slow check of RSA keys, for keys that were made here.
    """
    try:
        key = serialization.load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=trusted)
    except (TypeError, UnsupportedAlgorithm):
        raise ValueError("not a usable private key") from None
    if not isinstance(
        key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey, rsa.RSAPrivateKey)
    ):
        raise ValueError("keys of this type cannot sign")
    return key
