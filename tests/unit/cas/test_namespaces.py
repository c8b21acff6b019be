"""The root session, namespaces and what may stand in an upload."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.sessions.access import Principal
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.policy.signed_session import encrypt, message_to_sign

ROOT = {"name": "/", "version": "0.3.11"}


def document(name: str, **rest: Any) -> str:
    return json.dumps({"name": name, "version": "0.3.12", **rest})


def refused(status: int, text: str | None = None) -> Any:
    return pytest.raises(CasRefusal, match=text, check=lambda refusal: refusal.status == status)


def claimed(cas: EmbeddedCas, owner: Principal, **policy: str) -> str:
    root = cas.read("/", owner).hash
    return cas.put(json.dumps({**ROOT, "predecessor": root, "access_policy": policy}), owner).hash


def test_who_updates_the_root_first_owns_it(cas: EmbeddedCas, alice: Principal, bob: Principal) -> None:
    with refused(409, "Root|already exists"):
        cas.put(json.dumps(ROOT), alice)
    hash_ = claimed(cas, alice, read="CREATOR", update="CREATOR", create_sessions="CREATOR")
    with refused(403):
        cas.put(json.dumps({**ROOT, "predecessor": hash_}), bob)
    with refused(403, "create_sessions"):
        cas.put(document("bobs"), bob)
    cas.put(document("alices"), alice)
    assert {entry["name"] for entry in cas.list_sessions("/", alice)} == {"alices"}


def test_the_first_session_seals_an_unclaimed_root(cas: EmbeddedCas, alice: Principal) -> None:
    before = cas.read("/", alice).hash
    cas.put(document("first"), alice)
    sealed = cas.read("/", alice)
    assert sealed.hash != before
    for predecessor in (before, sealed.hash):
        with refused(403):
            cas.put(json.dumps({**ROOT, "predecessor": predecessor}), alice)
    cas.put(document("second"), alice)
    assert cas.read("/", alice).hash == sealed.hash
    listed = cas.list_sessions("/", alice)  # as for everybody who may create sessions there
    assert [entry["name"] for entry in listed] == ["first", "second"]


def test_the_root_is_the_same_after_a_restart(cas: EmbeddedCas, alice: Principal) -> None:
    cas.put(document("first"), alice)
    before = cas.read("/", alice)
    assert EmbeddedCas(cas.directory).read("/", alice) == before


def test_namespace_hash(cas: EmbeddedCas, alice: Principal) -> None:
    parent = cas.put(document("ns"), alice).hash
    with refused(409, "namespace_hash"):
        cas.put(document("ns/a", namespace_hash="ab" * 32), alice)
    cas.put(document("ns/a", namespace_hash=parent), alice)
    assert cas.list_sessions("ns", alice)[0]["name"] == "ns/a"


def test_hashes_of_salted_sessions_are_on_record(cas: EmbeddedCas, alice: Principal) -> None:
    salted = cas.put(document("salted", salt="00112233445566778899aabbccddeeff"), alice).hash
    later = cas.put(document("salted", predecessor=salted), alice).hash
    plain = cas.put(document("plain"), alice).hash
    with closing(sqlite3.connect(cas.directory / "cas.db")) as database:
        log = str(database.execute("SELECT * FROM audit").fetchall())
    assert salted in log
    assert later in log, "one salt makes the hashes of all later versions public"
    assert plain not in log


@pytest.mark.parametrize(
    ("rest", "what"),
    [
        ({"secrets": [{"name": "t", "kind": "aad-token", "tenant_id": "t", "client_id": "c",
                       "application_secret": "p"}]}, "aad-token"),
        ({"security": {"attestation": {"mode": "maa", "url": "https://x.y.attest.azure.net",
                                       "tolerate": ["maa-managed-tcb"]}}}, "maa"),
    ],
)  # fmt: skip
def test_what_needs_azure_is_refused(cas: EmbeddedCas, alice: Principal, rest: Any, what: str) -> None:
    with refused(400, "not available in the embedded CAS") as caught:
        cas.put(document("azure", **rest), alice)
    assert what in " ".join(caught.value.causes)


def test_all_faults_of_an_upload_are_named_without_values(cas: EmbeddedCas, alice: Principal) -> None:
    secrets = [{"name": "x", "kind": "binary", "value": "hidden-value"}, {"name": "y", "kind": "nonsense"}]
    with refused(400) as caught:
        cas.put(document("faulty", secrets=secrets), alice)
    assert len(caught.value.causes) == 3
    assert "hidden-value" not in str(caught.value)


def test_warnings_are_handed_back(cas: EmbeddedCas, alice: Principal) -> None:
    uploaded = cas.put(json.dumps({"name": "old", "version": "0.3.10", "salt": "00" * 16}), alice)
    assert uploaded.outcome == "created"
    assert any("0.3.12" in warning for warning in uploaded.warnings)


def test_aliases_cannot_blow_a_session_up(cas: EmbeddedCas, alice: Principal) -> None:
    text = "name: big\nversion: '0.3.12'\nsecrets:\n- {name: a, kind: ascii, value: &v '" + "x" * 100_000 + "'}\n"
    text += "".join(f"- {{name: s{number}, kind: ascii, value: *v}}\n" for number in range(12))
    with refused(413, "aliases"):
        cas.put(text, alice)


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def signed(key: Ed25519PrivateKey, name: str, policy: Any) -> str:
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    text = document(name, creator={"signer": pem}, access_policy=policy)
    signature = b64encode(key.sign(message_to_sign(text))).decode()
    return json.dumps({"session": text, "signatures": [{"signer": pem, "signature": signature}]})


def test_a_signed_session_says_who_reads_it(cas: EmbeddedCas, key: Ed25519PrivateKey) -> None:
    for policy in ({"update": ["CREATOR"]}, {"read": ["CREATOR"]}):
        with refused(400):
            cas.put(signed(key, "signed", policy), None)
    cas.put(signed(key, "signed", {"read": ["NONE"], "update": ["CREATOR"]}), None)


def test_signatures_count_alone(cas: EmbeddedCas, key: Ed25519PrivateKey, alice: Principal) -> None:
    """A TLS certificate beside a signature grants nothing: an upload carries one or the other."""
    cas.put(document("mine"), alice)
    with refused(403):
        cas.put(signed(key, "mine/child", {"read": ["NONE"]}), alice)


def test_an_encrypted_session_is_opened_by_its_cas_only(cas: EmbeddedCas, tmp_path: Path, alice: Principal) -> None:
    other = EmbeddedCas(tmp_path / "other")
    sealed = encrypt(document("sealed", access_policy={"read": ["ANY"]}).encode(), cas.keys.encryption_key_hex)
    with refused(400):
        other.put(sealed.to_json(), alice)
    cas.put(sealed.to_json(), alice)
    assert cas.read("sealed", alice).hash
    twice = encrypt(sealed.to_json().encode(), cas.keys.encryption_key_hex)
    with refused(400, "twice"):
        cas.put(twice.to_json(), alice)


@pytest.mark.sockets
def test_an_unreachable_reference_grants_nothing(cas: EmbeddedCas, alice: Principal, bob: Principal) -> None:
    wanted = {"session": "a", "secret": "s", "cas_url": "127.0.0.1:1", "cas_key": cas.keys.cas_key_hash}
    policy = {"read": ["CREATOR", "$$SCONE::who$$"], "update": ["CREATOR"]}
    cas.put(document("refers", access_policy=policy, secrets=[{"name": "who", "import": wanted}]), alice)
    assert cas.read("refers", alice).hash
    with refused(403, "does not grant read") as caught:
        cas.read("refers", bob)
    assert "cannot be reached" not in str(caught.value)
    assert "cannot be reached" in " ".join(caught.value.details)
