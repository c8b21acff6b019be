"""Passwords, bytes and keys that the CAS makes up."""

from __future__ import annotations

import collections

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_public_key,
)

from sconectl.cas.secrets import generate
from sconectl.policy.model.secret import KEY_TYPES


@pytest.mark.parametrize("size", [1, 2, 20, 4096])
def test_a_password_has_its_size_and_is_printable_without_blanks(size: int) -> None:
    password = generate.printable(size)
    assert len(password) == size
    assert all(0x21 <= byte <= 0x7E for byte in password)


def test_all_printable_characters_are_equally_likely() -> None:
    count = 94 * 1000
    seen = collections.Counter(generate.printable(count))
    assert len(seen) == 94
    # Deviations of more than seven standard deviations do not happen by chance.
    assert all(abs(number - 1000) < 7 * 1000**0.5 for number in seen.values())


def test_two_values_differ() -> None:
    assert generate.printable(20) != generate.printable(20)
    assert generate.random_bytes(16) != generate.random_bytes(16)
    assert len(generate.random_bytes(16)) == 16


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_key_of_each_type_is_written_as_pkcs8_and_read_back(key_type: str) -> None:
    key = generate.private_key(key_type)
    pem = generate.private_key_pem(key)
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    again = generate.load_private_key(pem)
    assert again.public_key() == key.public_key()
    assert load_pem_public_key(generate.public_key_pem(again)) == key.public_key()
    match again:
        case ec.EllipticCurvePrivateKey():
            assert f"P-{again.curve.key_size}" == key_type
        case rsa.RSAPrivateKey():
            assert f"RSA-{again.key_size}" == key_type
        case _:
            assert isinstance(again, ed25519.Ed25519PrivateKey)
            assert key_type == "Ed25519"


def test_an_ed25519_key_is_version_1_which_every_reader_takes() -> None:
    key = generate.private_key("Ed25519")
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert der[:5] == bytes.fromhex("302e020100")  # SEQUENCE, INTEGER 0: RFC 5958 without the public key
    assert load_der_private_key(der, None)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ],
    ids=["nothing", "damaged", "cannot sign"],
)
def test_what_is_no_signing_key_is_refused(pem: bytes) -> None:
    with pytest.raises(ValueError):
        generate.load_private_key(pem)
