"""The valid and invalid documents of the language specification, and what is wrong with the invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from sconectl.errors import InvalidInput
from sconectl.policy.forms.violation import code_of
from sconectl.policy.reading import examine, parse_session
from sconectl.policy.serialized.canonical import from_json, read_back, session_hash, to_json

H, T = "0a" * 32, "0b" * 16
ATTESTED = f"attestation: {{mrenclave: {H}}}"
KEY = "secrets: [{name: k, kind: private-key}, "
PUB = '{signer: "-----BEGIN PUBLIC KEY-----\\nMCow\\n-----END PUBLIC KEY-----"}'
CAS_KEY = "2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3"

# LANG §24: id, body, the broken rule
INVALID = [
    ("I01", '{version: "0.3.12"}', "N1"),
    ("I02", 'name: "my session"', "N2"),
    ("I03", f"name: {'a' * 129}", "N3"),
    ("I04", 'version: "0.4"', "V1"),
    ("I05", "predecessor: deadbeef", "H1"),
    ("I06", f"predecessor: {H}\nnamespace_hash: {H}", "H2"),
    ("I07", "salt: fa9af3", "H3"),
    ("I08", f"services: [{{command: a, {ATTESTED}}}]", "S1"),
    ("I09", f'services: [{{name: a, environment: {{"A=B": x}}, {ATTESTED}}}]', "S3"),
    ("I10", f'services: [{{name: a, command: ["a", "x\\0y"], {ATTESTED}}}]', "S2"),
    ("I11", f"services: [{{name: a, image_name: ghost, {ATTESTED}}}]", "S4"),
    ("I12", f"services: [{{name: a, fspf_path: /f, fspf_key: {H}, fspf_tag: {H}, {ATTESTED}}}]", "S5"),
    (
        "I13",
        f"services: [{{name: a, fspf_path: /f, fspf_key: {H}, fspf_tag: {T}, fspf_update_policy: ephemeral,"
        f" {ATTESTED}}}]",
        "S5",
    ),
    ("I14", "services: [{name: a, command: a, pwd: /}]", "A1"),
    ("I15", f"services: [{{name: a, attestation: {{mrenclave: {H[2:]}}}}}]", "A2"),
    ("I16", f"services: [{{name: a, attestation: {{signer: {{mrsigner: {H}}}}}}}]", "A3"),
    (
        "I17",
        f"services: [{{name: a, attestation: {{signer: {{mrsigner: {H}, isvprodid: 1, isvsvn: 4, isvsvn_min: 2}}}}}}]",
        "A4",
    ),
    ("I18", f"services: [{{name: a, platforms: [{T}], {ATTESTED}}}]", "A6"),
    ("I19", f'services: [{{name: a, command: "a @@1 @@1", {ATTESTED}}}]', "S7"),
    ("I20", "secrets: [{name: x, kind: password}]", "K1"),
    ("I21", "secrets: [{name: x, kind: binary, value: XYZ}]", "K2"),
    ("I22", "secrets: [{name: x, kind: private-key, key_type: P-521}]", "K3"),
    ("I23", "secrets: [{name: x, kind: x509}]", "K4"),
    ("I24", KEY + "{name: c, kind: x509, private_key: k}, {name: d, kind: x509, private_key: k, issuer: c}]", "K5"),
    ("I25", KEY + "{name: c, kind: x509-ca, private_key: k, endpoint: server}]", "K6"),
    ("I26", KEY + "{name: c, kind: x509, private_key: k, endpoint: client, dns: a.test}]", "K7"),
    ("I27", KEY + "{name: c, kind: x509, private_key: k, san: [a.test]}]", "K8"),
    ("I28", "secrets: [{name: x, kind: aad-token, tenant_id: t, client_id: c}]", "K9"),
    ("I29", "secrets: [{name: x, kind: config-fragment}]", "K10"),
    (
        "I30",
        KEY + '{name: j, kind: jwt, signer: k, alg: ES384, validity: {for: 1h}, payload: {exp: "1"}}]',
        "K12",
    ),
    ("I31", "secrets: [{name: t, kind: aad-token, tenant_id: t, client_id: c, application_secret: p}, "
        "{name: x, import: {session: a, secret: b}, import_akv: {vault: v.vault.azure.net}}]", "K13"),
    ("I32", f'services: [{{name: a, command: "a $$SCONE::nope$$", {ATTESTED}}}]', "P1"),
    (
        "I33",
        f'services: [{{name: a, command: "a $$SCONE::x:hex$$", {ATTESTED}}}]\nsecrets: [{{name: x, kind: ascii}}]',
        "P2",
    ),
    ("I34", f"secrets: [{{name: x, kind: ascii, export: [{{namespace: a, session_hash: {H}}}]}}]", "X1"),
    (
        "I35",
        f"volumes: [{{name: v, export: [{{cas_url: c.example.net, cas_key: {CAS_KEY}, session: a}}]}}]",
        "X2",
    ),
    ("I36", f"volumes: [{{name: v, fspf_key: {H}, fspf_tag: {T}, import: {{session: a, volume: w}}}}]", "W1"),
    ("I37", "access_policy: {update: [ANY, CREATOR]}", "G1"),
    ("I38", f"access_policy: {{read: [{PUB}]}}", "G2"),
    ("I39", "security: {attestation: {mode: maa, tolerate: [maa-managed-tcb]}}", "C1"),
    ("I40", f"access_policy: {{list_sessions: {{require-all: [{PUB}]}}}}", "G3"),
]  # fmt: skip

TOKENS = "{name: t, kind: aad-token, tenant_id: t, client_id: c, application_secret: p}"
# LANG §24, the last paragraph
MORE = [
    ("double slash", "name: a//b", "N4"),
    ("maa without its tcb", "security: {attestation: {mode: maa, url: 'https://a.b.attest.azure.net'}}", "C2"),
    ("advisory without category", "security: {attestation: {ignore_advisories: [INTEL-SA-00270], tolerate: []}}", "C4"),
    ("short shared secret", "security: {attestation: {one_time_password_shared_secret: ABC}}", "C6"),
    ("relative short form", 'secrets: [{name: x, kind: ascii, export: ["/session=../x"]}]', "X3"),
    ("terms without to", "volumes: [{name: v, export: {session: a, update_policy: ephemeral}}]", "W3"),
    ("undeclared volume", "images: [{name: i, volumes: [{name: v, path: /v}]}]", "W4"),
    ("three of two", "access_policy: {update: {require-at-least-3: [CREATOR, CREATOR]}}", "G4"),
    ("no principal", "access_policy: {update: [EVERYONE]}", "G5"),
    ("given pgp-key", "secrets: [{name: x, kind: pgp-key, value: v}]", "K11"),
    ("vault without tag", "secret_config: {store_in: akv}", "E1"),
    (
        "which token",
        f"secrets: [{TOKENS}, {TOKENS.replace('name: t', 'name: u')}, {{name: x, import_akv: {{vault: v}}}}]",
        "K14",
    ),
]  # fmt: skip

# What earlier versions refused for want of enforcement
ACCEPTED = [
    "name: /",
    f"namespace_hash: {H}",
    f"salt: {T}",
    f"services: [{{name: a, platforms: ['INTEL_QE_ID:{T}'], {ATTESTED}}}]",
    f"services: [{{name: a, command: 'a @@2 @@1', environment: {{\\@\\@A: x}}, {ATTESTED}}}]",
    f"services: [{{name: a, attestation: {{signer: {{mrsigner: {H}, isvprodid: 1, isvsvn_min: 2, isvsvn_max: 2}}}}}}]",
    "secrets: [{name: k, kind: private-key, key_type: RSA-3072, migrate: true}]",
    "secrets: [{name: x, import: {session: a, secret: b}, export: {session: c}, export_public: true}]",
    "secrets: [{name: x, import: {session: a, secret: b}, common_name: web, private_key: ghost, issuer: ghost}]",
    f"secrets: [{{name: x, import: '/session=a,secret=b,session_hash={H}'}}]",
    f"secrets: [{{name: x, kind: ascii, export: 'c.net:8081/cas_key={CAS_KEY},session=a'}}]",
    "secrets: [{name: i, import: {session: a, secret: b}}, {name: x, kind: x509, private_key: i, issuer: i}]",
    f"secrets: [{TOKENS}, {{name: x, import_akv: {{vault: v}}}}]",
    "images: [{name: i, injection_files: [/etc/a, {path: /etc/b, permission: 0400}], provide_secrets: []}]",
    "access_policy: {update: $$SCONE::nobody$$}",
    "access_policy: {update: [{require-all: [CREATOR, {require-at-least-1: [CREATOR]}]}, CREATOR]}",
    "security: {singleton_enclaves: true, service_access_token: token}",
    "secret_config: {store_in: !cas }",
    "security: $$SCONE::s$$\nservices: [{name: a}]\nsecrets: [{name: s, import: {session: a, secret: b}}]",
    'security: {attestation: {mode: maa, tolerate: $$SCONE::s$$, url: "https://a.b.attest.azure.net"}}\n'
    "secrets: [{name: s, import: {session: a, secret: b}}]",
    "images: [{name: i, injection_files: [{path: /a, content: $$SCONE::untyped:crt:der$$}]}]\n"
    "secrets: [{name: untyped, import: {session: a, secret: b}}]",
]


def document(body: str) -> str:
    if body.startswith("{"):
        return body
    head = "" if body.startswith("name:") else "name: s\n"
    head += "" if body.startswith("version:") else 'version: "0.3.12"\n'
    return head + body


ALL_INVALID = [*INVALID, *MORE]


@pytest.mark.parametrize(("body", "rule"), [row[1:] for row in ALL_INVALID], ids=[row[0] for row in ALL_INVALID])
def test_invalid_documents_are_refused(body: str, rule: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_session(document(body), file="s.yaml")
    assert {finding.code for finding in caught.value.findings} == {code_of(rule)}, caught.value.findings
    for finding in caught.value.findings:
        assert finding.position.file == "s.yaml"
        assert finding.message


@pytest.mark.parametrize("body", ACCEPTED)
def test_all_of_the_language_is_accepted(body: str) -> None:
    session = parse_session(document(body))
    text = read_back(session)
    assert parse_session(text) == session == from_json(to_json(session))
    assert session_hash(parse_session(text)) == session_hash(session)


VALID = sorted((Path(__file__).parent / "valid").glob("V*.yaml"))


@pytest.mark.parametrize("path", VALID, ids=[path.stem for path in VALID])
def test_valid_documents_break_no_rule(path: Path) -> None:
    examined = examine(path.read_bytes(), file=path.name)
    assert [str(finding) for finding in examined.findings if finding.severity == "error"] == []
    session = examined.session
    assert session is not None
    assert parse_session(read_back(session)) == session == from_json(to_json(session))


def test_all_documents_of_the_specification_are_there() -> None:
    assert len(VALID) == 12
    assert [row[0] for row in INVALID] == [f"I{number:02}" for number in range(1, 41)]


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_legacy_documents_are_told_how_to_be_upgraded(version: str) -> None:
    (finding,) = examine(f"name: s\nversion: {version}\ndigest: create\nexports: []\n").findings
    assert finding.code == code_of("V1")
    assert "sconectl session upgrade FILE" in finding.hint


def test_a_document_without_version_is_told_so_too() -> None:
    (finding,) = examine("name: s\n").findings
    assert finding.code == code_of("V1")
    assert "sconectl session upgrade FILE" in finding.hint
