"""Secrets between sessions: who may import what, pinned or not, in one CAS and between two."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.client.identity import ClientIdentity
from sconectl.cas.sessions.access import Principal
from sconectl.cas.sessions.embedded import EmbeddedCas

from .conftest import serving

FILE = "/secret"


def document(name: str, secrets: list[dict[str, Any]], *, shown: str = "", **rest: Any) -> str:
    """Return a session; `shown` is the placeholder whose value its only service gets as a file."""
    session: dict[str, Any] = {"name": name, "version": "0.3.12", "secrets": secrets, **rest}
    session["access_policy"] = {"read": ["CREATOR"], "update": ["CREATOR"], "create_sessions": ["CREATOR"]}
    if shown:
        session["security"] = {"attestation": {"mode": "none"}}
        session["services"] = [{"name": "s", "image_name": "i", "command": "x", "pwd": "/"}]
        session["images"] = [{"name": "i", "injection_files": [{"path": FILE, "content": shown}]}]
    return json.dumps(session)


def seen(cas: EmbeddedCas, name: str, identity: ClientIdentity) -> bytes:
    """Return what the service of session `name` gets."""
    der = identity.certificate_der
    report = {"toolchain": "sim", "measurement": "00" * 32, "debug": False}
    report["report_data"] = hashlib.sha512(der).hexdigest()
    quote = cas.enclaves.quote(report)["quote"]
    config = cas.enclaves.attest(f"{name}/s", quote, der)["config"]
    return base64.b64decode(config["files"][0]["content"])


def refused(cas: EmbeddedCas, name: str, identity: ClientIdentity) -> str:
    """Return what only the log is told when the service of session `name` gets nothing."""
    with pytest.raises(CasRefusal) as caught:
        seen(cas, name, identity)
    assert caught.value.status == 403
    assert "does not export a secret" in caught.value.causes[-1]
    return " ".join(caught.value.details)


@pytest.fixture
def identity(identities: Callable[[str], ClientIdentity]) -> ClientIdentity:
    return identities("alice")


def exported(to: Any, **secret: Any) -> list[dict[str, Any]]:
    return [{"name": "s", "kind": "ascii", "value": "the value", "export": to, **secret}]


IMPORT = {"name": "mine", "import": {"session": "a", "secret": "s"}}


@pytest.mark.parametrize(
    ("export", "name", "granted"),
    [
        ({"session": "b"}, "b", True),
        ([{"session": "c"}, {"session": "b"}], "b", True),
        ("/session=b", "b", True),
        ({"session": "c"}, "b", False),
        ({"session": "b"}, "b/child", False),
        ({"namespace": "b"}, "b", True),
        ({"namespace": "b"}, "b/child", True),
        ({"namespace": "b"}, "bb", False),
        ({"session": "../b"}, "b", True),
        ({"session": "b", "session_hash": "00" * 32}, "b", False),
    ],
)
def test_who_may_import(
    cas: EmbeddedCas, alice: Principal, identity: ClientIdentity, export: Any, name: str, granted: bool
) -> None:
    cas.put(document("a", exported(export)), alice)
    if "/" in name:
        cas.put(document(name.split("/")[0], []), alice)
    cas.put(document(name, [IMPORT], shown="$$SCONE::mine$$"), alice)
    if granted:
        assert seen(cas, name, identity) == b"the value"
        return
    with pytest.raises(CasRefusal) as refused:
        seen(cas, name, identity)
    assert refused.value.status == 403
    assert "does not export" in refused.value.causes[-1]


def test_both_sides_can_pin(cas: EmbeddedCas, alice: Principal, identity: ClientIdentity) -> None:
    importing = document("b", [IMPORT], shown="$$SCONE::mine$$")
    hash_ = cas.put(importing, alice).hash
    pinned = cas.put(document("a", exported({"session": "b", "session_hash": hash_})), alice).hash
    assert seen(cas, "b", identity) == b"the value"
    wanted = {"name": "mine", "import": {"session": "a", "secret": "s", "session_hash": pinned}}
    cas.put(document("b", [wanted], shown="$$SCONE::mine$$", predecessor=hash_), alice)
    with pytest.raises(CasRefusal):
        seen(cas, "b", identity)  # b is another version now, and a exports to the old one only
    cas.put(document("a", exported({"session": "b"}), predecessor=pinned), alice)
    with pytest.raises(CasRefusal, match="with the expected hash"):
        seen(cas, "b", identity)  # and now a is another version than b expects


def test_the_stated_kind_is_checked(cas: EmbeddedCas, alice: Principal, identity: ClientIdentity) -> None:
    cas.put(document("a", exported({"session": "b"})), alice)
    cas.put(document("b", [IMPORT | {"kind": "binary"}], shown="$$SCONE::mine:hex$$"), alice)
    with pytest.raises(CasRefusal, match="is of kind ascii"):
        seen(cas, "b", identity)


def test_what_was_imported_can_be_handed_on(cas: EmbeddedCas, alice: Principal, identity: ClientIdentity) -> None:
    cas.put(document("a", exported({"session": "b"})), alice)
    cas.put(document("b", [IMPORT | {"export": {"session": "c"}}]), alice)
    further = {"name": "x", "import": {"session": "b", "secret": "mine"}}
    cas.put(document("c", [further], shown="$$SCONE::x$$"), alice)
    assert seen(cas, "c", identity) == b"the value"


def test_a_circle_of_imports_ends(cas: EmbeddedCas, alice: Principal, identity: ClientIdentity) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        entry = {"name": "s", "import": {"session": other, "secret": "s"}, "export": {"session": other}}
        cas.put(document(name, [entry], shown="$$SCONE::s$$"), alice)
    assert "circle" in refused(cas, "a", identity)


@pytest.mark.parametrize("key_exported", [True, False])
def test_a_certificate_brings_its_key_if_that_is_exported(
    cas: EmbeddedCas, alice: Principal, identity: ClientIdentity, key_exported: bool
) -> None:
    to_b: dict[str, Any] = {"export": {"session": "b"}}
    secrets: list[dict[str, Any]] = [
        {"name": "key", "kind": "private-key", **(to_b if key_exported else {})},
        {"name": "s", "kind": "x509", "private_key": "key", **to_b},
    ]
    cas.put(document("a", secrets), alice)
    cas.put(document("b", [IMPORT], shown="$$SCONE::mine:privatekey$$"), alice)
    if key_exported:
        assert seen(cas, "b", identity).startswith(b"-----BEGIN PRIVATE KEY-----")
        return
    with pytest.raises(CasRefusal):
        seen(cas, "b", identity)


def test_a_ca_of_another_session_issues(cas: EmbeddedCas, alice: Principal, identity: ClientIdentity) -> None:
    to_b: dict[str, Any] = {"export": {"session": "b"}}
    authority: list[dict[str, Any]] = [
        {"name": "k", "kind": "private-key", **to_b},
        {"name": "ca", "kind": "x509-ca", "private_key": "k", **to_b},
    ]
    cas.put(document("a", authority), alice)
    leaf: list[dict[str, Any]] = [
        {"name": "ca", "import": {"session": "a", "secret": "ca"}, "kind": "x509-ca"},
        {"name": "k", "kind": "private-key"},
        {"name": "leaf", "kind": "x509", "private_key": "k", "issuer": "ca"},
    ]
    cas.put(document("b", leaf, shown="$$SCONE::leaf:chain$$"), alice)
    assert seen(cas, "b", identity).count(b"BEGIN CERTIFICATE") == 1
    with pytest.raises(CasRefusal, match="does not export"):
        cas.put(document("c", leaf, shown="$$SCONE::leaf$$"), alice)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[tuple[EmbeddedCas, str]]:
    second = EmbeddedCas(tmp_path / "other-cas")
    with serving(second) as address:
        yield second, address


@pytest.mark.sockets
@pytest.mark.parametrize("key", ["cas_key", "cas_software_key"])
def test_between_two_cases(
    cas: EmbeddedCas, other: tuple[EmbeddedCas, str], alice: Principal, identity: ClientIdentity, key: str
) -> None:
    second, address = other
    own = {"cas_key": cas.keys.cas_key_hash, "cas_software_key": cas.keys.software_key_hash}[key]
    theirs = {"cas_key": second.keys.cas_key_hash, "cas_software_key": second.keys.software_key_hash}[key]
    wanted = {"session": "a", "secret": "s", "cas_url": address, key: theirs}
    cas.put(document("b", [{"name": "mine", "import": wanted}], shown="$$SCONE::mine$$"), alice)
    granted = {"cas_url": "first.example.net", key: own, "session": "b"}
    hash_ = second.put(document("a", exported(granted)), alice).hash
    assert seen(cas, "b", identity) == b"the value"
    for refused in ({**granted, key: theirs}, {**granted, "session": "c"}, {"session": "b"}):
        hash_ = second.put(document("a", exported(refused), predecessor=hash_), alice).hash
        with pytest.raises(CasRefusal, match="does not export"):
            seen(cas, "b", identity)


@pytest.mark.sockets
def test_another_key_than_the_expected_one_is_not_believed(
    cas: EmbeddedCas, other: tuple[EmbeddedCas, str], alice: Principal, identity: ClientIdentity
) -> None:
    second, address = other
    wanted = {"session": "a", "secret": "s", "cas_url": address, "cas_key": cas.keys.cas_key_hash}
    cas.put(document("b", [{"name": "mine", "import": wanted}], shown="$$SCONE::mine$$"), alice)
    second.put(document("a", exported({"session": "b"})), alice)
    assert "has the key" in refused(cas, "b", identity)


@pytest.mark.sockets
def test_a_cas_that_does_not_answer(cas: EmbeddedCas, alice: Principal, identity: ClientIdentity) -> None:
    wanted = {"session": "a", "secret": "s", "cas_url": "127.0.0.1:1", "cas_key": cas.keys.cas_key_hash}
    cas.put(document("b", [{"name": "mine", "import": wanted}], shown="$$SCONE::mine$$"), alice)
    assert "cannot be reached" in refused(cas, "b", identity)
