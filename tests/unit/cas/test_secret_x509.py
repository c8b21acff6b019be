"""Certificates that policies ask for, as OpenSSL and Python's TLS see them."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys import certificates
from sconectl.cas.keys.certificates import FAR_FUTURE
from sconectl.cas.secrets import generate, x509_secrets
from sconectl.cas.secrets.session_secrets import Stored, Value, secrets_for, value_in
from sconectl.policy.model.secret import KEY_TYPES
from sconectl.policy.reading import Session

from .secret_sessions import NOW, Imports, needs_openssl, nothing_imported, rows, run, session, text

SELF_SIGNED = "name: c, kind: x509, private_key: k"
KEY = "name: k, kind: private-key"


def one(*fields: str) -> x509.Certificate:
    """Return a self-signed certificate with more fields."""
    current = session(KEY, ", ".join([SELF_SIGNED, *fields]))
    return loaded(rows(current)["c"])


def loaded(row: Stored) -> x509.Certificate:
    return x509.load_pem_x509_certificate(row.content)


def names_of(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def subject_of(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()


@pytest.mark.parametrize(
    ("fields", "subject"),
    [
        ([], "CN=c"),
        (["dns: [a.test, b.test]"], "CN=a.test"),
        (['san: ["ip:192.0.2.7", "dns:a.test"]'], "CN=a.test"),
        (["common_name: Given", "dns: a.test"], "CN=Given"),
        ([f"dns: {'a' * 61}.test"], "CN=c"),  # 66 characters: X.520 allows 64
        ([f"dns: {'a' * 59}.test"], f"CN={'a' * 59}.test"),
    ],
)
def test_the_subject_is_one_common_name_and_nothing_else(fields: list[str], subject: str) -> None:
    assert subject_of(one(*fields)) == subject


def test_the_name_of_a_secret_that_is_too_long_for_a_common_name_is_refused() -> None:
    with pytest.raises(CasRefusal, match="at most 64 characters") as caught:
        rows(session(KEY, f"name: {'n' * 65}, kind: x509, private_key: k"))
    assert caught.value.status == 400
    rows(session(KEY, f"name: {'n' * 65}, kind: x509, private_key: k, common_name: short"))


def test_alternative_names_of_all_kinds_without_duplicates() -> None:
    certificate = one(
        'san: ["dns:a.test", "dns:*.a.test", "ip:192.0.2.7", "ip:2001:db8::7", "dns:a.test"]', "dns: [a.test, b.test]"
    )
    assert names_of(certificate) == ["a.test", "b.test", "*.a.test", "192.0.2.7", "2001:db8::7"]
    with pytest.raises(x509.ExtensionNotFound):
        names_of(one())


@pytest.mark.parametrize(
    ("fields", "usages"),
    [
        (["endpoint: server"], [ExtendedKeyUsageOID.SERVER_AUTH]),
        (["endpoint: client"], [ExtendedKeyUsageOID.CLIENT_AUTH]),
        ([], None),
    ],
)
def test_the_endpoint_is_the_extended_key_usage(fields: list[str], usages: list[x509.ObjectIdentifier] | None) -> None:
    extensions = one(*fields).extensions
    if usages is None:
        with pytest.raises(x509.ExtensionNotFound):
            extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    else:
        assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == usages


@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("kind", ["x509", "x509-ca"])
def test_what_rfc_5280_wants_of_every_certificate(key_type: str, kind: str) -> None:
    certificate = loaded(rows(session(f"{KEY}, key_type: {key_type}", f"name: c, kind: {kind}, private_key: k"))["c"])
    extensions, ca = certificate.extensions, kind == "x509-ca"
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (ca, None)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign is usage.value.crl_sign is ca
    assert usage.value.digital_signature is not ca
    assert usage.value.key_encipherment is (key_type.startswith("RSA") and not ca)
    own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == own
    certificate.verify_directly_issued_by(certificate)
    assert 64 <= certificate.serial_number.bit_length() <= 159


def test_a_certificate_says_that_it_is_a_simulation() -> None:
    comment = one().extensions.get_extension_for_oid(x509.ObjectIdentifier("2.16.840.1.113730.1.13"))
    assert not comment.critical
    assert isinstance(comment.value, x509.UnrecognizedExtension)
    assert comment.value.value[2:] == b"SIMULATION: issued by the embedded CAS of sconectl"


CHAIN = (
    "name: root-key, kind: private-key, key_type: P-384",
    "name: root, kind: x509-ca, private_key: root-key, common_name: Acme Root",
    "name: middle-key, kind: private-key, key_type: Ed25519",
    "name: middle, kind: x509-ca, private_key: middle-key, issuer: root",
    "name: server-key, kind: private-key, key_type: RSA-2048",
    "name: server, kind: x509, private_key: server-key, issuer: middle, endpoint: server, dns: db.test, valid_for: 9d",
    "name: client-key, kind: private-key",
    "name: client, kind: x509, private_key: client-key, issuer: middle, endpoint: client, common_name: Client",
    "name: both, kind: x509, private_key: client-key, issuer: root",
)


@pytest.fixture(scope="module")
def chain() -> tuple[Session, dict[str, Stored]]:
    current = session(*CHAIN)
    return current, rows(current)


@needs_openssl
def test_openssl_verifies_a_chain_of_three_strictly(chain: tuple[Session, dict[str, Stored]], tmp_path: Path) -> None:
    for name in ("root", "middle", "server", "client", "both"):
        (tmp_path / name).write_text(text(*chain, name, "crt:pem"))
        (tmp_path / f"{name}-issuers").write_text(text(*chain, name, "chain") or text(*chain, "root", "crt:pem"))

    def verify(name: str, *options: str | Path) -> None:
        issuers = tmp_path / f"{name}-issuers"
        root = tmp_path / "root"
        command = ("openssl", "verify", "-x509_strict", "-CAfile", root, "-untrusted", issuers, *options)
        assert "OK" in run(*command, tmp_path / name)

    verify("server", "-purpose", "sslserver", "-verify_hostname", "db.test")
    verify("client", "-purpose", "sslclient")
    verify("both", "-purpose", "sslserver")
    verify("middle")
    verify("root")
    shown = run("openssl", "x509", "-in", tmp_path / "client", "-noout", "-subject", "-issuer", "-nameopt", "compat")
    assert shown == "subject=/CN=Client\nissuer=/CN=middle\n"


@needs_openssl
@pytest.mark.parametrize("kind", ["x509", "x509-ca"])
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_openssl_verifies_a_self_signed_certificate_strictly(kind: str, key_type: str, tmp_path: Path) -> None:
    current = session(f"{KEY}, key_type: {key_type}", f"name: c, kind: {kind}, private_key: k")
    file = tmp_path / "c"
    file.write_bytes(rows(current)["c"].content)
    assert "OK" in run("openssl", "verify", "-x509_strict", "-CAfile", file, file)


@pytest.mark.parametrize("host", ["db.test", "other.test"])
def test_server_and_client_shake_hands_under_strict_rules(
    chain: tuple[Session, dict[str, Stored]], host: str, tmp_path: Path
) -> None:
    def context(protocol: int, name: str) -> ssl.SSLContext:
        file = tmp_path / name
        file.write_text(
            text(*chain, name, "privatekey:pem") + text(*chain, name, "crt:pem") + text(*chain, name, "chain")
        )
        made = ssl.SSLContext(protocol)
        made.verify_mode = ssl.CERT_REQUIRED
        made.verify_flags |= ssl.VERIFY_X509_STRICT
        made.load_verify_locations(cadata=text(*chain, "root", "crt:pem"))
        made.load_cert_chain(file)
        return made

    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context(ssl.PROTOCOL_TLS_SERVER, "server").wrap_bio(to_server, to_client, server_side=True)
    client = context(ssl.PROTOCOL_TLS_CLIENT, "client").wrap_bio(to_client, to_server, server_hostname=host)
    if host != "db.test":
        with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'other\.test'"):
            shake_hands(client, server)
        return
    shake_hands(client, server)
    peer = server.getpeercert()
    assert peer is not None
    assert peer["subject"] == ((("commonName", "Client"),),)


def shake_hands(*sides: ssl.SSLObject) -> None:
    waiting = list(sides)
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    assert not waiting


def test_validity_starts_a_day_back_and_ends_after_valid_for() -> None:
    certificate = one("valid_for: 59d")
    start = NOW.replace(microsecond=0)
    assert certificate.not_valid_before_utc == start - timedelta(days=1)
    assert certificate.not_valid_after_utc == start + timedelta(days=59)
    row = rows(session(KEY, SELF_SIGNED + ", valid_for: 90 days"))["c"]
    assert row.expires == int((start + timedelta(days=90)).timestamp())
    assert row.renew == int((start + timedelta(days=60)).timestamp())


@pytest.mark.parametrize("fields", [[], ["valid_for: 9000 years"]])
def test_without_a_limit_it_is_valid_until_4096(fields: list[str]) -> None:
    row = rows(session(KEY, ", ".join([SELF_SIGNED, *fields])))["c"]
    assert loaded(row).not_valid_after_utc == FAR_FUTURE
    assert (row.expires, row.renew) == (None, None)


def test_nothing_outlives_its_issuer() -> None:
    current = session(
        KEY,
        "name: ca, kind: x509-ca, private_key: k, valid_for: 10d",
        "name: c, kind: x509, private_key: k, issuer: ca",
        "name: long, kind: x509, private_key: k, issuer: ca, valid_for: 20d",
        "name: short, kind: x509, private_key: k, issuer: ca, valid_for: 5d",
    )
    stored = rows(current)
    assert stored["c"].expires == stored["long"].expires == stored["ca"].expires
    assert stored["short"].expires == int((NOW + timedelta(days=5)).timestamp())


@given(st.integers(min_value=1, max_value=10**9))
def test_the_renewal_leaves_a_third_or_some_seconds_and_never_comes_first(seconds: int) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    left = seconds - (x509_secrets.renewal(start, start + timedelta(seconds=seconds)) - start).total_seconds()
    assert 0 < left < seconds
    assert left == pytest.approx(min(max(seconds / 3, 5), seconds / 2))


def imported_ca(path_end: datetime = FAR_FUTURE, *, ca: bool = True, own_identifier: bool = True) -> Value:
    """Return an authority of another PKI: its key identifiers, if any, follow no method of ours."""
    key = generate.private_key("P-384")
    name = certificates.named("Elsewhere")
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(NOW - timedelta(days=9))
        .not_valid_after(path_end)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if own_identifier:
        builder = builder.add_extension(x509.SubjectKeyIdentifier(b"own method"), critical=False)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = builder.sign(key, hashes.SHA384())
    pem = certificate.public_bytes(Encoding.PEM)
    return Value("x509-ca", pem, private_key=generate.private_key_pem(key))


BELOW_IMPORT = ("name: ca, import: {session: other, secret: ca}", KEY, f"{SELF_SIGNED}, issuer: ca")


@pytest.mark.parametrize("own_identifier", [True, False])
def test_an_imported_authority_signs(own_identifier: bool) -> None:
    current, imports = session(*BELOW_IMPORT), Imports(ca=imported_ca(own_identifier=own_identifier))
    stored = secrets_for(current, {}, None, imports, NOW)
    issuer = x509.load_pem_x509_certificate(imports.values["ca"].content)
    certificate = loaded(stored["c"])
    certificate.verify_directly_issued_by(issuer)
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA384)
    identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert identifier is not None
    assert (identifier == b"own method") is own_identifier
    assert value_in(current, stored, "c", imports, NOW).chain == (imports.values["ca"].content.decode(),)


OTHER = imported_ca()
DAMAGED = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("authority", "status", "why"),
    [
        (Value("x509-ca", OTHER.content), 403, "not accessible"),
        (Value("x509-ca", OTHER.content, private_key=generate.private_key_pem(certificates.new_key())), 400, "another"),
        (imported_ca(ca=False), 400, "not that of an authority"),
        (imported_ca(NOW - timedelta(days=1)), 400, "expired"),
        (Value("x509-ca", b"nonsense", private_key=OTHER.private_key), 403, "not PEM"),
        (Value("x509-ca", OTHER.content, private_key=b"nonsense"), 400, "cannot be used"),
        (Value("x509-ca", DAMAGED, private_key=OTHER.private_key), 400, "cannot be used"),
        (Value("ascii", b"nonsense"), 403, "is needed"),
    ],
    ids=["no key", "wrong key", "no authority", "expired", "no certificate", "no key at all", "damaged", "no x509-ca"],
)
def test_an_authority_that_cannot_sign_is_refused(authority: Value, status: int, why: str) -> None:
    with pytest.raises(CasRefusal, match=why) as caught:
        secrets_for(session(*BELOW_IMPORT), {}, None, Imports(ca=authority), NOW)
    assert caught.value.status == status


def test_an_import_that_is_not_granted_is_refused() -> None:
    with pytest.raises(CasRefusal, match="not granted"):
        secrets_for(session(*BELOW_IMPORT), {}, None, nothing_imported, NOW)
