"""Every operation for every kind of principal and client, with the expected answers in access_matrix.txt."""

from __future__ import annotations

import itertools
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.sessions.access import Principal
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.policy.signed_session import message_to_sign

COLUMNS = ("creator", "other", "public", "A", "A+B")
OPERATIONS = ("read", "update", "create_sessions", "list_sessions")
_numbers = itertools.count()


def rows() -> list[tuple[str, str, tuple[str, ...]]]:
    text = Path(__file__).with_name("access_matrix.txt").read_text(encoding="utf-8")
    found = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return [(policy, operation, tuple(expected)) for policy, operation, *expected in found]


def cases() -> list[Any]:
    return [
        pytest.param(policy, operation, client, int(status), id=f"{policy}-{operation}-{client}")
        for policy, operation, expected in rows()
        for client, status in zip(COLUMNS, expected, strict=True)
        if status != "-"
    ]


@dataclass(frozen=True)
class World:
    cas: EmbeddedCas
    creator: Principal
    other: Principal
    keys: dict[str, Ed25519PrivateKey]

    def signer(self, name: str) -> str:
        return self.keys[name].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def principal(self, client: str) -> Principal | None:
        return {"creator": self.creator, "other": self.other}.get(client)

    def granted(self, policy: str) -> tuple[Any, list[dict[str, Any]]]:
        """Return what the policy says for an operation, and the secrets that it refers to."""
        a, b = {"signer": self.signer("A")}, {"signer": self.signer("B")}
        key_hash, certificate = self.other.key_hash, self.other.certificate_pem
        reference = ["$$SCONE::who$$"]
        entries: dict[str, Any] = {
            "certificate(other)": [certificate],
            "key-hash(other)": [key_hash],
            "reference-key-hash(other)": (reference, {"kind": "ascii", "value": key_hash}),
            "reference-certificate(other)": (reference, {"kind": "x509", "value": certificate}),
            "reference-CREATOR": (reference, {"kind": "ascii", "value": "CREATOR"}),
            "reference-unresolved": (reference, {"import": {"session": "not/there", "secret": "who"}}),
            "reference-fragment": (
                "$$SCONE::who$$", {"kind": "config-fragment", "value": ["CREATOR", key_hash]},
            ),
            "signer(A)": [a],
            "require-all(A,B)": {"require-all": [a, b]},
            "require-at-least-1(A,B)": {"require-at-least-1": [a, b]},
            "nested-rules(A,B)": {"require-all": [a, {"require-at-least-1": [{"require-all": [b]}]}]},
            "list(CREATOR,key-hash,A)": ["CREATOR", key_hash, a],
        }  # fmt: skip
        found = entries.get(policy, [policy])
        return (found[0], [{"name": "who"} | found[1]]) if isinstance(found, tuple) else (found, [])

    def document(self, name: str, policy: str, operation: str) -> dict[str, Any]:
        """Return a session in which `operation` is granted as `policy` says, and everything else to nobody."""
        document: dict[str, Any] = {"name": name, "version": "0.3.12", "secrets": []}
        if policy == "whole-policy-reference":
            rule = {key: ["CREATOR", self.other.key_hash] for key in OPERATIONS}
            document["access_policy"] = "$$SCONE::all$$"
            document["secrets"] = [{"name": "all", "kind": "config-fragment", "value": rule}]
            return document
        granted, secrets = self.granted(policy)
        nobody = {key: ["NONE"] for key in OPERATIONS}
        known = operation if operation in OPERATIONS else "read"
        return document | {"access_policy": nobody | {known: granted}, "secrets": secrets}

    def signed(self, document: dict[str, Any], signers: list[str]) -> str:
        text = json.dumps(document | {"creator": {"signer": self.signer(signers[0])}})
        message = message_to_sign(text)
        signatures = [
            {"signer": self.signer(name), "signature": b64encode(self.keys[name].sign(message)).decode()}
            for name in signers
        ]
        return json.dumps({"session": text, "signatures": signatures})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("matrix")

    def principal(name: str) -> Principal:
        return Principal.of(CasConfig(folder / name).identity().certificate_pem.encode())

    keys = {name: Ed25519PrivateKey.generate() for name in ("A", "B")}
    return World(EmbeddedCas(folder / "cas"), principal("creator"), principal("other"), keys)


def status_of(operation: Callable[[], Any], success: int) -> int:
    try:
        operation()
    except CasRefusal as refusal:
        return refusal.status
    return success


@pytest.mark.parametrize(("policy", "operation", "client", "expected"), cases())
def test_matrix(world: World, policy: str, operation: str, client: str, expected: int) -> None:
    name = f"s{next(_numbers)}"
    document = world.document(name, policy, operation)
    if operation == "salted-hash":
        document["salt"] = "00112233445566778899aabbccddeeff"
    document["secrets"] += [
        {"name": "generated", "kind": "ascii"},
        {"name": "public", "kind": "ascii", "export_public": True},
    ]
    try:
        hash_ = world.cas.put(json.dumps(document), world.creator).hash
    except CasRefusal as refusal:
        assert refusal.status == expected, refusal
        return
    principal = world.principal(client)
    signers = client.split("+") if client not in ("creator", "other", "public") else []

    def upload(changed: dict[str, Any]) -> Any:
        text = world.signed(changed, signers) if signers else json.dumps(changed)
        return world.cas.put(text, principal)

    def child() -> Any:
        return upload({"name": f"{name}/child", "version": "0.3.12", "access_policy": {"read": ["NONE"]}})

    def update() -> Any:
        return upload(document | {"predecessor": hash_, "access_policy": {"read": ["NONE"], "update": ["NONE"]}})

    steps: dict[str, tuple[Callable[[], Any], int]] = {
        "read": (lambda: world.cas.read(name, principal), 200),
        "old-version": (lambda: world.cas.read(name, principal, hash_), 200),
        "list_sessions": (lambda: world.cas.list_sessions(name, principal), 200),
        "update": (update, 201),
        "create_sessions": (child, 201),
        "generated-value": (lambda: world.cas.public_value(name, "generated"), 200),
        "public-value": (lambda: world.cas.public_value(name, "public"), 200),
        "hash": (lambda: world.cas.hash_of(name, principal), 200),
        "salted-hash": (lambda: world.cas.hash_of(name, principal), 200),
    }
    step, success = steps[operation]
    assert status_of(step, success) == expected


def test_the_table_is_complete() -> None:
    found = {(policy, operation) for policy, operation, _ in rows()}
    kinds = {policy for policy, operation in found if operation == "update"}
    assert {operation for _, operation in found} >= set(OPERATIONS)
    both = {"nested-rules(A,B)", "list(CREATOR,key-hash,A)"}  # rules and signers in read are covered by their own rows
    missing = {(kind, operation) for kind in kinds - both for operation in OPERATIONS} - found
    assert not missing
