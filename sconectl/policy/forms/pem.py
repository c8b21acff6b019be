"""PEM texts in policies: certificates, private keys and public keys, checked without ever showing them.

In: text from a policy. Out: the normalised text or the loaded key. Raises `ValueError` with a message that holds
nothing of the text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

_MAX_RSA_BITS = 8192  # a signature with a larger one takes a noticeable time
_BLOCK = re.compile(r"\s*-----BEGIN ([A-Z ]+)-----[A-Za-z0-9+/=\s]*-----END \1-----\s*")


def certificates(text: str) -> tuple[Any, ...]:
    """Return the certificates in `text`, at least one; nothing but certificates may stand in it."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    _blocks(text, "CERTIFICATE")
    try:
        found = x509.load_pem_x509_certificates(text.encode())
        for certificate in found:
            certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("not a PEM certificate with a usable public key") from None
    return tuple(found)


def private_key(text: str) -> PrivateKeyTypes:
    """Return the key in an unencrypted PKCS#8 PEM; an RSA key has at most 8192 bits.

    A trial signature shows whether both halves of an RSA key belong together: the full check takes up to seconds, and
    a key with other faults harms only its sender.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if _blocks(text, "PRIVATE KEY") != 1:
        raise ValueError("more than one key")
    try:
        key = load_pem_private_key(text.strip().encode(), None, unsafe_skip_rsa_key_validation=True)
        _try_out(key)
        return key
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
        raise ValueError("not an unencrypted PKCS#8 key in PEM form") from None


def _try_out(key: PrivateKeyTypes) -> None:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256

    if isinstance(key, RSAPrivateKey):
        if key.key_size > _MAX_RSA_BITS:
            raise ValueError("too large a key")
        key.public_key().verify(key.sign(b"", PKCS1v15(), SHA256()), b"", PKCS1v15(), SHA256())


def public_key(text: str) -> PublicKeyTypes:
    """Return the key in a PEM SubjectPublicKeyInfo."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if _blocks(text, "PUBLIC KEY") != 1:
        raise ValueError("more than one key")
    try:
        return load_pem_public_key(text.strip().encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("not a public key in PEM form") from None


def signer_key(text: str) -> str:
    """Return the public key of a signer (Ed25519 or P-384) in the one spelling that is stored (LANG §16)."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = public_key(text)
    p384 = isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP384R1)
    if not (p384 or isinstance(key, Ed25519PublicKey)):
        raise ValueError("the key of a signer is an Ed25519 or P-384 key")
    return _spki(key)


def ed25519_key(raw: bytes) -> str:
    """Return the PEM form of a raw Ed25519 public key (32 bytes)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return _spki(Ed25519PublicKey.from_public_bytes(raw))


def _spki(key: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def _blocks(text: str, label: str) -> int:
    """Return how many PEM blocks `text` consists of; raises `ValueError` unless it is only `label` blocks."""
    at, count = 0, 0
    while at < len(text):
        block = _BLOCK.match(text, at)
        if block is None or block[1] != label:
            break
        at, count = block.end(), count + 1
    if not count or at < len(text):
        raise ValueError(f"expected {label} blocks in PEM form and nothing else")
    return count
