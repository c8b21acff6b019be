"""Signed and encrypted sessions: who has signed, what counts as signed, and who can read."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519

from sconectl.errors import InvalidInput
from sconectl.key_hash import SIGNER_VERSION, encode_base58check
from sconectl.policy.reading import Signer
from sconectl.policy.signed_session import (
    MAX_SIGNATURES,
    EncryptedSession,
    Signature,
    SignedError,
    SignedSession,
    decrypt,
    encrypt,
    message_to_sign,
    read_document,
    signer_of,
    valid_signers,
    verify,
)

ED = ed25519.Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
OTHER = ed25519.Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
P384 = ec.derive_private_key(7, ec.SECP384R1())
READ = "access_policy: {read: [NONE]}\n"


def pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return signer_of(key.public_key()).signer


def text(creator: str, policy: str = READ) -> str:
    indented = "".join(f"    {line}\n" for line in creator.splitlines())
    return f'name: a\nversion: "0.3.10"\n{policy}creator:\n  signer: |\n{indented}'


def made(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, session: str) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message_to_sign(session))
    return key.sign(message_to_sign(session), ec.ECDSA(hashes.SHA384()))


def signed(*keys: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, session: str = "") -> SignedSession:
    session = session or text(pem(keys[0]))
    return SignedSession(session, tuple(Signature(pem(key), made(key, session)) for key in keys))


@pytest.mark.parametrize("key", [ED, P384], ids=["Ed25519", "P-384"])
def test_both_kinds_of_keys_sign(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
    assert verify(signed(key)) == (Signer(signer=pem(key)),)


def test_signers_are_distinct_and_in_order() -> None:
    assert verify(signed(ED, P384, ED, OTHER)) == tuple(Signer(signer=pem(key)) for key in (ED, P384, OTHER))


def test_the_old_form_of_a_signer_is_the_same_signer() -> None:
    raw = ED.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    document = signed(ED)
    old = Signature(encode_base58check(SIGNER_VERSION, raw), document.signatures[0].signature)
    assert verify(SignedSession(document.session, (old,))) == (Signer(signer=pem(ED)),)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_signature_of_openssl(tmp_path: Path) -> None:
    def openssl(*words: str) -> bytes:
        return subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True).stdout

    openssl("ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", "key.pem")
    public = openssl("ec", "-in", "key.pem", "-pubout").decode()
    session = text(public)
    (tmp_path / "message").write_bytes(message_to_sign(session))
    signature = openssl("dgst", "-sha384", "-sign", "key.pem", "message")
    assert verify(SignedSession(session, (Signature(public, signature),))) == (Signer(signer=public),)


def test_what_is_signed() -> None:
    assert message_to_sign("name: ü\n") == b"sconectl signed session v1\0name: \xc3\xbc\n"


@pytest.mark.parametrize("change", ["\n", "name: b"])
def test_every_byte_of_the_text_is_signed(change: str) -> None:
    document = signed(ED)
    with pytest.raises(SignedError, match="signature 1 of 1 is not valid"):
        verify(SignedSession(document.session + change, document.signatures))


def test_a_signature_of_the_bare_text_is_none() -> None:
    session = text(pem(ED))
    with pytest.raises(SignedError, match="not valid"):
        verify(SignedSession(session, (Signature(pem(ED), ED.sign(session.encode())),)))


def test_one_bad_signature_spoils_all() -> None:
    document = signed(ED, OTHER)
    swapped = Signature(document.signatures[1].signer, document.signatures[0].signature)
    with pytest.raises(SignedError, match="signature 2 of 2"):
        valid_signers(SignedSession(document.session, (document.signatures[0], swapped)))


def test_a_session_without_signatures_is_not_signed() -> None:
    with pytest.raises(SignedError, match="no signature"):
        verify(SignedSession(text(pem(ED)), ()))


def test_a_p256_key_is_no_signer() -> None:
    public = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    spki = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(SignedError, match="not an Ed25519 or P-384"):
        valid_signers(SignedSession("x", (Signature(spki, b""),)))


@pytest.mark.parametrize("session", [text(pem(OTHER)), f'name: a\nversion: "0.3.10"\n{READ}'], ids=["other", "none"])
def test_the_creator_is_one_of_the_signers(session: str) -> None:
    with pytest.raises(SignedError, match="creator of a signed session"):
        verify(signed(ED, session=session))


@pytest.mark.parametrize(
    ("policy", "operation"),
    [
        ("", "read"),
        ("access_policy: {read: [CREATOR]}\n", "read"),
        ("access_policy: {read: [NONE], list_sessions: [CREATOR]}\n", "list sessions"),
    ],
)
def test_a_creator_who_signs_cannot_read(policy: str, operation: str) -> None:
    with pytest.raises((SignedError, InvalidInput)) as caught:
        verify(signed(ED, session=text(pem(ED), policy)))
    if isinstance(caught.value, SignedError):
        assert f"a signer cannot {operation}" in caught.value.message
        assert "read: [NONE]" in caught.value.hint


def test_the_text_has_to_be_a_session() -> None:
    session = text(pem(ED)) + "services: 5\n"
    with pytest.raises(InvalidInput):
        verify(signed(ED, session=session))


def test_a_new_signature_replaces_the_old_one_of_its_signer() -> None:
    document = signed(ED, OTHER)
    again = document.with_signature(Signer(signer=pem(ED)), b"new")
    assert [entry.signature for entry in again.signatures] == [document.signatures[1].signature, b"new"]


# --- documents --------------------------------------------------------------------------------------------------------


def test_documents_survive_json() -> None:
    document = signed(ED, P384)
    assert read_document(document.to_json().encode()) == document == SignedSession.from_json(document.to_json())
    encrypted = EncryptedSession(b"\0\1", "0a" * 32)
    assert read_document(encrypted.to_json().encode()) == encrypted == EncryptedSession.from_json(encrypted.to_json())


def test_ed25519_signatures_may_be_in_hex() -> None:
    document = signed(ED)
    old = json.loads(document.to_json())
    old["signatures"][0]["signature"] = document.signatures[0].signature.hex()
    assert read_document(json.dumps(old).encode()) == document


@pytest.mark.parametrize("raw", ["name: a\n", '{"name": "a"}', "{name: a, x: [}", "", "[" * 100_000, "{" * 100_000])
def test_everything_else_is_text(raw: str) -> None:
    assert read_document(raw.encode()) == raw


@pytest.mark.parametrize(
    "document",
    [
        {"signatures": []},
        {"session": 5, "signatures": []},
        {"session": "x", "signatures": {}},
        {"session": "x", "signatures": [], "more": 1},
        {"session": "x", "signatures": ["y"]},
        {"session": "x", "signatures": [{"signer": "y"}]},
        {"session": "x", "signatures": [{"signer": "y", "signature": 5}]},
        {"session": "x", "signatures": [{"signer": "y", "signature": "no base64!"}]},
        {"session": "x", "signatures": [{"signer": "y", "signature": ""}] * (MAX_SIGNATURES + 1)},
        {"session": "\ud800", "signatures": []},
        {"encrypted_session": "AA=="},
        {"encrypted_session": "?", "encryption_key": "0a" * 32},
        {"encrypted_session": "AA==", "encryption_key": "0a"},
    ],
)
def test_damaged_documents(document: object) -> None:
    with pytest.raises(SignedError):
        read_document(json.dumps(document).encode())


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"x" * (1 << 22) + b"x"])
def test_what_cannot_be_text(raw: bytes) -> None:
    with pytest.raises(SignedError):
        read_document(raw)


@pytest.mark.parametrize("raw", ["5", "[]", "x", '{"session": 1, "session": 2}'])
def test_what_is_no_document(raw: str) -> None:
    with pytest.raises(SignedError):
        SignedSession.from_json(raw)
    with pytest.raises(SignedError):
        EncryptedSession.from_json(raw)


# --- encryption -------------------------------------------------------------------------------------------------------

CAS = x25519.X25519PrivateKey.from_private_bytes(b"\3" * 32)
KEY = CAS.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()


def test_only_the_cas_reads_it() -> None:
    encrypted = encrypt(b"the secret text", KEY.upper())
    assert b"secret text" not in encrypted.ciphertext
    assert encrypted.encryption_key == KEY
    assert decrypt(encrypted, CAS) == b"the secret text"
    assert encrypt(b"the secret text", KEY) != encrypted
    with pytest.raises(SignedError, match="another CAS"):
        decrypt(encrypted, x25519.X25519PrivateKey.from_private_bytes(b"\4" * 32))


@pytest.mark.parametrize("place", [0, 31, 32, -1])
def test_changes_of_the_ciphertext_are_noticed(place: int) -> None:
    changed = bytearray(encrypt(b"text", KEY).ciphertext)
    changed[place] ^= 1
    with pytest.raises(SignedError, match="was changed"):
        decrypt(EncryptedSession(bytes(changed), KEY), CAS)


def test_a_ciphertext_that_is_too_short() -> None:
    with pytest.raises(SignedError, match="was changed"):
        decrypt(EncryptedSession(b"", KEY), CAS)


@pytest.mark.parametrize("key", ["", "0a", "zz" * 32, "00" * 32])
def test_keys_that_are_none(key: str) -> None:
    with pytest.raises(SignedError):
        encrypt(b"text", key)


def test_secrets_do_not_show() -> None:
    assert "hunter2" not in repr(SignedSession("hunter2", ()))
    assert "hunter2" not in repr(EncryptedSession(b"hunter2", KEY))
    assert base64.b64encode(b"hunter2").decode() not in repr(EncryptedSession(b"hunter2", KEY))
