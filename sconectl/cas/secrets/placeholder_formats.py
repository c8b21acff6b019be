"""Values in the formats that placeholders ask for (LANG §8).

In: a value, and a format out of `placeholders.FORMATS` or `LEGACY`. Out: bytes. Raises `PlaceholderError`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from sconectl.cas.secrets import pgp, pkcs12
from sconectl.cas.secrets.generate import load_private_key
from sconectl.cas.secrets.secret_value import Value
from sconectl.cas.secrets.x509_secrets import split
from sconectl.policy.forms.placeholders import PlaceholderError

Writer = Callable[[Value], bytes]

_PEM = re.compile(rb"-----BEGIN [A-Z ]+-----([A-Za-z0-9+/=\s]+)-----END [A-Z ]+-----")


def write(value: Value, form: str) -> bytes:
    """Return `value` in the format `form`; raises `PlaceholderError` (P2) if its kind has no such format."""
    writer = _WRITERS.get(value.kind, {}).get(form)
    if writer is None:
        raise PlaceholderError("P2", f"a secret of kind {value.kind} cannot be written as {form}")
    try:
        return writer(value)
    except PlaceholderError:
        raise
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PlaceholderError("P2", f"this secret of kind {value.kind} cannot be written as {form}") from error


def _content(value: Value) -> bytes:
    return value.content


def _der(pem: bytes) -> bytes:
    match = _PEM.search(pem)
    if match is None:
        raise ValueError("not PEM")
    return base64.b64decode(b"".join(match[1].split()), validate=True)


def _private_key(value: Value) -> bytes:
    if value.private_key is None:
        raise PlaceholderError("P2", "the private key of this certificate is not accessible")
    return value.private_key


def _certificates(value: Value) -> list[str]:
    """Return the certificate and its issuers, nearest first."""
    own = split(value.content.decode())
    return [*own[:1], *value.chain]


def _pkcs12(value: Value) -> bytes:
    certificate, *issuers = (x509.load_pem_x509_certificate(pem.encode()) for pem in _certificates(value))
    return pkcs12.keystore(load_private_key(_private_key(value)), certificate, issuers)


def _pgp(value: Value) -> bytes:
    return pgp.dearmored(value.content.decode())


def _pgp_public(value: Value) -> bytes:
    return pgp.public_of(_pgp(value))


_TEXT: Mapping[str, Writer] = {"text": _content}
_CERTIFICATE: Mapping[str, Writer] = {
    "crt:pem": _content,
    "crt:der": lambda value: _der(value.content),
    "privatekey:pem": _private_key,
    "privatekey:der": lambda value: _der(_private_key(value)),
    "chain": lambda value: "".join(value.chain).encode(),
    "legacy-chain": lambda value: "".join(reversed(_certificates(value))).encode(),
    "pkcs12": _pkcs12,
}
_WRITERS: Mapping[str, Mapping[str, Writer]] = {
    "ascii": _TEXT,
    "aad-token": _TEXT,
    "jwt": _TEXT,
    "binary": {
        "bin": _content,
        "hex": lambda value: binascii.hexlify(value.content),
        "base64": lambda value: base64.b64encode(value.content),
        "base64url": lambda value: base64.urlsafe_b64encode(value.content),
        "base32": lambda value: base64.b32encode(value.content),
        "base32nopad": lambda value: base64.b32encode(value.content).rstrip(b"="),
    },
    "private-key": {"pem": _content, "der": lambda value: _der(value.content)},
    "public-key": {"spki:pem": _content, "spki:der": lambda value: _der(value.content)},
    "x509": _CERTIFICATE,
    "x509-ca": _CERTIFICATE,
    "pgp-key": {
        "privatekey:asciiarmored": _content,
        "privatekey:binary": _pgp,
        "privatekey:base64": lambda value: base64.b64encode(_pgp(value)),
        "publickey:asciiarmored": lambda value: pgp.armored(_pgp_public(value), pgp.PUBLIC).encode(),
        "publickey:binary": _pgp_public,
        "publickey:base64": lambda value: base64.b64encode(_pgp_public(value)),
    },
}
