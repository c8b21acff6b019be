"""A retired session gives nothing to anybody, and is as much as is needed to put back what it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from sconectl.policy.diff.fates import fates
from sconectl.policy.reading import AccessPolicy, Session, parse_session
from sconectl.policy.retired import is_retired, retired
from sconectl.policy.serialized.canonical import read_back, session_hash

H = "0a" * 32
VALID = sorted(Path(__file__).with_name("valid").glob("V*.yaml"))
SESSION = f"""\
name: shop/db
version: "0.3.10"
predecessor: {H}
access_policy: {{read: [CREATOR], update: [CREATOR]}}
services:
- {{name: db, image_name: files, command: db $$SCONE::password$$, attestation: {{mrenclave: {H}}}}}
images:
- {{name: files, injection_files: [{{path: /f, content: $$SCONE::token$$}}], volumes: [{{name: data, path: /data}}]}}
secrets:
- {{name: password, kind: ascii, size: 12, export: [{{session: shop/web}}], export_public: true}}
- {{name: token, kind: binary}}
- {{name: given, kind: ascii, value: known, export: [{{session: shop/web}}]}}
- {{name: theirs, import: {{session: shop/other, secret: x}}}}
- {{name: staying, kind: private-key, migrate: true, export: [{{session: shop/web}}]}}
- {{name: passing, kind: private-key}}
- {{name: pgp, kind: pgp-key}}
- {{name: ca, kind: x509-ca, private_key: staying, common_name: ca, export_public: true}}
volumes:
- {{name: data, export: [{{session: shop/web}}]}}
"""


def gives_nothing(session: Session) -> bool:
    shared = [bool(secret.export or secret.export_public) for secret in session.secrets]
    return not (session.services or session.images or any(shared) or any(volume.export for volume in session.volumes))


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("file", VALID, ids=lambda path: path.stem)
def test_every_session_can_be_retired_once(file: Path, keep: bool) -> None:
    before = parse_session(file.read_bytes())
    after = retired(before, keep_secrets=keep)
    assert gives_nothing(after)
    assert session_hash(parse_session(read_back(after))) == session_hash(after)
    assert is_retired(after) and retired(after, keep_secrets=keep) == after
    assert is_retired(before) is (file.stem == "V02")  # a root in which nobody may do anything any more
    assert (after.name, after.salt, after.creator) == (before.name, before.salt, before.creator)
    assert (after.predecessor, after.namespace_hash) == (None, None)


def test_what_was_drawn_is_kept_for_nobody() -> None:
    before = parse_session(SESSION)
    after = retired(before)
    assert [secret.name for secret in after.secrets] == ["password", "token", "staying", "pgp"]
    assert [volume.name for volume in after.volumes] == ["data"]
    assert not is_retired(before)
    kept = {fate.name for fate in fates(before, after) if fate.fate == "kept"}
    assert kept == {"password", "token", "staying", "pgp", "data"}
    back = {fate.name: fate.fate for fate in fates(after, before)}
    assert {name: back[name] for name in kept} == dict.fromkeys(kept, "kept")
    assert after.version == "0.3.10"


def test_nothing_is_kept_on_demand() -> None:
    before = parse_session(SESSION)
    after = retired(before, keep_secrets=False)
    assert (after.secrets, after.volumes) == ((), ())
    lost = {fate.name for fate in fates(before, after) if fate.fate == "lost"}
    assert lost == {"password", "token", "staying", "passing", "pgp", "data"}


def test_nobody_gets_a_right_and_nobody_creates_sessions() -> None:
    before = parse_session(SESSION.replace("update: [CREATOR]", "update: [ANY], list_sessions: [ANY]"))
    policy = retired(before).access_policy
    assert isinstance(policy, AccessPolicy)
    allowed = {operation: policy.allowed(operation) for operation in AccessPolicy.model_fields}
    assert allowed == {
        "read": ("CREATOR",),
        "update": ("ANY",),
        "create_sessions": ("NONE",),
        "list_sessions": ("ANY",),
    }


def test_a_namespace_in_use_is_not_retired() -> None:
    namespace = parse_session('name: shop\nversion: "0.3.10"\n')
    assert not is_retired(namespace)
    assert is_retired(retired(namespace))


@pytest.mark.parametrize("keep", [True, False])
def test_secrets_that_decide_who_may_update_stay(keep: bool) -> None:
    secrets = [
        "{name: who, kind: config-fragment, value: {read: [CREATOR]}, export: [{session: a}]}",
        "{name: ours, kind: x509, private_key: key, issuer: ca, export_public: true}",
        "{name: key, kind: private-key}",
        "{name: ca, import: {session: shop/ca, secret: ca}}",
        "{name: other, kind: ascii, value: x}",
    ]
    text = f'name: shop/db\nversion: "0.3.12"\nsecrets: [{", ".join(secrets)}]\n'
    whole = retired(parse_session(f"{text}access_policy: $$SCONE::who$$\n"), keep_secrets=keep)
    assert whole.access_policy == "$$SCONE::who$$"
    assert [secret.name for secret in whole.secrets] == ["who"]
    assert is_retired(whole) and gives_nothing(whole)
    parts = retired(parse_session(f"{text}access_policy: {{update: [$$SCONE::ours$$]}}\n"), keep_secrets=keep)
    assert [secret.name for secret in parts.secrets] == ["ours", "key", "ca"]
    assert is_retired(parts) and gives_nothing(parts)
