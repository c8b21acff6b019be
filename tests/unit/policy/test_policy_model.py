"""Reading sessions: positions, normalisation, the canonical form, and that no value shows in a message."""

from __future__ import annotations

import copy
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sconectl.errors import InvalidInput
from sconectl.key_hash import decode_base58check, encode_base58check, is_key_hash
from sconectl.policy.reading import AccessPolicy, Rule, Signer, examine, parse_session
from sconectl.policy.serialized.canonical import from_json, read_back, same_content, session_hash, to_json
from sconectl.text.yaml_text import dump
from sconectl.text.yaml_tree import parse

H, T = "0a" * 32, "0b" * 16
VALID = Path(__file__).parent / "valid"

FULL = f"""
name: acme/web
version: 0.3.11
predecessor: ~
access_policy:
  read: [CREATOR, 4hxbfBB9G1hyrLotptsrDejMXHWSUfknwG9x6q2VU8gLejZMU3]
  update: CREATOR
security: {{attestation: {{mode: hardware, tolerate: [debug-mode, outdated-tcb], ignore_advisories: INTEL-SA-00615}}}}
services:
  - name: app
    image_name: image
    command: app "two words" --x=$$SCONE::password$$ 'a\\b'
    environment: {{RETRIES: 3, MODE: on, EMPTY: "", KEY: $$SCONE::key:hex$$}}
    pwd: /srv
    mrenclaves: [{H.upper()}]
    fspf_path: /main.fspf
    fspf_key: $$SCONE::fs$$
    fspf_tag: {T}
    persistency: None
images:
  - name: image
    injection_files:
      - path: /etc/app.json
        permission: 0o400
        content: |
          {{"password": "$$SCONE::password|escape(json)$$"}}
      - {{path: /etc/key, content: $$SCONE::key.hex$$, permission: 0444}}
      - {{path: /etc/raw, content: $$SCONE::key:bin$$}}
secrets:
  - {{name: password, kind: ascii, size: 12, export: [{{session: ../db}}, {{session: ./child}}, {{namespace: ..}}]}}
  - {{name: key, kind: binary, value: DEADBEEF, export: /session=partner/x, export_public: true}}
  - {{name: fs, import: {{session: ../keys, secret: fs}}}}
"""


def test_a_full_session_is_normalised() -> None:
    session = parse_session(FULL)
    service = session.services[0]
    assert service.command == ("app", "two words", "--x=$$SCONE::password$$", "a\\b")
    assert service.environment == {"RETRIES": "3", "MODE": "on", "EMPTY": "", "KEY": "$$SCONE::key:hex$$"}
    assert service.measurements == (H,)
    assert [file.permission for file in session.images[0].injection_files] == [0o400, 0o444, 0o700]
    password, key, fs = session.secrets
    assert [(export.session, export.namespace) for export in password.export] == [
        ("acme/db", None),
        ("acme/web/child", None),
        (None, "acme"),
    ]
    assert key.export[0].session == "partner/x"
    assert fs.import_ is not None
    assert (fs.import_.session, fs.import_.secret) == ("acme/keys", "fs")
    assert isinstance(session.access_policy, AccessPolicy)
    assert session.access_policy.allowed("create_sessions") == ("CREATOR",)
    assert session.access_policy.allowed("list_sessions") == session.access_policy.read


def test_deprecated_spellings_are_told_but_taken() -> None:
    examined = examine(FULL)
    assert examined.session is not None
    assert {(finding.severity, finding.path) for finding in examined.findings} == {
        ("deprecation", "services[0].mrenclaves"),
        ("deprecation", "images[0].injection_files[1].content"),
    }


def test_read_back_reads_back() -> None:
    session = parse_session(FULL)
    text = read_back(session)
    again = parse_session(text)
    assert again == session
    assert session_hash(again) == session_hash(session)
    assert from_json(to_json(session)) == session
    assert "predecessor: null" in text
    assert 'persistency: "None"' in text


SAME = [
    '{"version": "0.3.11", "name": "a", "services": []}',
    "---\n# a comment\nname: 'a'\nversion: 0.3.11\naccess_policy: {read: [CREATOR], update: CREATOR}\n",
    "name: a\nversion: 0.3.11\naccess_policy: {create_sessions: [CREATOR], list_sessions: CREATOR}\nsecrets: ~\n",
    "name: a\nversion: 0.3.11\nsecurity: {attestation: {mode: hardware, tolerate: []}}\npredecessor: null\n",
]


@pytest.mark.parametrize("text", SAME)
def test_spelling_makes_no_difference_to_the_hash(text: str) -> None:
    assert session_hash(parse_session(text)) == session_hash(parse_session("name: a\nversion: 0.3.11\n"))


DIFFERENT = [
    "name: b\nversion: 0.3.11\n",
    "name: a\nversion: 0.3.10\n",
    f"name: a\nversion: 0.3.11\npredecessor: {H}\n",
    "name: a\nversion: 0.3.11\naccess_policy: {list_sessions: ANY}\n",
    "name: a\nversion: 0.3.11\nsecrets: [{name: x, kind: ascii}]\n",
    "name: a\nversion: 0.3.11\nsecrets: [{name: x, kind: ascii, size: 21}]\n",
    'name: a\nversion: 0.3.11\nsecrets: [{name: x, kind: ascii, value: ""}]\n',
    "name: a\nversion: 0.3.11\nsecrets: [{name: x, import: {session: b, secret: c}}]\n",
    f"name: a\nversion: 0.3.11\nsecrets: [{{name: x, import: {{session: b, secret: c, session_hash: {H}}}}}]\n",
    "name: a\nversion: 0.3.11\naccess_policy: {update: {require-all: [CREATOR]}}\n",
    "name: a\nversion: 0.3.11\naccess_policy: {update: {require-at-least-1: [CREATOR]}}\n",
    "name: a\nversion: 0.3.11\naccess_policy: {update: $$SCONE::x$$}\n",
    "name: a\nversion: 0.3.11\naccess_policy: $$SCONE::x$$\n",
    f"name: a\nversion: 0.3.11\nsalt: {T}\n",
    f"name: a\nversion: 0.3.11\nnamespace_hash: {H}\n",
    "name: a\nversion: 0.3.11\nimages: [{name: i}]\n",
    "name: a\nversion: 0.3.11\nimages: [{name: i, provide_secrets: []}]\n",
    "name: a\nversion: 0.3.11\nsecurity: {attestation: {mode: none}}\n",
]


def test_every_difference_shows_in_the_hash() -> None:
    texts = ["name: a\nversion: 0.3.11\n", *DIFFERENT]
    assert len({session_hash(parse_session(text)) for text in texts}) == len(texts)


def test_same_content_ignores_predecessor_and_creator_only() -> None:
    plain = parse_session("name: a\nversion: 0.3.11\n")
    successor = parse_session(f"name: a\nversion: 0.3.11\npredecessor: {H}\n")
    assert same_content(plain, successor.model_copy(update={"creator": "somebody"}))
    assert not same_content(plain, parse_session("name: a\nversion: 0.3.11\nsecrets: [{name: x, kind: ascii}]\n"))


PAIRS = [
    ("secrets: [{name: k, kind: private-key}, {name: x, kind: x509, private_key: k, dns: a}]",
     "secrets: [{key_type: P-256, name: k, kind: private-key}, {name: x, kind: x509, private_key: k, dns: [a]}]"),
    ("secrets: [{name: x, kind: binary, value: AABB}]", "secrets: [{name: x, kind: binary, value: 'aabb', size: 7}]"),
    ("secrets: [{name: x, import: {session: ../b, secret: c}}]",
     "secrets: [{name: x, import: '/session=b,secret=c', issuer: nobody}]"),
    ("secrets: [{name: x, kind: ascii, export: {session: b}}]",
     "secrets: [{name: x, kind: ascii, size: 20, migrate: false, export: [/session=b]}]"),
    (f"services: [{{name: x, mrenclaves: ['{H}'], platforms: ['INTEL_QE_ID:{T}']}}]",
     f"services: [{{name: x, attestation: {{mrenclave: {H.upper()}}}, platforms: ['INTEL_QE_ID:{T.upper()}']}}]"),
    ("volumes: [{name: v, export: {session: b}}]",
     "volumes: [{name: v, files: encrypted, export: [{to: {session: ../b}, update_policy: rollback_protected}]}]"),
    ("images: [{name: i, injection_files: [/a]}]",
     "images: [{name: i, injection_files: [{path: /a, permission: 0o700}], volumes: []}]"),
    ("security: {attestation: {tolerate: [debug-mode]}}",
     "security: {singleton_enclaves: false, attestation: {tolerate: [debug], must_be_sgx_local: False}}"),
    ("secret_config: {store_in: !cas }", "services: []"),
    ("security: {attestation: {one_time_password_shared_secret: JBSWY3DPEHPK3PXPJBSWY3DPEE======}}",
     "security: {attestation: {one_time_password_shared_secret: JBSWY3DPEHPK3PXPJBSWY3DPEE}}"),
    ("access_policy: {read: NONE, update: LSSmKVKXFmGMCp44oCzYCzkA9ABW3RksPi5SVsxwZ4swEBHVSf}",
     'access_policy: {read: ["NONE"], update: [{signer: "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEAAAAAAAAAAAAAA'
     'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\\n-----END PUBLIC KEY-----"}]}'),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_other_spellings_of_the_same(first: str, second: str) -> None:
    sessions = [parse_session(f"name: a\nversion: 0.3.12\n{body}\n") for body in (first, second)]
    assert sessions[0] == sessions[1]
    assert session_hash(sessions[0]) == session_hash(sessions[1])


def test_hashes_of_stored_sessions_stay() -> None:
    """The CAS compares predecessors with hashes that it stored long ago."""
    certificate = (VALID / "V02.yaml").read_text().partition("    - |\n")[2].partition("  create_sessions")[0]
    pem = "".join(f"{line.strip()}\n" for line in certificate.splitlines())
    document = {
        "name": "a/b",
        "version": "0.3",
        "creator": pem,
        "predecessor": H,
        "access_policy": {"read": "ANY", "update": [pem, "CREATOR"], "create_sessions": "NONE"},
        "security": {"attestation": {"mode": "none", "tolerate": ["debug-mode"]}},
    }
    assert (
        session_hash(parse_session(json.dumps(document)))
        == "3e08d88952d2e56dd9d7ac1fb3dee1603828f63876cf91a67897fe59d0dee5f0"
    )
    assert (
        session_hash(parse_session(FULL.replace("DEADBEEF", "00112233")))
        == "bcf038b1942438e73bd8c6ebc5d702c57f064523dd1e1c1e2c87f8d5966fafa1"
    )


def test_command_string_and_list_are_the_same() -> None:
    service = (
        "name: a\nversion: 0.3.11\nsecurity: {{attestation: {{mode: none}}}}\nservices: [{{name: a, command: {}}}]"
    )
    text = parse_session(service.format("""'app "-q all" --once'"""))
    as_list = parse_session(service.format('[app, "-q all", --once]'))
    assert session_hash(text) == session_hash(as_list)


def test_all_faults_at_once_with_positions() -> None:
    text = (
        "name: my session\n"
        "version: 0.9\n"
        "services:\n"
        "  - name: app\n"
        "    command: app $$SCONE::nope$$\n"
        "    image_name: ghost\n"
        "  - name: app\n"
        f"    attestation: {{mrenclave: {H}}}\n"
        "    colour: red\n"
        "secrets:\n"
        "  - {name: x, kind: password}\n"
    )
    with pytest.raises(InvalidInput) as caught:
        parse_session(text, file="p.yaml")
    found = {(finding.position.line, finding.position.column, finding.path) for finding in caught.value.findings}
    assert found == {
        (1, 7, "name"),
        (2, 10, "version"),
        (4, 5, "services[0]"),
        (5, 14, "services[0].command[1]"),
        (6, 17, "services[0].image_name"),
        (7, 11, "services[1].name"),
        (9, 5, "services[1].colour"),
        (11, 21, "secrets[0].kind"),
    }


SECRET = "Tr0ub4dor-visible"
LEAKS = [
    f"secrets: [{{name: x, kind: binary, value: {SECRET}}}]",
    f'secrets: [{{name: x, kind: ascii, value: "{SECRET}\\0"}}]',
    f"secrets: [{{name: x, kind: ascii, value: [{SECRET}]}}]",
    f"secrets: [{{name: x, kind: ascii, size: {SECRET}}}]",
    f"services: [{{name: a, fspf_path: /f, fspf_key: {SECRET}, fspf_tag: {SECRET}}}]",
    f'services: [{{name: a, environment: {{A: "{SECRET}\\0"}}, command: "a {SECRET}\\0"}}]',
    f"services: [{{name: a, environment: {{A: {{B: {SECRET}}}}}, command: 'a \"{SECRET}'}}]",
    f"images: [{{name: i, injection_files: [{{path: /a, content: [{SECRET}]}}]}}]",
    f"access_policy: {{read: [{SECRET}]}}",
    f"creator: {SECRET}",
    f"salt: {SECRET}",
]


@pytest.mark.parametrize("body", LEAKS)
def test_messages_hold_no_values(body: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_session(f"name: a\nversion: 0.3.11\n{body}\n")
    assert SECRET not in "".join(str(finding) for finding in caught.value.findings) + str(caught.value)


def test_representations_hold_no_values() -> None:
    session = parse_session(FULL.replace("DEADBEEF", "c0ffee77"))
    assert "c0ffee77" not in repr(session) + repr(session.secrets[1])


def test_a_session_is_a_mapping_and_nothing_executes_on_garbage() -> None:
    for text in ("[]", "", "just text", "name: [", b"\xff\xfe", "a: &a [*a]"):
        with pytest.raises(InvalidInput):
            parse_session(text)


def test_key_hash_vectors() -> None:
    zeros, ones = (encode_base58check(1, bytes([value]) * 32) for value in (0, 255))
    assert zeros == "2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3"
    assert ones == "4tVMTu4hrMTGeAQpAEzueCYqEESJQgkaH9DVJNnzK1mzCNiNFw"
    assert encode_base58check(10, bytes(32)) == "LSSmKVKXFmGMCp44oCzYCzkA9ABW3RksPi5SVsxwZ4swEBHVSf"
    assert is_key_hash(zeros)
    assert not is_key_hash(zeros[:-1] + "4")
    assert not is_key_hash(encode_base58check(1, bytes(31)))
    assert not is_key_hash("")


@given(st.integers(0, 255), st.binary(max_size=40))
def test_base58check_round_trip(version: int, payload: bytes) -> None:
    assert decode_base58check(encode_base58check(version, payload)) == (version, payload)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60))
def test_any_value_survives_the_read_back_form(value: str) -> None:
    text = json.dumps(
        {"name": "a", "version": "0.3", "secrets": [{"name": "x", "kind": "ascii", "value": value}]}, ensure_ascii=False
    )
    examined = examine(text)
    if examined.session is not None:  # YAML does not allow every character
        again = parse_session(read_back(examined.session))
        assert again.secrets[0].value == examined.session.secrets[0].value


GARBAGE = st.recursive(
    st.none()
    | st.sampled_from(["", "$$SCONE::x$$", "$$SCONE::", "..", "/", "/session=a,session=b", "x\0", "NONE", "0"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "signer", "session", "x"]), inner)
    ),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_text_makes_the_reader_fail(data: st.DataObject) -> None:
    """Whatever stands wherever: the answer is a session or findings, never another exception."""
    texts = [FULL, *(path.read_text() for path in sorted(VALID.glob("V*.yaml")))]
    document = parse(data.draw(st.sampled_from(texts)), "f", tags={"!akv": "mapping"}).value
    parent: Any = document
    while True:
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(parent[key], (dict, list)) and parent[key] and data.draw(st.booleans()):
            parent = parent[key]
            continue
        parent[key] = data.draw(GARBAGE)
        break
    examined = examine(dump(document))
    assert examined.session is not None or examined.findings
    if examined.session is not None:
        assert session_hash(parse_session(read_back(examined.session))) == session_hash(examined.session)


def shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key], rng) for key in rng.sample(list(value), len(value))}
    return [shuffled(item, rng) for item in value] if isinstance(value, list) else value


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(VALID.glob("V*.yaml"))), st.integers(0, 10**6))
def test_order_quotes_and_style_make_no_difference(path: Path, seed: int) -> None:
    """Block or flow, quoted or not, whatever the order of keys: the same session with the same hash."""
    session = parse_session(path.read_bytes())
    document = parse(read_back(session), "f", tags={"!akv": "mapping"})
    value = shuffled(copy.deepcopy(document.value), random.Random(seed))
    text = dump(value, comment="a comment")
    if document.tags:
        text = text.replace("store_in:", "store_in: !akv")
    else:
        assert parse_session(json.dumps(value)) == session
    assert parse_session(text) == session
    assert session_hash(parse_session(text)) == session_hash(session)
    assert read_back(from_json(to_json(session))) == read_back(session)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(TEXTS.filter(lambda key: key and "=" not in key and not key.startswith("\\@")), TEXTS, max_size=3),
    st.lists(TEXTS, max_size=3),
    st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2)),
)
def test_any_content_survives_storing(environment: dict[str, str], command: list[str], fragment: Any) -> None:
    document = {
        "name": "a",
        "version": "0.3.12",
        "services": [{"name": "s", "command": command, "environment": environment, "mrenclaves": [H]}],
        "secrets": [{"name": "f", "kind": "config-fragment", "value": fragment}],
    }
    session = examine(dump(document)).session
    assume(session is not None)
    assert session is not None
    for again in (from_json(to_json(session)), parse_session(read_back(session))):
        assert again == session
        assert session_hash(again) == session_hash(session)
        assert read_back(again) == read_back(session)


def test_a_large_session_is_read_in_reasonable_time() -> None:
    """No rule looks at every secret for every secret."""
    count = 4000
    chain = [f"- {{name: c{n}, kind: x509-ca, private_key: k, issuer: c{n + 1}}}\n" for n in range(count)]
    text = "name: a\nversion: 0.3.12\nsecrets:\n- {name: k, kind: private-key}\n" + "".join(chain)
    started = time.process_time()
    (finding,) = examine(text).findings
    assert finding.path == f"secrets[{count}].issuer"
    assert time.process_time() - started < 10


def test_models_made_by_our_own_code() -> None:
    """Rules and policies can be built without a text: lists are tuples then, and numbers are numbers."""
    rule = Rule(at_least=2, of=("CREATOR", Rule(of=("CREATOR",))))
    policy = AccessPolicy(read=("ANY",), update=(rule,))
    again = parse_session(
        "name: a\nversion: 0.3.12\n"
        "access_policy: {read: ANY, update: {require-at-least-2: [CREATOR, {require-all: [CREATOR]}]}}\n"
    )
    assert again.access_policy == policy
    assert (rule.needed, Rule(of=("CREATOR", "CREATOR")).needed) == (2, 2)
    assert policy.mentions_creator()
    assert again.mentions_creator()
    assert not AccessPolicy(read=("NONE",), update=("ANY",)).mentions_creator()
    assert AccessPolicy(read=("$$SCONE::x$$",), update=("ANY",)).mentions_creator()


def test_old_signers_become_keys() -> None:
    text = "name: a\nversion: 0.3.12\naccess_policy: {read: NONE, update: {}}\n"
    old = "LSSmKVKXFmGMCp44oCzYCzkA9ABW3RksPi5SVsxwZ4swEBHVSf"
    policies = [parse_session(text.replace("{}", form)).access_policy for form in (old, f"[{{signer: {old}}}]")]
    assert policies[0] == policies[1]
    assert isinstance(policies[0], AccessPolicy)
    (signer,) = policies[0].update
    assert isinstance(signer, Signer)
    assert signer.signer.startswith("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA")


def test_positions_inside_governance_rules() -> None:
    text = (
        "name: a\nversion: 0.3.12\naccess_policy:\n  update:\n    - CREATOR\n    - require-all:\n"
        "        - CREATOR\n        - require-at-least-1:\n            - nobody\n            - someone\n"
    )
    found = examine(text).findings
    assert [(finding.position.line, finding.path) for finding in found] == [
        (9, "access_policy.update[1].require-all[1].require-at-least-1[0]"),
        (10, "access_policy.update[1].require-all[1].require-at-least-1[1]"),
    ]


def test_a_variable_may_be_called_like_a_field() -> None:
    text = "name: a\nversion: 0.3.12\nservices:\n- name: a\n  mrenclaves: [" + H + "]\n  environment:\n    of: ~\n"
    assert [finding.path for finding in examine(text).findings if finding.severity == "error"] == [
        "services[0].environment.of"
    ]
