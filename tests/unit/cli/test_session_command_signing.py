"""`sconectl session sign` and `encrypt`, and the keys behind them, as a user works with them."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sconectl.policy.reading import Signer, parse_session
from sconectl.policy.signed_session import (
    EncryptedSession,
    SignedSession,
    decrypt,
    read_document,
    valid_signers,
    verify,
)

from .conftest import Outcome, Run

SESSION = """\
name: shop
version: "0.3.10"
access_policy: {read: [NONE], update: [CREATOR]}
"""
OTHER = ed25519.Ed25519PrivateKey.from_private_bytes(b"\2" * 32)


def pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture
def file(project: Path) -> Path:
    path = project / "s.yaml"
    path.write_text(SESSION)
    (project / "other.pem").write_text(pem(OTHER))
    return path


Give = Callable[..., None]


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Give:
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    return give


def ok(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.err
    return outcome.out


def document(text: str) -> SignedSession:
    found = read_document(text.encode())
    assert isinstance(found, SignedSession)
    return found


def own_signer(run: Run, *words: str) -> Signer:
    return Signer(signer=ok(run("self", "show-session-signing-key", *words)))


# --- signing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [(), ("sign-with-cli-identity",)])
def test_signing_with_the_own_key(run: Run, file: Path, action: tuple[str, ...]) -> None:
    signed = document(ok(run("session", "sign", file, *action)))
    signer = own_signer(run)
    assert verify(signed) == (signer,)
    assert parse_session(signed.session).creator == signer
    assert parse_session(signed.session).name == "shop"


def test_a_signed_session_is_checked_and_hashed_like_any_other(run: Run, file: Path) -> None:
    ok(run("session", "sign", file, "-o", "signed.json"))
    assert Path("signed.json").stat().st_mode & 0o077 == 0
    assert "signer: |" in ok(run("session", "check", "signed.json"))
    expected = ok(run("session", "calculate-hash", file, "--with-self-as-creator", "signer"))
    assert ok(run("session", "calculate-hash", "signed.json")) == expected
    for words in (("-e", "A=b"), ("-n", "x"), ("--use-env",)):
        done = run("session", "check", "signed.json", *words)
        assert done.code == 2
        assert "signed" in done.err


def test_a_changed_session_is_not_accepted(run: Run, file: Path) -> None:
    signed = json.loads(ok(run("session", "sign", file)))
    signed["session"] = signed["session"].replace("NONE", "ANY")
    Path("changed.json").write_text(json.dumps(signed))
    for words in (
        ("check",),
        ("create",),
        ("update",),
        ("calculate-hash",),
        ("sign",),
        ("encrypt", "--key", "0a" * 32),
    ):
        done = run("session", words[0], "changed.json", *words[1:])
        assert (done.code, done.out) == (3, "")
        assert "not valid for this session" in done.err


@pytest.mark.parametrize("policy", ["", "access_policy: {read: [CREATOR]}\n"])
def test_read_has_to_be_said(run: Run, file: Path, policy: str) -> None:
    file.write_text(f'name: shop\nversion: "0.3.10"\n{policy}')
    done = run("session", "sign", file)
    assert (done.code, done.out) == (3, "")
    assert "read: [NONE]" in done.err


def test_another_creator_is_replaced(run: Run, file: Path) -> None:
    indented = "".join(f"    {line}\n" for line in pem(OTHER).splitlines())
    file.write_text(f"{SESSION}creator:\n  signer: |\n{indented}")
    done = run("session", "sign", file)
    assert verify(document(done.out)) == (own_signer(run),)
    assert "creator" in done.err


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_signing_with_openssl(run: Run, file: Path, stdin: Give) -> None:
    def openssl(*words: str, given: bytes = b"") -> bytes:
        return subprocess.run(["openssl", *words], input=given, check=True, capture_output=True).stdout

    openssl("ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", "key.pem")
    public = openssl("ec", "-in", "key.pem", "-pubout").decode()
    Path("public.pem").write_text(public)
    ok(run("session", "sign", file, "generate-message-to-be-signed", "public.pem", "-o", "message"))
    signature = openssl("dgst", "-sha384", "-sign", "key.pem", "message")
    stdin(signature)
    signed = document(ok(run("session", "sign", file, "add-signature", "public.pem")))
    assert verify(signed) == (Signer(signer=public),)
    again = ok(run("session", "sign", file, "add-signature", "public.pem", base64.b64encode(signature).decode()))
    assert document(again) == signed


def test_several_signers(run: Run, file: Path) -> None:
    ok(run("session", "sign", file, "-o", "one.json"))
    ok(run("session", "sign", "one.json", "generate-message-to-be-signed", "-o", "message"))
    signature = base64.b64encode(OTHER.sign(Path("message").read_bytes())).decode()
    both = document(ok(run("session", "sign", "one.json", "add-signature", "other.pem", signature)))
    assert both.session == document(Path("one.json").read_text()).session
    assert verify(both) == (own_signer(run), Signer(signer=pem(OTHER)))
    third = document(ok(run("session", "sign", "one.json", "--cas-config", "third")))
    assert verify(third) == (own_signer(run), own_signer(run, "--cas-config", "third"))


def test_the_message_goes_to_stdout(run: Run, file: Path) -> None:
    message = ok(run("session", "sign", file, "generate-message-to-be-signed", "other.pem"))
    assert message.startswith("sconectl signed session v1\0name: shop\n")


def test_the_message_does_not_go_to_a_terminal(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("session", "sign", file, "generate-message-to-be-signed")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    refused = run(*words)
    assert (refused.code, refused.out) == (2, "")
    assert "-f" in refused.err
    assert "name: shop" in ok(run(*words, "-f"))


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (("add-signature",), "needs the public key", 2),
        (("add-signature", "gone.pem", "AA=="), "gone.pem", 2),
        (("add-signature", "s.yaml", "AA=="), "no Ed25519 or P-384 public key", 2),
        (("add-signature", "other.pem", "?"), "not base64", 2),
        (("add-signature", "other.pem", "AA=="), "not valid", 3),
        (("sign-with-cli-identity", "other.pem"), "takes no key", 2),
    ],
)
def test_signatures_that_cannot_be_added(run: Run, file: Path, words: tuple[str, ...], message: str, code: int) -> None:
    done = run("session", "sign", file, *words)
    assert (done.code, done.out) == (code, "")
    assert message in done.err


def test_stdin_is_read_once(run: Run, file: Path) -> None:
    assert run("session", "sign", "-", "add-signature", "other.pem").code == 2


def test_invalid_sessions_are_not_signed(run: Run, file: Path) -> None:
    file.write_text(SESSION + "services: 5\n")
    for command in ("sign", "encrypt"):
        done = run("session", command, file)
        assert (done.code, done.out) == (3, "")


# --- encrypting -------------------------------------------------------------------------------------------------------

CAS = x25519.X25519PrivateKey.from_private_bytes(b"\3" * 32)
KEY = CAS.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def encrypted(text: str) -> EncryptedSession:
    found = read_document(text.encode())
    assert isinstance(found, EncryptedSession)
    return found


def test_encrypting_signs_first(run: Run, file: Path) -> None:
    hidden = encrypted(ok(run("session", "encrypt", file, "--key", KEY)))
    assert hidden.encryption_key == KEY
    inner = document(decrypt(hidden, CAS).decode())
    assert verify(inner) == (own_signer(run),)


def test_what_is_signed_already_stays_as_it_is(run: Run, file: Path) -> None:
    ok(run("session", "sign", file, "--cas-config", "somebody", "-o", "signed.json"))
    hidden = encrypted(ok(run("session", "encrypt", "signed.json", "--key", KEY)))
    assert document(decrypt(hidden, CAS).decode()) == document(Path("signed.json").read_text())


def test_an_encrypted_session_is_closed(run: Run, file: Path) -> None:
    ok(run("session", "encrypt", file, "--key", KEY, "-o", "hidden.json"))
    assert "shop" not in Path("hidden.json").read_text()
    for command in ("check", "calculate-hash", "verify", "sign", "encrypt", "upgrade"):
        done = run("session", command, "hidden.json")
        assert (done.code, done.out) == (2, "")
        assert "encrypted" in done.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--key", "0a"), 3, "64 hex digits"),
        (("--key", "00" * 32), 3, "not a usable X25519 key"),
        (("--key", KEY, "--cas", "local"), 2, "exclude each other"),
    ],
)
def test_keys_that_are_none(run: Run, file: Path, words: tuple[str, ...], code: int, message: str) -> None:
    done = run("session", "encrypt", file, *words)
    assert (done.code, done.out) == (code, "")
    assert message in done.err


def test_encrypting_for_the_embedded_cas(run: Run, file: Path) -> None:
    hidden = encrypted(ok(run("session", "encrypt", file)))
    assert hidden == encrypted(hidden.to_json())
    assert encrypted(ok(run("session", "encrypt", file, "--cas", "local"))).encryption_key == hidden.encryption_key


# --- who I am ---------------------------------------------------------------------------------------------------------


def test_self(run: Run, project: Path) -> None:
    certificate = ok(run("self", "show-certificate"))
    key_hash = ok(run("self", "show-key-hash"))
    signing_key = ok(run("self", "show-session-signing-key"))
    assert isinstance(serialization.load_pem_public_key(signing_key.encode()), ed25519.Ed25519PublicKey)
    everything = ok(run("self", "show"))
    for part in (certificate, key_hash, signing_key):
        assert part in everything
    assert "PRIVATE" not in everything
    Path("cert.pem").write_text(certificate)
    assert ok(run("cert", "show-key-hash", "cert.pem")) == key_hash
    config = Path.home() / ".cas" / "config.json"
    assert config.stat().st_mode & 0o077 == 0
    assert ok(run("self", "show-key-hash", "--identity", Path.home() / ".cas" / "identity.pem")) == key_hash
    assert ok(run("self", "show-key-hash", "--cas-config", "other")) != key_hash


@pytest.mark.parametrize("entry", ["x", 5, pem(OTHER)])
def test_a_damaged_signing_key_is_named(run: Run, project: Path, entry: object) -> None:
    ok(run("self", "show"))
    config = Path.home() / ".cas" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"session_signing_key": entry}))
    done = run("self", "show-session-signing-key")
    assert (done.code, done.out) == (6, "")
    assert "session_signing_key" in done.err


def test_a_signing_key_of_another_kind_is_refused(run: Run, project: Path) -> None:
    ok(run("self", "show"))
    config = Path.home() / ".cas" / "config.json"
    entries = json.loads(config.read_text())
    config.write_text(json.dumps(entries | {"session_signing_key": entries["identity"].split("-----BEGIN CERT")[0]}))
    done = run("self", "show-session-signing-key")
    assert done.code == 6
    assert "no Ed25519 key" in done.err


def test_files_that_hold_no_certificate_or_identity(run: Run, project: Path) -> None:
    ok(run("self", "show"))
    ok(run("self", "show", "--cas-config", "other"))
    mine, other = ((folder / "identity.pem").read_text() for folder in (Path.home() / ".cas", Path("other")))
    Path("mixed.pem").write_text(
        mine.split("-----BEGIN CERT")[0] + "-----BEGIN CERT" + other.split("-----BEGIN CERT")[1]
    )
    Path("text").write_text("hunter2")
    for words, message in (
        (("cert", "show-key-hash", "text"), "text holds no certificate"),
        (("cert", "show-key-hash", "gone"), "gone: No such file"),
        (("self", "show", "--identity", "text"), "no usable private key"),
        (("self", "show", "--identity", "mixed.pem"), "belongs to another key"),
    ):
        done = run(*words)
        assert (done.code, done.out) == (2, "")
        assert message in done.err
        assert "hunter2" not in done.err


def test_the_signatures_of_a_document_can_be_verified_alone(run: Run, file: Path) -> None:
    assert valid_signers(document(ok(run("session", "sign", file)))) == (own_signer(run),)


def test_signed_and_encrypted_sessions_are_uploaded(run: Run, file: Path) -> None:
    file.write_text(SESSION.replace("NONE", "ANY"))
    ok(run("session", "sign", file, "-o", "signed.json"))
    created = ok(run("session", "create", "signed.json"))
    assert created == ok(run("session", "calculate-hash", "signed.json"))
    assert ok(run("session", "verify", "signed.json")) == created
    incomplete = run("session", "update", "signed.json")
    assert incomplete.code == 2
    assert "predecessor" in incomplete.err
    file.write_text(f"{file.read_text()}predecessor: {created}salt: {'0a' * 16}\n")
    ok(run("session", "encrypt", file, "-o", "hidden.json"))
    updated = ok(run("session", "update", "hidden.json"))
    assert updated != created
    assert "salt:" in ok(run("session", "read", "shop"))
