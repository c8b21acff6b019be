"""The enclave signature (SIGSTRUCT): who vouches for a measurement, as which product and version, debugged or not.

In: a measurement and a signing key. Out: 1808 bytes, laid out as the Intel SDM (volume 3D, "Enclave Signature
Structure") says, and what they mean. The same input gives the same bytes. Raises `BadKey` for a key that cannot sign
enclaves, and `BadSignature` for bytes that are no valid signature.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

SIZE = 1808
BITS = 3072
EXPONENT = 3
_BYTES = BITS // 8

_HEADER = bytes.fromhex("06000000e10000000000010000000000")
_SECOND_HEADER = bytes.fromhex("01010000600000006000000001000000")
_VENDOR = 0
_HEAD = struct.Struct("<16s I I 16s I 84s")
"""Signed: header, vendor, date, second header, software defined, reserved."""
_KEY = struct.Struct(f"<{_BYTES}s I {_BYTES}s")
"""Modulus, exponent, signature."""
_BODY = struct.Struct("<I I 20s Q Q Q Q 32s 32s H H")
"""Signed: misc, its mask, CET and family, flags, XFRM, their masks, measurement, extended product, product, SVN."""
_TAIL = struct.Struct(f"<12s {_BYTES}s {_BYTES}s")
"""Reserved, Q1, Q2."""
_KEY_AT = _HEAD.size
_BODY_AT = _KEY_AT + _KEY.size
_TAIL_AT = _BODY_AT + _BODY.size

_DEBUG = 1 << 1
_MODE64 = 1 << 2
_FLAGS_MASK = 0xFFFFFFFFFFFFFFFF
"""All flags have to be as signed."""
_XFRM = 0b11
"""x87 and SSE, which every processor has. Other features are neither demanded nor forbidden."""
_LAST_DATE = 253402300799
"""The end of the year 9999: the last date that has eight digits."""


class BadSignature(Exception):
    """These bytes are no valid signature; the message says why."""


class BadKey(Exception):
    """A key cannot sign enclaves; the message says what was found or expected."""


@dataclass(frozen=True)
class Signer:
    """The signer of an enclave, `mrsigner` (64 hex digits), with the product and security version that it signed."""

    mrsigner: str
    isvprodid: int
    isvsvn: int


@dataclass(frozen=True)
class SignedEnclave(Signer):
    """The content of a valid signature; `measurement` has 64 hex digits, `date` is yyyymmdd."""

    measurement: str
    debug: bool
    date: str


@cache
def load_key(pem: bytes) -> rsa.RSAPrivateKey:
    """Return a signing key. Raises `BadKey` unless it is an unencrypted RSA key of 3072 bits with exponent 3."""
    try:
        key = load_pem_private_key(pem, None)
    except TypeError as error:
        raise BadKey("it is protected by a password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadKey("it holds no private key in PEM form") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise BadKey("it is no RSA key")
    if key.key_size != BITS:
        raise BadKey(f"it has {key.key_size} bits instead of {BITS}")
    exponent = key.public_key().public_numbers().e
    if exponent != EXPONENT:
        raise BadKey(f"its public exponent is {exponent} instead of {EXPONENT}")
    return key


def mrsigner_of(pem: bytes) -> str:
    """Return the MRSIGNER of a signing key, 64 hex digits. Raises `BadKey`."""
    return _mrsigner(_little(load_key(pem).public_key().public_numbers().n))


def sign(measurement_hex: str, parameters: Mapping[str, str], private_key_pem: bytes, epoch: int) -> bytes:
    """Return the signature over a measurement. Raises `BadKey`.

    Of `parameters`, `mode` (production, or anything else for debug), `isvprodid` and `isvsvn` (0 to 65535, if not given
    0) are signed; `epoch` is the date, in seconds since 1970.
    """
    key = load_key(private_key_pem)
    flags = _MODE64 if parameters["mode"] == "production" else _MODE64 | _DEBUG
    head = _HEAD.pack(_HEADER, _VENDOR, _date(epoch), _SECOND_HEADER, 0, b"")
    body = _BODY.pack(
        *(0, 0xFFFFFFFF, b""),  # no misc feature
        *(flags, _XFRM, _FLAGS_MASK, _XFRM),
        *(bytes.fromhex(measurement_hex), b""),
        *(int(parameters.get("isvprodid", "0")), int(parameters.get("isvsvn", "0"))),
    )
    modulus = key.public_key().public_numbers().n
    signature = int.from_bytes(key.sign(head + body, padding.PKCS1v15(), SHA256()), "big")
    public = _KEY.pack(_little(modulus), EXPONENT, _little(signature))
    return head + public + body + _TAIL.pack(b"", *_quotients(signature, modulus))


def verify(sigstruct: bytes) -> SignedEnclave:
    """Return the content of a signature; the caller has to check that it is for the right enclave.

    Raises `BadSignature` unless it is complete, of the expected form, and made with the key in it.
    """
    if len(sigstruct) != SIZE:
        raise BadSignature(f"it has {len(sigstruct)} bytes instead of {SIZE}")
    head, body = sigstruct[:_KEY_AT], sigstruct[_BODY_AT:_TAIL_AT]
    header, vendor, date, second_header, _defined, reserved = _HEAD.unpack(head)
    modulus, exponent, signature = _KEY.unpack_from(sigstruct, _KEY_AT)
    _misc, _misc_mask, more, flags, _xfrm, flags_mask, _xfrm_mask, measurement, rest, product, svn = _BODY.unpack(body)
    padding_bytes, *quotients = _TAIL.unpack_from(sigstruct, _TAIL_AT)
    if (header, vendor, second_header, exponent) != (_HEADER, _VENDOR, _SECOND_HEADER, EXPONENT):
        raise BadSignature("it is of an unknown form")
    if any(reserved + more + rest + padding_bytes):
        raise BadSignature("it sets fields that are reserved")
    _check_signed(head + body, modulus, signature, tuple(quotients))
    if not flags_mask & _DEBUG:
        raise BadSignature("it leaves open whether the enclave may be debugged")
    return SignedEnclave(_mrsigner(modulus), product, svn, measurement.hex(), bool(flags & _DEBUG), f"{date:08x}")


def _check_signed(content: bytes, modulus: bytes, signature: bytes, quotients: tuple[bytes, ...]) -> None:
    n, number = int.from_bytes(modulus, "little"), int.from_bytes(signature, "little")
    if n.bit_length() != BITS or number >= n:
        raise BadSignature("its key or signature is of another size")
    try:
        key = rsa.RSAPublicNumbers(EXPONENT, n).public_key()
        key.verify(number.to_bytes(_BYTES, "big"), content, padding.PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError, UnsupportedAlgorithm) as error:
        raise BadSignature("its signature does not match its content") from error
    if quotients != _quotients(number, n):
        raise BadSignature("its numbers Q1 and Q2 are wrong")


def _quotients(signature: int, modulus: int) -> tuple[bytes, bytes]:
    """Return Q1 and Q2, which spare the processor the divisions when it raises the signature to the third power."""
    first, remainder = divmod(signature * signature, modulus)
    return _little(first), _little(signature * remainder // modulus)


def _date(epoch: int) -> int:
    """Return a date as the SDM writes it: yyyymmdd, read as hexadecimal digits."""
    return int(datetime.fromtimestamp(min(max(epoch, 0), _LAST_DATE), UTC).strftime("%Y%m%d"), 16)


def _mrsigner(modulus: bytes) -> str:
    return hashlib.sha256(modulus).hexdigest()


def _little(number: int) -> bytes:
    return number.to_bytes(_BYTES, "little")
