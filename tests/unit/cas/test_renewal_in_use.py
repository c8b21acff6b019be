"""Certificates are renewed before they expire wherever they are used: at attestation, in public, by the hourly task."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sconectl.cas.client.identity import ClientIdentity
from sconectl.cas.sessions.access import Principal
from sconectl.cas.sessions.embedded import EmbeddedCas

SECRETS: list[dict[str, Any]] = [
    {"name": "key", "kind": "private-key", "export": {"session": "importing"}},
    {"name": "leaf", "kind": "x509", "private_key": "key", "valid_for": "1 h", "export_public": True,
     "export": {"session": "importing"}},
]  # fmt: skip


@dataclass
class Clock:
    now: datetime = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cas(tmp_path: Path, clock: Clock, alice: Principal) -> EmbeddedCas:
    found = EmbeddedCas(tmp_path / "clocked", clock=clock)
    found.put(document("own", SECRETS), alice)
    imported = [{"name": "leaf", "import": {"session": "own", "secret": "leaf"}}]
    found.put(document("importing", imported), alice)
    return found


def document(name: str, secrets: list[dict[str, Any]]) -> str:
    files = [
        {"path": "/leaf", "content": "$$SCONE::leaf:crt$$"},
        {"path": "/key", "content": "$$SCONE::leaf:privatekey$$"},
    ]
    return json.dumps(
        {
            "name": name,
            "version": "0.3.12",
            "security": {"attestation": {"mode": "none"}},
            "services": [{"name": "s", "image_name": "i", "command": "x", "pwd": "/"}],
            "images": [{"name": "i", "injection_files": files}],
            "secrets": secrets,
        }
    )


def attested(cas: EmbeddedCas, name: str, identity: ClientIdentity) -> tuple[x509.Certificate, bytes]:
    leaf, key = (base64.b64decode(file["content"]) for file in answer(cas, name, identity)["config"]["files"])
    return x509.load_pem_x509_certificate(leaf), key


def answer(cas: EmbeddedCas, name: str, identity: ClientIdentity) -> dict[str, Any]:
    der = identity.certificate_der
    report = {"toolchain": "sim", "measurement": "00" * 32, "debug": False}
    report["report_data"] = hashlib.sha512(der).hexdigest()
    return cas.enclaves.attest(f"{name}/s", cas.enclaves.quote(report)["quote"], der)


@pytest.mark.parametrize("name", ["own", "importing"])
def test_at_attestation(cas: EmbeddedCas, clock: Clock, identities: Callable[[str], ClientIdentity], name: str) -> None:
    identity = identities("program")
    first, key = attested(cas, name, identity)
    assert attested(cas, name, identity) == (first, key)
    for _ in range(3):
        clock.now += timedelta(minutes=45)
        later, same_key = attested(cas, name, identity)
        assert later.not_valid_after_utc == clock.now + timedelta(hours=1)
        assert later.serial_number != first.serial_number
        assert same_key == key, "a program that still runs goes on with its key"


def test_in_public(cas: EmbeddedCas, clock: Clock) -> None:
    first = cas.public_value("own", "leaf")
    assert cas.public_value("own", "leaf") == first
    assert first["renew"] < first["expires"] == int(clock.now.timestamp()) + 3600
    clock.now += timedelta(minutes=45)
    second = cas.public_value("own", "leaf")
    assert second["value"] != first["value"]
    assert cas.public_values("own")["leaf"] == second


def test_by_the_task(cas: EmbeddedCas, clock: Clock) -> None:
    assert cas.renew() == 0
    clock.now += timedelta(hours=2)
    assert cas.renew() == 1
    assert cas.renew() == 0


def test_a_clock_that_is_set_back_by_hours_changes_nothing(
    cas: EmbeddedCas, clock: Clock, identities: Callable[[str], ClientIdentity]
) -> None:
    first = attested(cas, "own", identities("program"))
    clock.now -= timedelta(hours=23)
    assert attested(cas, "own", identities("program")) == first
    assert cas.renew() == 0


@pytest.mark.parametrize("valid_for", [{"valid_for": "1 h"}, {"valid_for": "3 y"}, {}])
@pytest.mark.parametrize("used", ["attested", "importing", "public", "task"])
def test_what_was_issued_in_the_future_is_issued_anew(
    cas: EmbeddedCas,
    clock: Clock,
    alice: Principal,
    identities: Callable[[str], ClientIdentity],
    valid_for: dict[str, str],
    used: str,
) -> None:
    authority: list[dict[str, Any]] = [
        {"name": "ca-key", "kind": "private-key"},
        {"name": "ca", "kind": "x509-ca", "private_key": "ca-key", "export_public": True, **valid_for},
    ]
    leaf = SECRETS[1] | {"issuer": "ca"}
    leaf.pop("valid_for")
    ahead = timedelta(days=33 * 365)
    clock.now += ahead
    predecessor = cas.hash_of("own", alice)
    renewed = json.loads(document("own", [SECRETS[0], *authority, leaf | valid_for])) | {"predecessor": predecessor}
    cas.put(json.dumps(renewed), alice)
    _, key = attested(cas, "own", identities("program"))
    clock.now -= ahead
    match used:
        case "task":
            assert cas.renew() == 1
            assert cas.renew() == 0
        case "public":
            cas.public_value("own", "leaf")
            cas.public_value("own", "ca")
        case _:
            attested(cas, "own" if used == "attested" else used, identities("program"))
    found, same_key = attested(cas, "own", identities("program"))
    [ca, public] = (
        x509.load_pem_x509_certificate(cas.public_value("own", name)["value"].encode()) for name in ("ca", "leaf")
    )
    assert public == found
    assert same_key == key
    for certificate in (ca, found):
        assert certificate.not_valid_before_utc <= clock.now < certificate.not_valid_after_utc
    found.verify_directly_issued_by(ca)
    assert cas.renew() == 0


def with_secrets(*secrets: dict[str, Any], environment: str = "", fs_file: bool = False) -> str:
    """Return a session whose program gets `leaf` in a file, in a file of its own, or in a variable."""
    session = json.loads(document("another", [*secrets]))
    session["images"][0]["injection_files"] = [{"path": "/leaf", "content": "$$SCONE::leaf:crt$$"}]
    if fs_file:
        session["images"][0]["injection_files"] = ["/leaf"]
    if environment:
        session["images"][0]["injection_files"] = [{"path": "/a", "content": "a"}]
        session["services"][0]["environment"] = {"LEAF": environment}
    return json.dumps(session)


KEYS = [{"name": "key", "kind": "private-key"}, {"name": "ca-key", "kind": "private-key"}]
HOUR = {"valid_for": "1 h"}
AUTHORITY = {"name": "ca", "kind": "x509-ca", "private_key": "ca-key"}
LEAF = {"name": "leaf", "kind": "x509", "private_key": "key"}
TWO_THIRDS = 2400


@pytest.mark.parametrize(
    ("session", "renew_in"),
    [
        (with_secrets(*KEYS, LEAF), None),
        (with_secrets(*KEYS, LEAF | HOUR), TWO_THIRDS),
        (with_secrets(*KEYS, AUTHORITY, LEAF | HOUR | {"issuer": "ca"}), TWO_THIRDS),
        (with_secrets(*KEYS, AUTHORITY | HOUR, LEAF | {"issuer": "ca"}), TWO_THIRDS),
        (with_secrets(*KEYS, AUTHORITY | HOUR, LEAF | {"valid_for": "1 d", "issuer": "ca"}), TWO_THIRDS),
        (with_secrets(*KEYS, AUTHORITY | {"valid_for": "1 d"}, LEAF | HOUR | {"issuer": "ca"}), TWO_THIRDS),
        (with_secrets({"name": "leaf", "import": {"session": "own", "secret": "leaf"}}), TWO_THIRDS),
        (with_secrets(*KEYS, LEAF | HOUR, environment="$$SCONE::leaf:crt$$"), None),
    ],
    ids=[
        "for ever",
        "an hour",
        "ca for ever",
        "ca for an hour",
        "ca shorter",
        "ca longer",
        "imported",
        "in a variable",
    ],
)
def test_programs_learn_when_to_ask_again(
    cas: EmbeddedCas, clock: Clock, alice: Principal, identities: Callable[[str], ClientIdentity],
    session: str, renew_in: int | None,
) -> None:  # fmt: skip
    cas.put(
        session.replace('"another"', '"importing"')[:-1] + f', "predecessor": "{cas.hash_of("importing", alice)}"}}',
        alice,
    )
    first = answer(cas, "importing", identities("program"))
    assert first.get("renew_in") == renew_in
    clock.now += timedelta(minutes=30)
    later = answer(cas, "importing", identities("program"))
    assert later.get("renew_in") == (None if renew_in is None else renew_in - 1800)
    assert later["version"] == first["version"]
    if renew_in is not None:
        clock.now += timedelta(seconds=renew_in - 1800)
        again = answer(cas, "importing", identities("program"))
        assert again["renew_in"] == TWO_THIRDS, "this time is enough: it is not asked too early"
        assert again["config"] != first["config"]


def test_a_file_of_the_image_says_it_when_it_is_filled_in(
    cas: EmbeddedCas, clock: Clock, alice: Principal, identities: Callable[[str], ClientIdentity]
) -> None:
    cas.put(with_secrets(*KEYS, LEAF | HOUR, fs_file=True), alice)
    identity = identities("program")
    assert "renew_in" not in answer(cas, "another", identity)
    for text, renew_in in (("$$SCONE::leaf:crt$$", TWO_THIRDS), ("nothing", None)):
        file = {"path": "/leaf", "content": base64.b64encode(text.encode()).decode()}
        assert cas.enclaves.fill(identity.certificate_der, [file]).get("renew_in") == renew_in


def test_each_version_of_a_session_is_told_apart_without_its_hash(
    cas: EmbeddedCas, alice: Principal, identities: Callable[[str], ClientIdentity]
) -> None:
    identity = identities("program")
    first = answer(cas, "own", identity)
    hash_ = cas.hash_of("own", alice)
    assert hash_ not in json.dumps(first)
    changed = [SECRETS[0], SECRETS[1] | {"valid_for": "2 h"}]
    cas.put(json.dumps(json.loads(document("own", changed)) | {"predecessor": hash_}), alice)
    assert answer(cas, "own", identity)["version"] != first["version"]


@pytest.mark.parametrize("valid_for", [HOUR, {}], ids=["an hour", "for ever"])
def test_an_imported_issuer_that_is_gone_keeps_nobody_from_starting(
    cas: EmbeddedCas, clock: Clock, alice: Principal, identities: Callable[[str], ClientIdentity],
    valid_for: dict[str, str],
) -> None:  # fmt: skip
    export: dict[str, Any] = {"export": {"session": "web"}}
    keys: list[dict[str, Any]] = [KEYS[1] | {"migrate": True} | export, AUTHORITY | {"valid_for": "1 d"} | export]
    cas.put(document("authority", keys).replace("leaf", "ca"), alice)
    imported = {"name": "ca", "kind": "x509-ca", "import": {"session": "authority", "secret": "ca"}}
    cas.put(document("web", [KEYS[0], imported, LEAF | valid_for | {"issuer": "ca"}]), alice)
    identity = identities("program")
    before = answer(cas, "web", identity)
    assert before["renew_in"] == (TWO_THIRDS if valid_for else 16 * 3600), "it never outlives its issuer"
    predecessor = cas.hash_of("authority", alice)
    without = [{name: value for name, value in secret.items() if name != "export"} for secret in keys]
    revoked = json.loads(document("authority", without).replace("leaf", "ca"))
    cas.put(json.dumps(revoked | {"predecessor": predecessor}), alice)
    assert answer(cas, "web", identity) == before


def test_an_own_certificate_with_issuers_that_are_renewed(
    cas: EmbeddedCas, alice: Principal, identities: Callable[[str], ClientIdentity]
) -> None:
    """Its chain changes with them, though it is the session that states the certificate itself."""
    cas.put(document("own2", [*KEYS, AUTHORITY | HOUR, LEAF | {"issuer": "ca"}]), alice)
    leaf, _ = attested(cas, "own2", identities("program"))
    value = leaf.public_bytes(Encoding.PEM).decode()
    stated = {"name": "leaf", "kind": "x509", "value": value, "issuer": "ca"}
    text = with_secrets(KEYS[1], AUTHORITY | HOUR, stated).replace("leaf:crt", "leaf:chain")
    cas.put(text, alice)
    assert answer(cas, "another", identities("program"))["renew_in"] == TWO_THIRDS
