"""Public declarations: nobody changes one unnoticed, and no private value is ever in one."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from fakes.builders import MEASUREMENT, SIM, facts, service_text
from fakes.workspace import FakeKeys, signing_key
from hypothesis import given
from hypothesis import strategies as st

from sconectl.errors import PlanImpossible
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.advice.public_values import refuse_private_variables
from sconectl.plan.facts.declaration import DECLARATION, MAX_BYTES, declare, declared
from sconectl.plan.facts.image_facts import ImageFacts, Signer, Variable
from sconectl.plan.facts.image_label import ImageLabel
from sconectl.protect.signature import mrsigner_of
from sconectl.text.findings import Finding
from sconectl.usecases.check_service import check_service

KEY = FakeKeys().signing_key()
ME = mrsigner_of(KEY)
SIGNER = Signer(mrsigner=ME, isvprodid=0, isvsvn=0)
PUBLIC: dict[str, Any] = {
    "public": True,
    "environment": {
        "local": [
            {"name": "SCONE_HEAP", "value": "128M"},
            {"name": "PASSWORD", "value": "$$SCONE::password$$"},
            {"name": "HOST", "value": "{{host}}"},
            {"name": "LOG_LEVEL", "value": "info", "public": True},
        ],
        "global": [{"name": "host", "value": "redis"}, {"name": "USER"}],
    },
    "secrets": {
        "global": [
            {"name": "password", "kind": "ascii", "size": 12},
            {"name": "key", "kind": "private-key"},
            {"name": "ca", "kind": "x509-ca", "private_key": "key", "common_name": "CA"},
        ]
    },
    "injection_files": [{"path": "/etc/app.conf", "content": "host={{host}}\npassword=$$SCONE::password$$\n"}],
}
WEB = facts("web", **PUBLIC).model_copy(update={"signer": SIGNER})
LABEL = ImageLabel.of(WEB, simulated=True)
TEXT = declare(WEB, KEY)


def read(text: str, label: ImageLabel = LABEL) -> ImageFacts:
    found = declared("web:1", {DECLARATION: text}, label)
    assert found is not None and found.signer == ME
    return found.facts


def refused(text: str, label: ImageLabel = LABEL) -> str:
    with pytest.raises(PlanImpossible) as caught:
        declared("web:1", {DECLARATION: text}, label)
    assert caught.value.exit_code == 4 and caught.value.hint
    return caught.value.message


def test_everything_but_the_salt_is_declared() -> None:
    found = read(TEXT)
    assert WEB.salt and found == WEB.model_copy(update={"salt": ""})
    assert WEB.salt not in base64.b64decode(json.loads(TEXT)["payload"]).decode()
    assert declare(WEB, KEY) == TEXT


def test_an_image_without_a_declaration_declares_nothing() -> None:
    assert declared("web:1", {}, LABEL) is None


@given(st.data())
def test_no_byte_can_be_changed(data: st.DataObject) -> None:
    envelope = json.loads(TEXT)
    field = data.draw(st.sampled_from(["payload", "sig", "publicKey"]))
    holder = envelope["signatures"][0] if field == "sig" else envelope
    raw = bytearray(holder[field].encode() if field == "publicKey" else base64.b64decode(holder[field]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 6))
    holder[field] = raw.decode("latin-1") if field == "publicKey" else base64.b64encode(raw).decode()
    try:
        found = declared("web:1", {DECLARATION: json.dumps(envelope)}, LABEL)
    except PlanImpossible:
        return
    assert field == "publicKey" and found is not None and found.facts.measurement == MEASUREMENT  # same key, as text


def test_another_key_is_another_signer() -> None:
    """Whoever signs the declaration of another signer's image anew is found out by the label."""
    assert "another image than its label" in refused(declare(WEB, signing_key("mallory")))
    theirs = WEB.model_copy(update={"signer": None})
    assert "another image" in refused(declare(theirs, KEY), ImageLabel.of(theirs, simulated=True))


@pytest.mark.parametrize(
    "change",
    [{"measurement": "00" * 32}, {"toolchain": "scone"}, {"parameters": {}}, {"image_session": "x"}, {"signer": None}],
)
def test_a_declaration_of_another_image_is_not_taken(change: dict[str, Any]) -> None:
    assert "another image than its label" in refused(TEXT, LABEL.model_copy(update=change))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "[" * 100_000,
        '{"payloadType": "application/vnd.sconectl.declaration.v1+json", "payload": 5}',
        '{"payloadType": "text/plain"}',
        " " * (MAX_BYTES + 1),
        TEXT.replace("BEGIN PUBLIC KEY", "BEGIN PRIVATE KEY"),
        TEXT.replace('"signatures":[', '"signatures":[],"x":['),
        json.dumps({**json.loads(TEXT), "publicKey": None}),
        json.dumps({**json.loads(TEXT), "payload": "é"}),
    ],
    ids=lambda text: text[:30],
)
def test_a_hostile_declaration_is_no_traceback(text: str) -> None:
    assert "the public declaration of web:1 is not valid: " in refused(text)


def test_a_signature_of_something_else_is_none() -> None:
    """The same key signs enclaves: neither signature passes for the other."""
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.hashes import SHA256

    from sconectl.protect.signature import load_key

    envelope = json.loads(TEXT)
    bare = load_key(KEY).sign(base64.b64decode(envelope["payload"]), padding.PKCS1v15(), SHA256())
    envelope["signatures"][0]["sig"] = base64.b64encode(bare).decode()
    assert "signature does not match" in refused(json.dumps(envelope))


def test_a_declaration_that_no_registry_takes() -> None:
    large = facts("web", injection_files=[{"path": "/f", "content": "x" * (MAX_BYTES - 100_000)}])
    with pytest.raises(PlanImpossible, match="can be published"):
        declare(large, KEY)


def found_in(variables: dict[str, str] | None = None, **changes: Any) -> list[Finding]:
    text = service_text(**{**PUBLIC, **changes})
    manifest = read_manifest(text, "service.yaml", variables or {})
    check = check_service(manifest, mode="production", bases={"python": "base:1"}, toolchain=SIM)
    errors = [finding for finding in check.findings if finding.severity == "error"]
    assert (check.plan is None) == bool(errors)
    return errors


def test_a_manifest_without_private_values_is_public() -> None:
    assert found_in() == []


CANARY = "c4n4ry-hunter2"
PRIVATE: dict[str, dict[str, Any]] = {
    "secrets.global[0].value": {"secrets": {"global": [{"name": "s", "kind": "ascii", "value": CANARY}]}},
    "secrets.global[1].value": {
        "secrets": {"global": [{"name": "a", "kind": "ascii"}, {"name": "b", "kind": "binary", "value": "c4a4"}]}
    },
    "secrets.global[0].application_secret": {
        "secrets": {
            "global": [
                {"name": "t", "kind": "aad-token", "tenant_id": "t", "client_id": "c", "application_secret": CANARY}
            ]
        }
    },
    "secrets.global[0].private_key": {
        "secrets": {
            "global": [
                {
                    "name": "t", "kind": "aad-token", "tenant_id": "t", "client_id": "c", "private_key": CANARY,
                    "certificate_thumbprint": "8f3c" * 10,
                }
            ]
        }
    },
    "secrets.global[1].payload.sub": {
        "secrets": {
            "global": [
                {"name": "k", "kind": "private-key", "key_type": "P-384"},
                {"name": "j", "kind": "jwt", "signer": "k", "alg": "ES384", "validity": {"for": "1h"},
                 "payload": {"sub": CANARY}},
            ]
        }
    },
    "environment.local[0].value": {"environment": {"local": [{"name": "X", "value": CANARY}]}},
    "environment.local[0].value ": {"environment": {"local": [{"name": "X", "value": f"{{{{a}}}}{CANARY}"}]}},
    "environment.local[0].value   ": {"environment": {"local": [{"name": "OUR_SCONE_TWEAK", "value": CANARY}]}},
    "environment.local[0].value  ": {
        "environment": {"local": [{"name": "X", "value": f'{{{{a | default(value="{CANARY}")}}}}'}]}
    },
    "environment.global[0].value": {"environment": {"global": [{"name": "DB_PASSWORD", "value": CANARY}]}},
    "build.command": {"command": f"app --db postgres://me:{CANARY}@host/db", "environment": {}},
    "injection_files[0].content": {"injection_files": [{"path": "/c", "content": f"u=https://me:{CANARY}@host/"}]},
}  # fmt: skip


@pytest.mark.parametrize("path", PRIVATE)
def test_a_private_value_is_refused_where_it_stands(path: str) -> None:
    errors = found_in(**{"secrets": {}, "injection_files": [], "environment": {}, **PRIVATE[path]})
    found = [error for error in errors if error.code == "SC1016"]
    assert {error.path for error in found} == {path.strip()}
    assert all(error.hint and error.position.line > 1 and CANARY not in str(error) for error in found)


@pytest.mark.parametrize(
    "changes",
    [
        {"environment": {"global": [{"name": "HOST", "value": "$GIVEN"}]}},
        {"environment": {"local": [{"name": "HOST", "value": "$GIVEN", "public": True}]}},
        {"command": "app --x $GIVEN"},
        {"injection_files": [{"path": "/c", "content": "x=${GIVEN:-y}"}]},
        {"injection_files": [{"path": "/c/$GIVEN", "content": "x"}]},
        {"pwd": "/srv/$GIVEN"},
        {"volumes": [{"name": "$GIVEN", "path": "/data"}]},
        {"secrets": {"global": [{"name": "password", "kind": "ascii", "export": [{"session": "$GIVEN/x"}]}]}},
        {"secrets": {"global": [{"name": "$GIVEN", "kind": "ascii"}]}},
    ],
)
def test_what_was_given_on_this_machine_stays_there(changes: dict[str, Any]) -> None:
    errors = found_in({"GIVEN": CANARY}, **{"secrets": {}, "injection_files": [], "environment": {}, **changes})
    assert [error.code for error in errors] == ["SC1016"]
    assert "given on this machine" in errors[0].message and CANARY not in str(errors[0])


def test_all_private_values_are_named_in_one_run() -> None:
    local = [{"name": f"X{number}", "value": CANARY} for number in range(5)]
    assert len(found_in(environment={"local": local}, secrets={}, injection_files=[])) == 5


def test_only_a_public_image_is_looked_at() -> None:
    assert found_in(public=False, environment={"local": [{"name": "X", "value": CANARY}]}, secrets={},
                    injection_files=[]) == []  # fmt: skip


def test_what_is_public_is_signed() -> None:
    [error] = found_in(signature={"sign": False})
    assert (error.code, error.path) == ("SC1004", "build.public") and "signed" in error.message


def test_a_credential_of_the_base_image_is_not_published() -> None:
    def with_variable(name: str, value: str) -> ImageFacts:
        environment = WEB.environment.model_copy(update={"image": (Variable(name=name, value=value),)})
        return WEB.model_copy(update={"environment": environment})

    refuse_private_variables(with_variable("PATH", "/usr/bin"))
    with pytest.raises(PlanImpossible, match="API_TOKEN") as caught:
        refuse_private_variables(with_variable("API_TOKEN", CANARY))
    assert CANARY not in str(caught.value)
