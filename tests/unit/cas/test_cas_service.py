"""The embedded CAS without transport: updates, access, secrets, what is stored how."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sconectl.cas.attest.quotes import report_data_for
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.sessions.access import Principal
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.errors import CasError
from sconectl.policy.reading import parse_session
from sconectl.policy.serialized.canonical import session_hash

from .conftest import session_text

NONE = "security: {attestation: {mode: none}}\n"


def argv(cas: EmbeddedCas, config_id: str) -> list[str]:
    """Return the command of a service of a session with attestation mode none."""
    return list(_config(cas, config_id)["argv"])


def _config(cas: EmbeddedCas, config_id: str) -> dict[str, Any]:
    report = {"toolchain": "sim", "measurement": "00" * 32, "debug": True, "report_data": report_data_for(b"channel")}
    quote = cas.enclaves.quote(report)["quote"]
    config: dict[str, Any] = cas.enclaves.attest(config_id, quote, b"channel")["config"]
    return config


def refused(status: int) -> Any:
    return pytest.raises(CasRefusal, check=lambda refusal: refusal.status == status)


def test_creator_is_the_uploader_and_part_of_the_hash(cas: EmbeddedCas, alice: Principal, bob: Principal) -> None:
    hash_ = cas.put(session_text(), alice).hash
    stored = cas.read("acme", alice)
    session = parse_session(stored.text)
    assert session.creator == alice.certificate_pem
    assert hash_ == stored.hash == session_hash(session)
    assert cas.put(session_text("other"), bob).hash != hash_


def test_creator_is_left_out_where_nobody_refers_to_it(cas: EmbeddedCas, alice: Principal) -> None:
    text = session_text(body="access_policy: {read: ANY, update: NONE}\n")
    assert cas.put(text, alice).hash == session_hash(parse_session(text))


def test_nobody_uploads_in_the_name_of_somebody_else(cas: EmbeddedCas, alice: Principal, bob: Principal) -> None:
    creator = "creator: |\n  " + bob.certificate_pem.strip().replace("\n", "\n  ") + "\n"
    with refused(403):
        cas.put(session_text(body=creator), alice)
    cas.put(session_text(body=creator), bob)


def test_an_update_keeps_the_creator_unless_it_names_its_uploader(
    cas: EmbeddedCas, alice: Principal, bob: Principal
) -> None:
    policy = f"access_policy: {{read: [CREATOR, {bob.key_hash}], update: [CREATOR, {bob.key_hash}]}}\n"
    hash_ = cas.put(session_text(body=policy), alice).hash
    text = cas.read("acme", bob).text.replace("predecessor: null", f"predecessor: {hash_}")
    second = cas.put(text, bob).hash
    assert parse_session(cas.read("acme", alice).text).creator == alice.certificate_pem
    third = cas.put(session_text(body=f"predecessor: {second}\nsalt: {'ab' * 16}\n{policy}"), bob).hash
    stored = parse_session(cas.read("acme", alice).text)
    assert (stored.creator, stored.predecessor) == (alice.certificate_pem, second)
    creator = "creator: |\n  " + bob.certificate_pem.strip().replace("\n", "\n  ") + "\n"
    with refused(403):
        cas.put(session_text(body=f"predecessor: {third}\n{policy}{creator}"), alice)
    cas.put(session_text(body=f"predecessor: {third}\n{policy}{creator}"), bob)
    assert parse_session(cas.read("acme", bob).text).creator == bob.certificate_pem
    with refused(403):
        cas.read("acme", alice)


def test_who_first_refers_to_a_creator_becomes_it(cas: EmbeddedCas, alice: Principal, bob: Principal) -> None:
    both = f"[{alice.key_hash}, {bob.key_hash}]"
    first = cas.put(session_text(body=f"access_policy: {{read: {both}, update: {both}}}\n"), alice).hash
    policy = f"access_policy: {{read: [CREATOR], update: {both}}}\n"
    cas.put(session_text(body=f"predecessor: {first}\n{policy}"), bob)
    assert parse_session(cas.read("acme", bob).text).creator == bob.certificate_pem


@pytest.mark.parametrize(("granted", "allowed"), [("ANY", True), ("NONE", False), ("CREATOR", False), ("{bob}", True)])
@pytest.mark.parametrize("operation", ["read", "update", "create_sessions"])
def test_access(
    cas: EmbeddedCas, alice: Principal, bob: Principal, operation: str, granted: str, allowed: bool
) -> None:
    entry = granted.format(bob=bob.key_hash)
    hash_ = cas.put(session_text(body=f"access_policy: {{{operation}: {entry}}}\n"), alice).hash
    actions: dict[str, Callable[[], object]] = {
        "read": lambda: cas.read("acme", bob),
        "update": lambda: cas.put(session_text(body=f"predecessor: {hash_}\n"), bob),
        "create_sessions": lambda: cas.put(session_text("acme/child"), bob),
    }
    if operation == "update" and allowed:
        actions["create_sessions"]()  # defaults to update
    for name, action in actions.items():
        if name == operation and allowed:
            action()
        elif not (name == "create_sessions" and operation == "update" and allowed):
            with refused(403):
                action()


def test_a_certificate_as_principal_means_its_key(
    cas: EmbeddedCas, alice: Principal, principals: Callable[[str], Principal]
) -> None:
    carol = principals("carol")
    indented = carol.certificate_pem.strip().replace("\n", "\n        ")
    cas.put(session_text(body=f"access_policy:\n  read:\n    - |\n        {indented}\n"), alice)
    cas.read("acme", Principal(carol.key_hash, "another certificate of the same key"))
    with refused(403):
        cas.read("acme", alice)


def test_spelling_of_certificates_makes_no_difference(cas: EmbeddedCas, alice: Principal) -> None:
    pem = alice.certificate_pem
    policies = [{"update": [pem]}, {"update": [pem.strip()], "create_sessions": f"\n{pem}\n"}]
    hashes = {
        cas.put(json.dumps({"name": f"s{number}", "version": "0.3", "access_policy": policy}), alice).hash
        for number, policy in enumerate(policies)
    }
    assert len(hashes) == 2  # the names differ
    first, second = (parse_session(cas.read(f"s{number}", alice).text) for number in range(2))
    assert first.access_policy == second.access_policy


def test_children_need_their_namespace_but_not_its_rights_afterwards(
    cas: EmbeddedCas, alice: Principal, bob: Principal
) -> None:
    with refused(404):
        cas.put(session_text("acme/web"), alice)
    cas.put(session_text("acme", "access_policy: {create_sessions: ANY}\n"), alice)
    first = cas.put(session_text("acme/web"), bob).hash
    with refused(403):
        cas.put(session_text("acme/web/deep"), alice)
    cas.put(session_text("acme/web", f"predecessor: {first}\n"), bob)


def test_of_concurrent_creations_exactly_one_wins(cas: EmbeddedCas, alice: Principal) -> None:
    outcomes = _concurrently(
        cas, lambda number: session_text(body=f"secrets: [{{name: s{number}, kind: ascii}}]"), alice
    )
    assert sorted(outcomes) == [201] + [409] * 7


def test_of_concurrent_updates_exactly_one_wins(cas: EmbeddedCas, alice: Principal) -> None:
    first = cas.put(session_text(), alice).hash

    def update(number: int) -> str:
        return session_text(body=f"predecessor: {first}\nsecrets: [{{name: s{number}, kind: ascii}}]")

    assert sorted(_concurrently(cas, update, alice)) == [201] + [409] * 7


def _concurrently(cas: EmbeddedCas, text: Callable[[int], str], principal: Principal) -> list[int]:
    outcomes: list[int] = []
    barrier = threading.Barrier(8)

    def upload(number: int) -> None:
        own = EmbeddedCas(cas.directory) if number % 2 else cas  # as if by another process
        barrier.wait()
        try:
            own.put(text(number), principal)
            outcomes.append(201)
        except CasRefusal as refusal:
            outcomes.append(refusal.status)

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_a_refused_update_changes_nothing(cas: EmbeddedCas, alice: Principal) -> None:
    first = cas.put(session_text(), alice).hash
    for body in (f"predecessor: {first}\nvolumes: [{{}}]\n", f"predecessor: {'0' * 64}\n"):
        with pytest.raises(CasRefusal):
            cas.put(session_text(body=body), alice)
    assert cas.read("acme", alice).hash == first


SECRETS = NONE.replace("{", "{{").replace("}", "}}") + (
    "services: [{{name: a, command: '$$SCONE::text$$ $$SCONE::raw:hex$$'}}]\n"
    "secrets: [{{name: text, kind: ascii{text}}}, {{name: raw, kind: binary{raw}}}]\n"
)


def test_generated_values_last_until_their_parameters_change(cas: EmbeddedCas, alice: Principal) -> None:
    hash_ = cas.put(session_text(body=SECRETS.format(text="", raw="")), alice).hash
    first = argv(cas, "acme/a")
    assert [len(first[0]), len(first[1])] == [20, 40]
    assert first[0].isprintable()
    assert argv(EmbeddedCas(cas.directory), "acme/a") == first
    body = SECRETS.format(text="", raw=", size: 32") + f"predecessor: {hash_}\n"
    hash_ = cas.put(session_text(body=body), alice).hash
    second = argv(cas, "acme/a")
    assert second[0] == first[0]
    assert len(second[1]) == 64
    assert second[1][:40] != first[1]
    body = SECRETS.format(text=", value: given", raw=", size: 32") + f"predecessor: {hash_}\n"
    hash_ = cas.put(session_text(body=body), alice).hash
    assert argv(cas, "acme/a") == ["given", second[1]]
    cas.put(session_text(body=SECRETS.format(text="", raw="") + f"predecessor: {hash_}\n"), alice)
    assert argv(cas, "acme/a")[0] not in ("given", first[0])


def test_generated_values_differ_and_are_not_readable(cas: EmbeddedCas, alice: Principal) -> None:
    seen = set()
    for name in ("one", "two", "three"):
        cas.put(session_text(name, SECRETS.format(text="", raw="")), alice)
        values = argv(cas, f"{name}/a")
        seen |= set(values)
        assert not any(value in cas.read(name, alice).text for value in values)
    assert len(seen) == 6


EXPORTER = "secrets: [{{name: s, kind: {kind}, value: {value}, export: {export}}}]\n"
IMPORTER = NONE.replace("{", "{{").replace("}", "}}") + (
    "services: [{{name: a, command: '$$SCONE::mine{suffix}$$'}}]\n"
    "secrets: [{{name: mine{kind}, import: {{session: {session}, secret: s}}}}]\n"
)


@pytest.mark.parametrize(
    ("export", "importer", "granted"),
    [
        ("{session: acme/web}", "acme/web", True),
        ("{session: ./web}", "acme/web", False),
        ("{session: ../web}", "acme/web", True),
        ("{session: acme}", "acme/web", False),
        ("{session: acme/we}", "acme/web", False),
        ("{namespace: acme}", "acme/web", True),
        ("{namespace: ..}", "acme/web", True),
        ("{namespace: acm}", "acme/web", False),
        ("{namespace: acme/web}", "acme/web", True),
        ("[{session: acme/x}, /session=acme/web]", "acme/web", True),
    ],
)
def test_imports_need_an_export(
    cas: EmbeddedCas, alice: Principal, bob: Principal, export: str, importer: str, granted: bool
) -> None:
    cas.put(session_text("acme", "access_policy: {create_sessions: ANY}"), alice)
    cas.put(session_text("acme/keys", EXPORTER.format(kind="ascii", value="shared", export=export)), alice)
    cas.put(session_text(importer, IMPORTER.format(suffix="", kind="", session="../keys")), bob)
    if granted:
        assert argv(cas, f"{importer}/a") == ["shared"]
    else:
        with refused(403) as caught:
            argv(cas, f"{importer}/a")
        assert "does not export" in caught.value.causes[-1]


def test_imports_of_other_kinds_and_missing_sessions(cas: EmbeddedCas, alice: Principal) -> None:
    cas.put(session_text("keys", EXPORTER.format(kind="binary", value="beef", export="{session: web}")), alice)
    hash_ = cas.put(session_text("web", IMPORTER.format(suffix=":hex", kind="", session="keys")), alice).hash
    assert argv(cas, "web/a") == ["beef"]
    for changed in (
        IMPORTER.format(suffix="", kind="", session="keys"),  # raw bytes in an argument
        IMPORTER.format(suffix="", kind=", kind: ascii", session="keys"),
        IMPORTER.format(suffix="", kind="", session="ghost"),
    ):
        hash_ = cas.put(session_text("web", changed + f"predecessor: {hash_}\n"), alice).hash
        with refused(403) as caught:
            argv(cas, "web/a")
        assert "beef" not in str(caught.value)


def test_files_and_file_system_keys(cas: EmbeddedCas, alice: Principal) -> None:
    body = NONE + (
        "services:\n"
        "  - {name: a, image_name: i, pwd: /srv, environment: {V: $$SCONE::k:hex$$}, fspf_path: /fspf,"
        f" fspf_key: $$SCONE::k$$, fspf_tag: {'0b' * 16}}}\n"
        "images:\n"
        "  - name: i\n"
        "    injection_files:\n"
        "      - {path: /raw, content: $$SCONE::k$$, permission: 0o400}\n"
        '      - {path: /json, content: "{\\"q\\": \\"$$SCONE::q|escape(json)$$\\"}"}\n'
        "secrets:\n"
        "  - {name: k, kind: binary, size: 32}\n"
        "  - {name: q, kind: ascii, value: 'a\"b'}\n"
    )
    import base64

    cas.put(session_text(body=body), alice)
    config = _config(cas, "acme/a")
    key = config["environment"]["V"]
    policy = "rollback_protected_reinitializable"
    tags = {"tag": "0b" * 16, "initial_tag": "0b" * 16}
    assert config["fspf"] == {"path": "/fspf", "key": key, "update_policy": policy, **tags}
    raw, text = config["files"]
    assert base64.b64decode(raw["content"]).hex() == key
    assert raw["permission"] == 0o400
    assert base64.b64decode(text["content"]) == b'{"q": "a\\"b"}'
    assert text["permission"] == 0o700
    assert (config["pwd"], config["session"], config["service"]) == ("/srv", "acme", "a")
    assert "session_hash" not in config  # it would tell every value that can be guessed


def test_nothing_confidential_is_in_the_files_and_they_are_private(cas: EmbeddedCas, alice: Principal) -> None:
    cas.put(session_text(body=SECRETS.format(text=", value: explicit-plain-text", raw="")), alice)
    generated = argv(cas, "acme/a")[1]
    for path in [cas.directory, *cas.directory.iterdir()]:
        assert path.stat().st_mode & 0o077 == 0, path
        if path.is_file():
            content = path.read_bytes()
            assert b"explicit-plain-text" not in content
            assert bytes.fromhex(generated) not in content


def test_moved_or_changed_values_are_noticed(cas: EmbeddedCas, alice: Principal) -> None:
    for name in ("one", "two"):
        cas.put(session_text(name, SECRETS.format(text="", raw="")), alice)
    database = sqlite3.connect(cas.directory / "cas.db")
    database.execute(
        "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE session = 'two' AND name = 'text')"
        " WHERE session = 'one' AND name = 'text'"
    )
    database.commit()
    database.close()
    with pytest.raises(CasError, match="changed"):
        argv(cas, "one/a")
    argv(cas, "two/a")


def test_a_database_without_its_keys_is_not_given_new_ones(cas: EmbeddedCas, directory: Path) -> None:
    (directory / "keys.json").unlink()
    with pytest.raises(CasError, match=r"keys\.json is missing"):
        EmbeddedCas(directory)


def test_another_schema_is_not_touched(cas: EmbeddedCas, directory: Path) -> None:
    database = sqlite3.connect(directory / "cas.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(CasError, match="schema 99"):
        EmbeddedCas(directory)
