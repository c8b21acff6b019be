"""The rows and values of a session's secrets: made, kept over an update, and found."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys import certificates
from sconectl.cas.secrets import generate, pgp, placeholder_formats
from sconectl.cas.secrets.session_secrets import Stored, Value, secrets_for, value_in, value_object
from sconectl.policy.forms.placeholders import FORMATS
from sconectl.policy.reading import Session

from .secret_sessions import NOW, Imports, nothing_imported, rows, session, text, value

KEY = "name: k, kind: private-key"
EVERY_KIND = (
    "name: password, kind: ascii, size: 30",
    "name: seed, kind: binary, size: 32",
    KEY,
    "name: public, kind: public-key, private_key: k",
    "name: ca, kind: x509-ca, private_key: k",
    "name: crt, kind: x509, private_key: k, issuer: ca",
    "name: mail, kind: pgp-key",
    "name: signer, kind: private-key, key_type: P-384",
    "name: token, kind: jwt, signer: signer, alg: ES384, validity: {for: 1h}",
    "name: fragment, kind: config-fragment, value: {a: [x, {b: c}]}",
    "name: foreign, import: {session: other, secret: s}",
)


def update(old: Session, new: Session) -> tuple[dict[str, Stored], dict[str, Stored]]:
    before = rows(old)
    return before, secrets_for(new, before, old, nothing_imported, NOW)


def test_there_is_a_row_for_each_own_secret_that_has_a_value_of_its_own() -> None:
    current = session(*EVERY_KIND)
    stored = rows(current)
    assert set(stored) == {secret.name for secret in current.secrets} - {"token", "foreign"}
    assert len(stored["password"].content) == 30
    assert len(stored["seed"].content) == 32
    assert json.loads(stored["fragment"].content) == {"a": ["x", {"b": "c"}]}
    assert generate.load_private_key(stored["k"].content)
    assert stored["public"].content == generate.public_key_pem(generate.load_private_key(stored["k"].content))
    assert pgp.dearmored(stored["mail"].content.decode())
    assert all(json.loads(row.parameters) is not None for row in stored.values() if row.parameters != "explicit")


def test_rows_and_values_never_show_their_content() -> None:
    current = session(*EVERY_KIND)
    stored = rows(current)
    for name, row in stored.items():
        shown = repr(row) + repr(value(current, stored, name))
        if row.kind not in {"x509", "x509-ca"}:
            assert repr(row.content)[2:-1] not in shown
        assert "PRIVATE" not in shown


def test_explicit_values_of_every_kind() -> None:
    key = certificates.new_key()
    pem, public = certificates.key_pem(key), generate.public_key_pem(key).decode()
    certificate = certificates.certificate_pem(certificates.issue_root(key, "given"))
    current = session(
        'name: a, kind: ascii, value: "two\\nlines and $$SCONE::b$$"',
        "name: empty, kind: ascii, value: ''",
        "name: b, kind: binary, value: DEADBEEF00",
        f"name: k, kind: private-key, value: {json.dumps(pem)}",
        f"name: p, kind: public-key, value: {json.dumps(public)}",
        f"name: c, kind: x509, value: {json.dumps(certificate)}, private_key: k",
    )
    stored = rows(current)
    assert {row.parameters for row in stored.values()} == {"explicit"}
    assert value(current, stored, "a").content == b"two\nlines and $$SCONE::b$$"
    assert value(current, stored, "empty").content == b""
    assert value(current, stored, "b").content == bytes.fromhex("deadbeef00")
    assert value(current, stored, "k").content.decode() == pem
    assert value(current, stored, "p").content.decode() == public
    assert value(current, stored, "c") == Value("x509", certificate.encode(), (), pem.encode())
    assert stored["c"].expires == int(certificates.FAR_FUTURE.timestamp())
    assert stored["c"].renew is None


def test_an_explicit_certificate_beside_the_key_of_another_is_refused() -> None:
    certificate = certificates.certificate_pem(certificates.issue_root(certificates.new_key(), "given"))
    with pytest.raises(CasRefusal, match="does not belong") as caught:
        rows(session(KEY, f"name: c, kind: x509, value: {json.dumps(certificate)}, private_key: k"))
    assert caught.value.status == 400


def pki() -> tuple[str, str, str]:
    """Return three explicit certificates, each issued by the next."""
    holders = [certificates.Holder(key := certificates.new_key(), certificates.issue_root(key, "root"))]
    holders.append(
        certificates.Holder(key := certificates.new_key(), certificates.issue_intermediate(key, "middle", holders[0]))
    )
    leaf = certificates.issue_server(certificates.new_key(), "leaf", ["leaf"], holders[1])
    root, middle = (certificates.certificate_pem(holder.certificate) for holder in holders)
    return certificates.certificate_pem(leaf), middle, root


def test_the_chain_of_an_explicit_certificate_comes_from_its_issuer() -> None:
    leaf, middle, root = pki()
    current = session(
        f"name: leaf, kind: x509, value: {json.dumps(leaf)}, issuer: middle",
        f"name: middle, kind: x509-ca, value: {json.dumps(middle)}, issuer: root",
        f"name: root, kind: x509-ca, value: {json.dumps(root)}",
    )
    stored = rows(current)
    assert text(current, stored, "leaf", "chain") == middle + root
    assert text(current, stored, "middle", "chain") == root
    assert text(current, stored, "root", "chain") == ""
    assert value(current, stored, "leaf").private_key is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_chain_of_several_explicit_certificates_is_found_among_them(order: tuple[int, ...]) -> None:
    leaf, middle, root = pki()
    *_, namesake = pki()  # a root with the same name and another key
    behind = [middle, root, namesake]
    several = leaf + "".join(behind[number] for number in order)
    current = session(f"name: leaf, kind: x509-ca, value: {json.dumps(several)}")
    stored = rows(current)
    assert text(current, stored, "leaf", "crt:pem") == several
    assert text(current, stored, "leaf", "chain") == middle + root


def test_a_certificate_that_is_called_like_its_issuer_still_has_a_chain() -> None:
    root_key = certificates.new_key()
    root = certificates.Holder(root_key, certificates.issue_root(root_key, "same"))
    leaf = certificates.certificate_pem(certificates.issue_server(certificates.new_key(), "same", ["same"], root))
    root_pem = certificates.certificate_pem(root.certificate)
    current = session(
        f"name: leaf, kind: x509, value: {json.dumps(leaf)}, issuer: root",
        f"name: root, kind: x509-ca, value: {json.dumps(root_pem)}",
    )
    assert text(current, rows(current), "leaf", "chain") == root_pem


def test_explicit_and_generated_certificates_form_one_chain() -> None:
    key = certificates.new_key()
    root = certificates.certificate_pem(certificates.issue_root(key, "root"))
    current = session(
        f"name: root-key, kind: private-key, value: {json.dumps(certificates.key_pem(key))}",
        f"name: root, kind: x509-ca, value: {json.dumps(root)}, private_key: root-key",
        KEY,
        "name: middle, kind: x509-ca, private_key: k, issuer: root",
        "name: leaf, kind: x509, private_key: k, issuer: middle",
    )
    stored = rows(current)
    middle = stored["middle"].content.decode()
    found = value(current, stored, "leaf")
    assert found.chain == (middle, root)
    assert found.private_key == stored["k"].content
    issued = x509.load_pem_x509_certificates((found.content.decode() + middle + root).encode())
    for certificate, issuer in itertools.pairwise(issued):
        certificate.verify_directly_issued_by(issuer)


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ("kind: ascii", "kind: ascii", True),
        ("kind: ascii, size: 20", "kind: ascii", True),
        ("kind: ascii", "kind: ascii, size: 21", False),
        ("kind: ascii", "kind: binary", False),
        ("kind: binary, size: 8", "kind: binary, size: 8", True),
        ("kind: binary, size: 8", "kind: binary, size: 9", False),
        ("kind: pgp-key", "kind: pgp-key", True),
        ("kind: private-key", "kind: private-key", False),
        ("kind: private-key, migrate: true", "kind: private-key", False),
        ("kind: private-key", "kind: private-key, migrate: true", False),
        ("kind: private-key, migrate: true", "kind: private-key, migrate: true", True),
        ("kind: private-key, migrate: true", "kind: private-key, migrate: true, key_type: P-384", False),
        ("kind: ascii, value: x", "kind: ascii", False),
        ("kind: ascii", "kind: ascii, value: x", False),
        ("kind: ascii", "kind: ascii, export_public: true", True),
    ],
)
def test_what_an_update_keeps(old: str, new: str, kept: bool) -> None:
    before, after = update(session(f"name: s, {old}"), session(f"name: s, {new}"))
    assert (after["s"].content == before["s"].content) is kept
    assert after["s"].public is ("export_public" in new)


@pytest.mark.parametrize("migrate", [True, False])
def test_certificates_are_always_issued_anew_and_public_keys_follow_their_key(migrate: bool) -> None:
    current = session(
        f"{KEY}, migrate: {str(migrate).lower()}",
        "name: p, kind: public-key, private_key: k",
        "name: ca, kind: x509-ca, private_key: k",
        "name: c, kind: x509, private_key: k, issuer: ca",
    )
    before, after = update(current, current)
    assert (after["p"].content == before["p"].content) is migrate
    for name in ("ca", "c"):
        assert after[name].content != before[name].content
        certificate = x509.load_pem_x509_certificate(after[name].content)
        assert certificate.public_key() == generate.load_private_key(after["k"].content).public_key()


def test_a_secret_of_another_name_or_one_that_was_imported_before_is_fresh() -> None:
    old = session("name: a, kind: ascii", "name: b, import: {session: other, secret: b}")
    before, after = update(old, session("name: renamed, kind: ascii", "name: b, kind: ascii"))
    assert set(after) == {"renamed", "b"}
    assert before["a"].content not in {row.content for row in after.values()}


def test_imports_are_looked_up_and_nowhere_else() -> None:
    current = session("name: a, import: {session: other, secret: x}", "name: b, kind: ascii, value: own")
    found = Imports(a=Value("binary", b"foreign"), b=Value("ascii", b"wrong"))
    assert value_in(current, rows(current), "a", found, NOW) == Value("binary", b"foreign")
    assert value_in(current, rows(current), "b", found, NOW) == Value("ascii", b"own")


def test_an_imported_private_key_makes_certificates_and_public_keys() -> None:
    key = certificates.new_key()
    imports = Imports(k=Value("private-key", certificates.key_pem(key).encode()))
    current = session(
        "name: k, import: {session: other, secret: k}",
        "name: p, kind: public-key, private_key: k",
        "name: c, kind: x509, private_key: k",
    )
    stored = secrets_for(current, {}, None, imports, NOW)
    assert stored["p"].content == generate.public_key_pem(key)
    assert value_in(current, stored, "c", imports, NOW).private_key == imports.values["k"].content
    imports.values["k"] = Value("private-key", certificates.key_pem(certificates.new_key()).encode())
    with pytest.raises(CasRefusal, match="does not belong to the imported key"):
        value_in(current, stored, "c", imports, NOW)


@pytest.mark.parametrize(
    ("name", "status"), [("nothing", 403), ("lost", 500), ("vault", 501)], ids=["undefined", "lost", "azure"]
)
def test_what_has_no_value_is_refused(name: str, status: int) -> None:
    vault = "name: vault, import_akv: {vault: v.vault.azure.net, token: $$SCONE::t$$}"
    token = "name: t, kind: aad-token, tenant_id: t, client_id: c, application_secret: p"
    current = session("name: lost, kind: ascii", vault, token)
    with pytest.raises(CasRefusal) as caught:
        value_in(current, {}, name, nothing_imported, NOW)
    assert caught.value.status == status
    with pytest.raises(CasRefusal, match="not available in the embedded CAS") as caught:
        rows(current)
    assert caught.value.status == 501


def test_certificates_in_a_circle_are_refused_even_without_the_rules_of_the_language() -> None:
    current = session(
        KEY, "name: a, kind: x509-ca, private_key: k", "name: b, kind: x509-ca, private_key: k, issuer: a"
    )
    circle = [secret.model_copy(update={"issuer": "b"}) if secret.name == "a" else secret for secret in current.secrets]
    with pytest.raises(CasRefusal, match="made from itself"):
        rows(current.model_copy(update={"secrets": tuple(circle)}))


KINDS = st.sampled_from(sorted(FORMATS))


@given(KINDS, st.binary(), st.lists(st.text()), st.none() | st.binary())
def test_a_value_survives_the_way_to_another_cas(
    kind: str, content: bytes, chain: list[str], private_key: bytes | None
) -> None:
    original = Value(kind, content, tuple(chain), private_key)
    assert Value.from_dict(json.loads(json.dumps(original.to_dict()))) == original


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "password"},
        {"kind": ["ascii"]},
        {"content": 5},
        {"content": "no base64"},
        {"chain": "x"},
        {"chain": [1]},
        {"private_key": []},
        {"private_key": "%"},
        {"content": None},
    ],
)
def test_what_is_no_value_of_another_cas_is_refused(change: dict[str, object]) -> None:
    good = Value("ascii", b"x").to_dict()
    assert Value.from_dict(good)
    with pytest.raises(ValueError):
        Value.from_dict({**good, **change})


@pytest.mark.parametrize("document", [{}, [], None, "text"])
def test_what_is_no_value_at_all_is_refused(document: object) -> None:
    with pytest.raises(ValueError):
        Value.from_dict(document)


def test_public_values_as_the_api_shows_them() -> None:
    assert value_object("ascii", b"42", None, None) == {"kind": "string", "value": "42", "expires": None, "renew": None}
    assert value_object("binary", b"\xff\x00", None, None)["value"] == "ff00"
    assert value_object("config-fragment", b'{"a": [1]}', None, None)["value"] == {"a": [1]}
    current = session(KEY, "name: c, kind: x509, private_key: k, valid_for: 3d, export_public: true")
    row = rows(current)["c"]
    shown = value_object(row.kind, row.content, row.expires, row.renew)
    assert row.public
    assert shown == {"kind": "x509", "value": row.content.decode(), "expires": row.expires, "renew": row.renew}
    assert shown["expires"] - shown["renew"] == 86400


def test_values_do_not_change_by_being_read() -> None:
    current = session(*EVERY_KIND)
    stored = rows(current)
    kept = {name: replace(row) for name, row in stored.items()}
    for name in stored:
        assert value(current, stored, name) == value(current, stored, name)
    assert stored == kept
    assert placeholder_formats.write(value(current, stored, "crt"), "chain") == stored["ca"].content
