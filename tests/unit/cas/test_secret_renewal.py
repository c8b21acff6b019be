"""Certificates that are issued anew before they expire."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys import certificates
from sconectl.cas.secrets import generate
from sconectl.cas.secrets.renewal import renewed
from sconectl.cas.secrets.session_secrets import Value, secrets_for, value_in

from .secret_sessions import NOW, Imports, nothing_imported, rows, session

KEY = "name: k, kind: private-key"
DAY = timedelta(days=1)


def certificate(pem: bytes | str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem if isinstance(pem, bytes) else pem.encode())


def test_only_what_is_due_is_issued_anew_for_the_same_key() -> None:
    current = session(
        KEY,
        "name: ca, kind: x509-ca, private_key: k",
        "name: soon, kind: x509, private_key: k, issuer: ca, valid_for: 30d",
        "name: later, kind: x509, private_key: k, issuer: ca, valid_for: 90d",
        "name: password, kind: ascii",
        "name: public, kind: public-key, private_key: k",
    )
    stored = rows(current)
    assert renewed(current, stored, nothing_imported, NOW + 19 * DAY) == {}
    now = NOW + 20 * DAY
    issued = renewed(current, stored, nothing_imported, now)
    assert set(issued) == {"soon"}
    before, after = certificate(stored["soon"].content), certificate(issued["soon"].content)
    assert after.public_key() == before.public_key()
    assert after.serial_number != before.serial_number
    assert issued["soon"].expires == int((now + 30 * DAY).timestamp())
    assert issued["soon"].renew == int((now + 20 * DAY).timestamp())
    assert renewed(current, {**stored, **issued}, nothing_imported, now) == {}


def test_what_a_renewed_authority_has_issued_is_issued_anew_as_well() -> None:
    current = session(
        KEY,
        "name: leaf, kind: x509, private_key: k, issuer: middle",
        "name: middle, kind: x509-ca, private_key: k, issuer: root",
        "name: root, kind: x509-ca, private_key: k, valid_for: 30d",
        "name: apart, kind: x509, private_key: k",
    )
    stored = rows(current)
    now = NOW + 20 * DAY
    assert stored["leaf"].renew == stored["root"].renew
    issued = renewed(current, stored, nothing_imported, now)
    assert set(issued) == {"root", "middle", "leaf"}
    stored |= issued
    found = value_in(current, stored, "leaf", nothing_imported, now)
    assert found.chain == (issued["middle"].content.decode(), issued["root"].content.decode())
    certificate(found.content).verify_directly_issued_by(certificate(found.chain[0]))
    assert certificate(found.content).not_valid_after_utc == (now + 30 * DAY).replace(microsecond=0)


def imported_ca() -> Value:
    key = certificates.new_key()
    pem = certificates.certificate_pem(certificates.issue_root(key, "elsewhere"))
    return Value("x509-ca", pem.encode(), (), certificates.key_pem(key).encode())


BELOW_IMPORT = (
    "name: ca, import: {session: other, secret: ca}",
    KEY,
    "name: leaf, kind: x509, private_key: k, issuer: ca, valid_for: 30d",
    "name: own, kind: x509, private_key: k, valid_for: 30d",
)


def test_a_new_imported_authority_and_a_new_imported_key_take_effect() -> None:
    current = session(
        *BELOW_IMPORT,
        "name: key, import: {session: other, secret: key}",
        "name: foreign, kind: x509, private_key: key",
        "name: public, kind: public-key, private_key: key",
    )
    key = Value("private-key", generate.private_key_pem(certificates.new_key()))
    imports = Imports(ca=imported_ca(), key=key)
    stored = secrets_for(current, {}, None, imports, NOW)
    assert renewed(current, stored, imports, NOW) == {}
    imports.values["ca"] = imported_ca()
    # Until then the leaf comes with those who really issued it.
    old = value_in(current, stored, "leaf", imports, NOW)
    certificate(old.content).verify_directly_issued_by(certificate(old.chain[0]))
    assert set(renewed(current, stored, imports, NOW)) == {"leaf"}
    imports.values["key"] = Value("private-key", generate.private_key_pem(certificates.new_key()))
    assert set(renewed(current, stored, imports, NOW)) == {"leaf", "foreign", "public"}


def test_one_that_cannot_be_issued_does_not_hinder_the_others_and_is_not_forgotten() -> None:
    current, imports = session(*BELOW_IMPORT), Imports(ca=imported_ca())
    stored = secrets_for(current, {}, None, imports, NOW)
    now = NOW + 20 * DAY
    issued = renewed(current, stored, nothing_imported, now)
    assert set(issued) == {"own"}
    stored |= issued
    with pytest.raises(CasRefusal, match="not granted"):
        renewed(current, stored, nothing_imported, now)
    assert set(renewed(current, stored, imports, now)) == {"leaf"}


def test_explicit_certificates_stay() -> None:
    pem = certificates.certificate_pem(certificates.issue_root(certificates.new_key(), "given"))
    text = pem.replace("\n", "\\n")
    current = session(f'name: c, kind: x509, value: "{text}"')
    assert renewed(current, rows(current), nothing_imported, NOW + 10**6 * DAY) == {}


@settings(max_examples=25, deadline=None)
@given(
    authority=st.integers(1, 400),
    leaf=st.integers(1, 400),
    steps=st.lists(st.integers(1, 100), min_size=1, max_size=8),
)
def test_whatever_the_lifetimes_nothing_expires_if_it_is_renewed_when_due(
    authority: int, leaf: int, steps: list[int]
) -> None:
    current = session(
        KEY,
        f"name: ca, kind: x509-ca, private_key: k, valid_for: {authority}d",
        f"name: leaf, kind: x509, private_key: k, issuer: ca, valid_for: {leaf}d",
    )
    stored, now = rows(current), NOW
    for step in steps:
        target = now + step * DAY
        while (due := min(row.renew for row in stored.values() if row.renew is not None)) <= target.timestamp():
            now = max(now, NOW.fromtimestamp(due + 1, NOW.tzinfo))
            issued = renewed(current, stored, nothing_imported, now)
            assert issued
            stored |= issued
        now = max(now, target)
        for row in (stored["ca"], stored["leaf"]):
            assert row.expires is not None
            assert row.expires > now.timestamp()
        top, below = certificate(stored["ca"].content), certificate(stored["leaf"].content)
        below.verify_directly_issued_by(top)
        assert below.not_valid_after_utc <= top.not_valid_after_utc
