"""A session that is uploaded again: left as it is, and nobody learns by it what a session says."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sconectl.cas import daemon
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.client import connection
from sconectl.cas.client.http_cas import HttpCas
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.local import LocalCas
from sconectl.cas.sessions.access import Principal
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.policy.signed_session import encrypt, message_to_sign, signer_of

from .conftest import Served

DRAWN = [
    {"name": "password", "kind": "ascii"},
    {"name": "key", "kind": "private-key"},
    {"name": "ca", "kind": "x509-ca", "private_key": "key", "common_name": "ca", "export_public": True},
]


def document(name: str = "acme", **rest: Any) -> str:
    return json.dumps({"name": name, "version": "0.3.12", **rest})


def state(cas: EmbeddedCas, name: str = "acme") -> Any:
    """Return everything that an upload could change."""
    with cas._store.reading() as transaction:
        log = [json.loads(line)["event"] for line in transaction.audit_lines()]
        return transaction.versions(name), transaction.stored(name), log.count("session_created"), len(log)


def refused(cas: EmbeddedCas, text: str, principal: Principal | None) -> tuple[int, tuple[str, ...]]:
    with pytest.raises(CasRefusal) as caught:
        cas.put(text, principal)
    return caught.value.status, (*caught.value.causes, *caught.value.details)


@pytest.mark.parametrize("secrets", [DRAWN[:1], DRAWN], ids=["made at once", "made outside of the transaction"])
def test_nothing_is_written_and_nothing_drawn(cas: EmbeddedCas, alice: Principal, secrets: Any) -> None:
    first = cas.put(document(secrets=secrets[:1], salt="ab" * 16), alice)
    second = cas.put(document(secrets=secrets, salt="ac" * 16, predecessor=first.hash), alice)
    before = state(cas)
    assert [number for number, _ in before[0]] == [1, 2]
    for predecessor in ({}, {"predecessor": first.hash}, {"predecessor": second.hash}):
        again = cas.put(document(secrets=secrets, salt="ac" * 16, **predecessor), alice)
        assert asdict(again) == {"hash": second.hash, "outcome": "unchanged", "warnings": ()}
    assert state(cas) == before


def test_another_content_or_another_history_is_refused_as_ever(cas: EmbeddedCas, alice: Principal) -> None:
    first = cas.put(document(salt="ab" * 16), alice).hash
    second = cas.put(document(predecessor=first), alice).hash
    third = cas.put(document(salt="ab" * 16, predecessor=second), alice).hash
    assert refused(cas, document(), alice)[0] == 409
    assert refused(cas, document(salt="ab" * 16, predecessor=first), alice)[0] == 409
    assert refused(cas, document(salt="ab" * 16, predecessor="0" * 64), alice)[0] == 404
    assert cas.put(document(salt="ab" * 16), alice).hash == third


def test_readers_are_told_and_change_nothing(cas: EmbeddedCas, alice: Principal, bob: Principal) -> None:
    policy = {"read": ["CREATOR", bob.key_hash], "update": ["CREATOR"]}
    hash_ = cas.put(document(access_policy=policy, secrets=DRAWN), alice).hash
    before = state(cas)
    assert cas.put(document(access_policy=policy, secrets=DRAWN), bob).outcome == "unchanged"
    assert refused(cas, document(access_policy=policy), bob)[0] == 403
    assert refused(cas, document(access_policy=policy, predecessor=hash_), bob)[0] == 403
    assert state(cas) == before


def test_a_stranger_cannot_try_what_a_session_says(cas: EmbeddedCas, alice: Principal, bob: Principal) -> None:
    right, wrong = (document(secrets=[{"name": "pin", "kind": "ascii", "value": pin}]) for pin in ("1234", "1235"))
    cas.put(right, alice)
    assert refused(cas, right, bob) == refused(cas, wrong, bob)
    assert refused(cas, right, bob)[0] == 403
    assert refused(cas, right, None)[0] == 401


def test_who_may_only_update_cannot_try_either(cas: EmbeddedCas, alice: Principal, bob: Principal) -> None:
    policy = {"read": ["NONE"], "update": ["CREATOR", bob.key_hash]}

    def text(pin: str) -> str:
        return document(access_policy=policy, secrets=[{"name": "pin", "kind": "ascii", "value": pin}])

    hash_ = cas.put(text("1234"), alice).hash
    assert refused(cas, text("1234"), bob) == refused(cas, text("1235"), bob)
    assert refused(cas, text("1234"), bob)[0] == 409
    owners = cas.put(text("1234"), alice)
    assert (owners.hash, owners.outcome) == (hash_, "unchanged")


def test_naming_another_creator_is_a_change(cas: EmbeddedCas, alice: Principal, bob: Principal) -> None:
    both = ["CREATOR", alice.key_hash, bob.key_hash]
    policy = {"read": both, "update": both}
    first = cas.put(document(access_policy=policy), alice).hash
    assert cas.put(document(access_policy=policy), bob).outcome == "unchanged"
    assert cas.put(document(access_policy=policy, creator=alice.certificate_pem), bob).outcome == "unchanged"
    assert refused(cas, document(access_policy=policy, creator=bob.certificate_pem), bob)[0] == 409
    taken = cas.put(document(access_policy=policy, creator=bob.certificate_pem, predecessor=first), bob)
    assert taken.outcome == "updated"


def signed(key: Ed25519PrivateKey, text: str) -> str:
    signer = signer_of(key.public_key()).signer
    whole = json.dumps({**json.loads(text), "creator": {"signer": signer}})
    signature = b64encode(key.sign(message_to_sign(whole))).decode()
    return json.dumps({"session": whole, "signatures": [{"signer": signer, "signature": signature}]})


def test_a_signer_stays_the_creator(cas: EmbeddedCas, bob: Principal) -> None:
    key = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
    policy = {"read": [bob.key_hash], "update": ["CREATOR", bob.key_hash]}
    first = cas.put(signed(key, document(access_policy=policy)), None).hash
    causes = refused(cas, document(access_policy=policy | {"read": ["CREATOR"]}, predecessor=first), bob)
    assert causes[0] == 400 and "cannot read" in causes[1][-1]
    second = cas.put(document(access_policy=policy, salt="ab" * 16, predecessor=first), bob).hash
    assert cas.put(signed(key, document(access_policy=policy, predecessor=second)), None).outcome == "updated"


@pytest.mark.parametrize("hidden", [False, True], ids=["signed", "encrypted"])
def test_signed_documents(cas: EmbeddedCas, alice: Principal, hidden: bool) -> None:
    key, other = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))

    def upload(signer: Ed25519PrivateKey, **rest: Any) -> str:
        text = signed(signer, document(access_policy={"read": ["NONE"], "update": ["CREATOR"]}, **rest))
        return encrypt(text.encode(), cas.keys.encryption_key_hex).to_json() if hidden else text

    first = cas.put(upload(key), None)
    second = cas.put(upload(key, secrets=DRAWN, predecessor=first.hash), None)
    assert (first.outcome, second.outcome) == ("created", "updated")
    before = state(cas)
    for text in (upload(key, secrets=DRAWN, predecessor=first.hash), upload(key, secrets=DRAWN)):
        again = cas.put(text, alice)
        assert (again.hash, again.outcome) == (second.hash, "unchanged")
    assert refused(cas, upload(other, secrets=DRAWN), None)[0] == 403
    assert refused(cas, upload(key), None)[0] == 409
    assert state(cas) == before


@pytest.mark.sockets
def test_a_local_store_hears_what_a_running_server_says(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    local = LocalCas(served.cas.directory, CasConfig(served.chain.parent / "me"), notify=told.append)
    old = json.dumps({"name": "old", "version": "0.3.10", "salt": "00" * 16})
    assert local.upload(old).outcome == "created"
    (here,) = told
    monkeypatch.setattr(daemon, "status", lambda _directory: SimpleNamespace(address=served.address))
    assert local.upload(old).outcome == "unchanged"
    there = told[1]
    assert there == here.replace("CAS local", f"CAS {served.address}") and "0.3.12" in there
    hash_ = local.put(document("old", salt="01" * 16, predecessor=local.upload(old).hash))
    assert local.read("old", hash_) is not None


@pytest.mark.sockets
def test_a_cas_that_does_not_tell_what_it_did(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    store = HttpCas(served.address, CasConfig(served.chain.parent / "me"))
    answer = connection.Answer(201, json.dumps({"hash": "ab" * 32}).encode())
    monkeypatch.setattr(connection.Connection, "post", lambda *_: answer)
    assert store.upload(document()).outcome == "stored"
