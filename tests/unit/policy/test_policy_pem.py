"""PEM texts in policies: what is taken, what is not, and that nothing of it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sconectl.policy.forms import pem

CERTIFICATE = "".join(
    f"{line.strip()}\n"
    for line in (Path(__file__).parent / "valid" / "V02.yaml")
    .read_text()
    .partition("    - |\n")[2]
    .partition("  create_sessions")[0]
    .splitlines()
)
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(65537, 2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()


def private(key: Any, form: PrivateFormat = PrivateFormat.PKCS8, password: bytes = b"") -> str:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return str(key.private_bytes(Encoding.PEM, form, encryption).decode())


def public(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


@pytest.mark.parametrize("key", [P256, P384, RSA, ED25519], ids=["P-256", "P-384", "RSA", "Ed25519"])
def test_keys(key: Any) -> None:
    assert private(pem.private_key(private(key))) == private(key)
    assert public(key) == public(pem.private_key(f"\n  {private(key)}\n"))
    assert pem.public_key(public(key)) == key.public_key()


def test_certificates() -> None:
    assert len(pem.certificates(CERTIFICATE)) == 1
    assert len(pem.certificates(CERTIFICATE.strip() + "\n\n" + CERTIFICATE)) == 2


@pytest.mark.parametrize("key", [P384, ED25519], ids=["P-384", "Ed25519"])
def test_keys_of_signers_have_one_spelling(key: Any) -> None:
    assert pem.signer_key(public(key).replace("\n", "\r\n") + "\n") == public(key)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (pem.private_key, ""),
        (pem.private_key, private(P256, PrivateFormat.TraditionalOpenSSL)),
        (pem.private_key, private(RSA, PrivateFormat.TraditionalOpenSSL)),
        (pem.private_key, private(P256, password=b"password")),
        (pem.private_key, private(P256) + private(P384)),
        (pem.private_key, private(P256) + "more"),
        (pem.private_key, public(P256)),
        (pem.private_key, private(P256).replace("\nM", "\nN")),
        (pem.public_key, private(P256)),
        (pem.public_key, public(P256) + public(P384)),
        (pem.public_key, CERTIFICATE),
        (pem.certificates, ""),
        (pem.certificates, CERTIFICATE + private(P256)),
        (pem.certificates, "subject=x\n" + CERTIFICATE),
        (pem.certificates, CERTIFICATE.replace("MIIB", "MIIC")),
        (pem.signer_key, public(P256)),
        (pem.signer_key, public(RSA)),
        (pem.signer_key, public(x25519.X25519PrivateKey.generate())),
    ],
)
def test_what_is_none_is_refused_without_a_word_about_it(read: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ValueError, match=r"PEM|key") as caught:
        read(text)
    assert not any(line in str(caught.value) for line in text.splitlines() if line)
    assert caught.value.__cause__ is None
