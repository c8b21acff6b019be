"""Sessions of 0.1 and 0.2 become sessions of 0.3 that mean the same, or it is said why they cannot."""

from __future__ import annotations

import pytest

from sconectl.errors import InvalidInput
from sconectl.policy.reading import Session, parse_session
from sconectl.policy.serialized.legacy import legacy_version, upgrade
from sconectl.text.yaml_tree import parse

H, G = "0a" * 32, "0b" * 32
CERTIFICATE_HASH = "9f" * 32


def upgraded(text: str) -> Session:
    done = upgrade(text, "old.yaml")
    assert [finding for finding in done.findings if finding.severity == "error"] == []
    return parse_session(done.text, file="new.yaml")


OLD = f"""\
name: shop
version: "0.2"
predecessor: {G}
services:
  - name: web
    image_name: web_image
    mrenclaves: [{H}]
    command: web --token $$SCONE::token.hex$$
    pwd: /
    environment: {{KEY: $$SCONE::tls.key$$, NOTE: $$SCONE::app.crt$$}}
images:
  - name: web_image
    injection_files:
      - /etc/plain
      - path: /tls/crt
        content: $$SCONE::tls.crt$$
      - path: /tls/all
        content: "# all\\n$$SCONE::tls.chain$$ and $$SCONE::foreign.chain$$"
volumes:
  - {{name: own, export: partner}}
  - {{name: theirs, import: "partner:{G}"}}
secrets:
  - {{name: token, kind: binary, size: 16, export: [a, "b:{G}"]}}
  - {{name: tls, kind: x509, export: a, export_public: true}}
  - {{name: ca, kind: session-ca, export: a}}
  - {{name: other_ca, kind: x509-ca}}
  - {{name: foreign, kind: x509, import: partner}}
  - {{name: app.crt, kind: ascii}}
"""


def test_everything_of_0_2_has_a_counterpart() -> None:
    session = upgraded(OLD)
    assert (session.name, session.version, session.predecessor) == ("shop", "0.3.7", G)
    service = session.services[0]
    assert service.measurements == (H,)
    assert service.command == ("web", "--token", "$$SCONE::token:hex$$")
    assert service.environment == {"KEY": "$$SCONE::tls:privatekey$$", "NOTE": "$$SCONE::app.crt$$"}
    contents = [file.content for file in session.images[0].injection_files]
    assert contents == [
        None,
        "$$SCONE::tls:crt$$",
        "# all\n$$SCONE::tls:crt$$$$SCONE::tls:chain$$ and $$SCONE::foreign:crt$$$$SCONE::foreign:chain$$",
    ]


def test_references_become_mappings() -> None:
    session = upgraded(OLD)
    token = session.secret("token")
    assert token is not None
    assert [(export.session, export.session_hash) for export in token.export] == [("a", None), ("b", G)]
    foreign = session.secret("foreign")
    assert foreign is not None and foreign.import_ is not None
    assert (foreign.import_.session, foreign.import_.secret, foreign.private_key) == ("partner", "foreign", None)
    own, theirs = session.volumes
    assert own.export[0].session == "partner"
    assert theirs.import_ is not None
    assert (theirs.import_.session, theirs.import_.volume, theirs.import_.session_hash) == ("partner", "theirs", G)


def test_certificates_get_keys_of_their_own_and_the_ca_of_the_session() -> None:
    session = upgraded(OLD)
    tls, authority, other = (session.secret(name) for name in ("tls", "ca", "other_ca"))
    assert tls is not None and authority is not None and other is not None
    assert (tls.kind, tls.private_key, tls.issuer, tls.export_public) == ("x509", "tls_key", "ca", True)
    assert (authority.kind, authority.private_key, authority.issuer) == ("x509-ca", "ca_key", None)
    assert (other.kind, other.private_key, other.issuer) == ("x509-ca", "other_ca_key", None)
    keys = {secret.name: secret for secret in session.secrets if secret.kind == "private-key"}
    assert set(keys) == {"tls_key", "ca_key", "other_ca_key"}
    assert [export.session for export in keys["tls_key"].export] == ["a"]
    assert keys["ca_key"].export == ()
    assert not any(key.export_public for key in keys.values())


def test_a_session_ca_that_nobody_declared() -> None:
    text = "name: a\nversion: 0.2\nsecrets: [{name: c, kind: x509}, {name: c_key, kind: ascii}]\n"
    session = upgraded(text)
    certificate = session.secret("c")
    assert certificate is not None and (certificate.private_key, certificate.issuer) == ("c_key_2", "session_ca")
    authority = session.secret("session_ca")
    assert authority is not None and (authority.kind, authority.private_key) == ("x509-ca", "session_ca_key")


def test_no_ca_without_certificates() -> None:
    assert [
        secret.name for secret in upgraded("name: a\nversion: 0.2\nsecrets: [{name: s, kind: ascii}]\n").secrets
    ] == ["s"]


@pytest.mark.parametrize(
    ("line", "predecessor"), [("digest: create", None), (f"digest: {G}", G), ("digest: ~", None), ("", None)]
)
def test_digest(line: str, predecessor: str | None) -> None:
    assert upgraded(f"name: a\n{line}\n").predecessor == predecessor


def test_0_1_names_enclaves_with_the_image() -> None:
    session = upgraded(
        f"name: a\ndigest: create\nservices: [{{name: s, image_name: i, command: s, pwd: /, tags: [x]}}]\n"
        f"images: [{{name: i, mrenclaves: [{H}], tags: [x]}}]\nboard_members: []\nboard_policy: {{minimum: 0}}\n"
    )
    assert session.services[0].measurements == (H,)


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        (f"access_policy: {{read: [CREATOR, {CERTIFICATE_HASH}]}}", "access_policy.read[1]", "show-key-hash"),
        (f"access_policy: {{update: {CERTIFICATE_HASH}}}", "access_policy.update", "show-key-hash"),
        ("board_members: [x]", "board_members", "require-at-least-N"),
        ("exports: [x]", "exports", "export: [{session: NAME}]"),
        ("services: [{name: s, import: [x]}]", "services[0].import", "import: {session: NAME"),
        ("secrets: [{name: a, kind: session-ca}, {name: b, kind: session-ca}]", "secrets[1]", "use a in its place"),
        ("services: [{name: s, command: a $$SCONE::x}]", "services[0].command", ""),
    ],
)
def test_what_cannot_be_expressed_says_what_to_do(body: str, path: str, words: str) -> None:
    findings = upgrade(f"name: a\nversion: 0.2\n{body}\n", "old.yaml").findings
    errors = [finding for finding in findings if finding.severity == "error"]
    assert [finding.path for finding in errors] == [path]
    assert words in errors[0].hint
    assert errors[0].position.line == 3


def test_what_to_look_at_is_a_warning_at_its_place() -> None:
    findings = upgrade(OLD, "old.yaml").findings
    assert {finding.severity for finding in findings} == {"warning"}
    assert [(finding.path, finding.position.line) for finding in findings if "chain" in finding.message] == [
        ("images[0].injection_files[2].content", 18),
        ("images[0].injection_files[2].content", 18),
    ]
    assert ["tls_key" in finding.message for finding in findings if finding.path == "secrets[1]"] == [True]


@pytest.mark.parametrize("section", ["services", "images", "volumes", "secrets"])
@pytest.mark.parametrize("content", ["5", "[5]", "{a: b}"])
def test_malformed_sections_stay_for_the_check_to_find(section: str, content: str) -> None:
    done = upgrade(f"name: a\nversion: 0.2\n{section}: {content}\nunknown: x\n")
    with pytest.raises(InvalidInput) as caught:
        parse_session(done.text)
    assert {section, "unknown"} <= {finding.path.partition("[")[0] for finding in caught.value.findings}


@pytest.mark.parametrize("text", ["[]", "5", "a: [", "a: 1\na: 2\n"])
def test_what_is_no_session(text: str) -> None:
    if text in ("[]", "5"):
        assert upgrade(text).text == text
    else:
        with pytest.raises(InvalidInput):
            upgrade(text)


def test_sessions_of_0_3_stay_as_they_are() -> None:
    text = "# a comment\nname: a\nversion: 0.3\n"
    assert upgrade(text).text == text == upgrade(text.encode()).text
    assert upgrade(text).findings == ()


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("name: a", "0.1"),
        ("version: ~", "0.1"),
        ("version: 0.2", "0.2"),
        ("version: 0.3", None),
        ("version: [0.2]", None),
        ("[]", None),
    ],
)
def test_which_versions_are_old(text: str, version: str | None) -> None:
    assert legacy_version(parse(text, "x")) == version


def test_explicit_values_are_not_shown() -> None:
    done = upgrade("name: a\nversion: 0.2\nsecrets: [{name: s, kind: ascii, value: hunter2}]\n")
    assert "hunter2" in done.text
    assert "hunter2" not in repr(done)
