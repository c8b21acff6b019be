"""Values in every format that a placeholder can ask for."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key, pkcs12
from hypothesis import given
from hypothesis import strategies as st

from sconectl.cas.keys import certificates
from sconectl.cas.keys.certificates import Authority, Content
from sconectl.cas.secrets import generate, pgp, placeholder_formats
from sconectl.cas.secrets.pkcs12 import keystore
from sconectl.cas.secrets.session_secrets import Value
from sconectl.policy.forms.placeholders import FORMATS, LEGACY, PlaceholderError
from sconectl.policy.model.secret import KEY_TYPES

from .secret_sessions import NOW, needs_keytool, needs_openssl, run


def issued(name: str, key: certificates.SigningKey, above: Authority | None, *, ca: bool) -> x509.Certificate:
    content = Content(certificates.named(name), NOW.replace(microsecond=0), certificates.FAR_FUTURE, ca=ca)
    return certificates.issue(content, key, above)


ROOT_KEY, MIDDLE_KEY, KEY = (generate.private_key(kind) for kind in ("P-384", "Ed25519", "P-256"))
ROOT = issued("root", ROOT_KEY, None, ca=True)
MIDDLE = issued("middle", MIDDLE_KEY, Authority.of(ROOT_KEY, ROOT), ca=True)
LEAF = issued("leaf", KEY, Authority.of(MIDDLE_KEY, MIDDLE), ca=False)
ROOT_PEM, MIDDLE_PEM, LEAF_PEM = (certificates.certificate_pem(certificate) for certificate in (ROOT, MIDDLE, LEAF))
KEY_PEM = generate.private_key_pem(KEY)
PGP = pgp.generate(NOW)

VALUES = {
    "ascii": Value("ascii", b"text"),
    "binary": Value("binary", bytes(range(250, 256)) + b"\0"),
    "private-key": Value("private-key", KEY_PEM),
    "public-key": Value("public-key", generate.public_key_pem(KEY)),
    "x509": Value("x509", LEAF_PEM.encode(), (MIDDLE_PEM, ROOT_PEM), KEY_PEM),
    "x509-ca": Value("x509-ca", ROOT_PEM.encode(), (), generate.private_key_pem(ROOT_KEY)),
    "pgp-key": Value("pgp-key", pgp.armored(PGP, pgp.PRIVATE).encode()),
    "aad-token": Value("aad-token", b"token"),
    "jwt": Value("jwt", b"a.b.c"),
}


def written(kind: str, suffix: str) -> bytes:
    """Return the value of `kind` for a placeholder with a suffix, `.x` for the old ones."""
    form = LEGACY[kind][suffix[1:]] if suffix.startswith(".") else FORMATS[kind][suffix]
    return placeholder_formats.write(VALUES[kind], form)


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_a_value_has_every_format_of_its_kind_and_no_other(kind: str) -> None:
    own = {*FORMATS[kind].values(), *LEGACY.get(kind, {}).values()}
    every = {form for table in (*FORMATS.values(), *LEGACY.values()) for form in table.values()}
    for form in own:
        if (kind, form) != ("x509-ca", "chain"):  # a root has no issuers
            assert placeholder_formats.write(VALUES[kind], form)
    for form in every - own:
        with pytest.raises(PlaceholderError, match="cannot be written") as caught:
            placeholder_formats.write(VALUES[kind], form)
        assert caught.value.rule == "P2"


def test_a_fragment_is_structure_and_not_text() -> None:
    with pytest.raises(PlaceholderError):
        placeholder_formats.write(Value("config-fragment", json.dumps([1]).encode()), "structure")


@pytest.mark.parametrize("kind", ["ascii", "aad-token", "jwt"])
def test_text_is_written_as_it_is(kind: str) -> None:
    assert written(kind, "") == VALUES[kind].content


@given(st.binary())
def test_binary_can_be_read_back_from_each_of_its_formats(raw: bytes) -> None:
    def form(suffix: str) -> bytes:
        return placeholder_formats.write(Value("binary", raw), FORMATS["binary"][suffix])

    assert form("") == form("bin") == raw
    assert bytes.fromhex(form("hex").decode()) == raw
    assert form("hex").decode() == form("hex").decode().lower()
    assert base64.b64decode(form("base64"), validate=True) == raw
    assert base64.b64decode(form("base64url"), altchars=b"-_", validate=True) == raw
    assert base64.b32decode(form("base32")) == raw
    assert form("base32nopad") == form("base32").rstrip(b"=")
    assert b"=" not in form("base32nopad")


def test_binary_in_hex_the_old_way() -> None:
    assert written("binary", ".hex") == written("binary", "hex") == b"fafbfcfdfeff00"


def test_keys() -> None:
    assert written("private-key", "") == written("private-key", "pem") == written("private-key", "pkcs8:pem") == KEY_PEM
    assert written("private-key", "der") == written("private-key", "pkcs8:der")
    private = load_der_private_key(written("private-key", "der"), None)
    assert private.public_key() == KEY.public_key()
    assert written("public-key", "") == written("public-key", "spki:pem")
    assert load_der_public_key(written("public-key", "spki:der")) == KEY.public_key()


def test_certificates() -> None:
    assert written("x509", "") == written("x509", "crt") == written("x509", "crt:pem") == LEAF_PEM.encode()
    assert x509.load_der_x509_certificate(written("x509", "crt:der")) == LEAF
    assert written("x509", "privatekey") == written("x509", "privatekey:pkcs8:pem") == KEY_PEM
    assert written("x509", "privatekey:der") == written("private-key", "der")


def test_the_chain_goes_from_the_nearest_issuer_to_the_root_without_the_certificate() -> None:
    assert written("x509", "chain").decode() == MIDDLE_PEM + ROOT_PEM
    assert written("x509-ca", "chain") == b""


def test_the_old_chain_goes_from_the_root_to_the_certificate_itself() -> None:
    assert written("x509", ".chain").decode() == ROOT_PEM + MIDDLE_PEM + LEAF_PEM
    assert written("x509-ca", ".chain").decode() == ROOT_PEM
    assert written("x509", ".crt").decode() == LEAF_PEM
    assert written("x509", ".key") == KEY_PEM


def test_several_explicit_certificates_stay_as_given_and_the_first_is_the_one() -> None:
    given = f"{LEAF_PEM}\n\n{MIDDLE_PEM.rstrip()}"
    several = Value("x509-ca", given.encode(), (MIDDLE_PEM, ROOT_PEM), KEY_PEM)
    assert placeholder_formats.write(several, "crt:pem").decode() == given
    assert x509.load_der_x509_certificate(placeholder_formats.write(several, "crt:der")) == LEAF
    assert placeholder_formats.write(several, "legacy-chain").decode() == ROOT_PEM + MIDDLE_PEM + LEAF_PEM


@pytest.mark.parametrize("suffix", ["privatekey", "privatekey:der", "pkcs12-with-private-key"])
def test_without_access_to_the_private_key_it_is_not_written(suffix: str) -> None:
    bare = Value("x509", LEAF_PEM.encode(), (MIDDLE_PEM, ROOT_PEM))
    with pytest.raises(PlaceholderError, match="not accessible"):
        placeholder_formats.write(bare, FORMATS["x509"][suffix])


@pytest.mark.parametrize("form", ["privatekey:der", "crt:der", "pkcs12"])
def test_a_damaged_value_of_another_cas_is_refused_without_showing_it(form: str) -> None:
    with pytest.raises(PlaceholderError) as caught:
        placeholder_formats.write(Value("x509", b"\xffhidden", (), b"\xffhidden"), form)
    assert "hidden" not in str(caught.value)


def test_pgp_keys() -> None:
    public = pgp.public_of(PGP)
    assert pgp.dearmored(written("pgp-key", "privatekey:asciiarmored").decode()) == PGP
    assert written("pgp-key", "privatekey:binary") == base64.b64decode(written("pgp-key", "privatekey:base64")) == PGP
    assert written("pgp-key", "publickey:asciiarmored").startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n")
    assert pgp.dearmored(written("pgp-key", "publickey:asciiarmored").decode()) == public
    assert written("pgp-key", "publickey:binary") == base64.b64decode(written("pgp-key", "publickey:base64")) == public


@pytest.mark.parametrize("password", [None, b""])
def test_the_key_store_opens_with_the_empty_password(password: bytes | None) -> None:
    key, certificate, issuers = pkcs12.load_key_and_certificates(written("x509", "pkcs12-with-private-key"), password)
    assert key is not None
    assert key.public_key() == KEY.public_key()
    assert certificate == LEAF
    assert issuers == [MIDDLE, ROOT]


def test_the_key_store_does_not_open_with_another_password() -> None:
    with pytest.raises(ValueError):
        pkcs12.load_key_and_certificates(written("x509", "pkcs12-with-private-key"), b"x")


@needs_openssl
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_openssl_reads_the_key_store(key_type: str, tmp_path: Path) -> None:
    key, file = generate.private_key(key_type), tmp_path / "store.p12"
    file.write_bytes(keystore(key, issued("x", key, Authority.of(ROOT_KEY, ROOT), ca=False), [ROOT]))
    shown = run("openssl", "pkcs12", "-in", file, "-passin", "pass:", "-nodes", "-info")
    assert "MAC: sha256" in shown
    assert "PBES2, PBKDF2, AES-256-CBC" in shown
    assert generate.private_key_pem(key).decode() in shown
    assert shown.count("BEGIN CERTIFICATE") == 2


@needs_keytool
@pytest.mark.parametrize("key_type", ["P-256", "RSA-2048"])
def test_java_reads_the_key_store(key_type: str, tmp_path: Path) -> None:
    key, file = generate.private_key(key_type), tmp_path / "store.p12"
    file.write_bytes(keystore(key, issued("x", key, Authority.of(ROOT_KEY, ROOT), ca=False), [ROOT]))
    source = ("-srckeystore", file, "-srcstoretype", "PKCS12", "-srcstorepass", "")
    target = ("-destkeystore", tmp_path / "copy.p12", "-deststoretype", "PKCS12", "-deststorepass", "changeit")
    assert "1 entries successfully imported" in run("keytool", "-importkeystore", *source, *target)
    again = pkcs12.load_key_and_certificates((tmp_path / "copy.p12").read_bytes(), b"changeit")
    assert again[0] is not None
    assert again[0].public_key() == key.public_key()
    assert again[2] == [ROOT]
