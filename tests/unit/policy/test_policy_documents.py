"""The valid and invalid documents of the language specification, and what this version says about each."""

from __future__ import annotations

from pathlib import Path

import pytest

from sconectl.errors import InvalidInput
from sconectl.policy.model import examine, parse_session
from sconectl.policy.violation import LATER, code_of

H, T = "0a" * 32, "0b" * 16
ATTESTED = f"attestation: {{mrenclave: {H}}}"
KEY = "secrets: [{name: k, kind: private-key}, "
PUB = '{signer: "-----BEGIN PUBLIC KEY-----\\nMCow\\n-----END PUBLIC KEY-----"}'
CAS_KEY = "2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3"

# id, body, the rule that this version names (LATER where the document is about something it does not have)
INVALID = [
    ("I01", '{version: "0.3.12"}', "N1"),
    ("I02", 'name: "my session"', "N2"),
    ("I03", f"name: {'a' * 129}", "N3"),
    ("I04", 'version: "0.4"', "V1"),
    ("I05", "predecessor: deadbeef", "H1"),
    ("I06", f"predecessor: {H}\nnamespace_hash: {H}", LATER),
    ("I07", "salt: fa9af3", LATER),
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
    ("I16", f"services: [{{name: a, attestation: {{signer: {{mrsigner: {H}}}}}}}]", LATER),
    (
        "I17",
        f"services: [{{name: a, attestation: {{signer: {{mrsigner: {H}, isvprodid: 1, isvsvn: 4, isvsvn_min: 2}}}}}}]",
        LATER,
    ),
    ("I18", f"services: [{{name: a, platforms: [{T}], {ATTESTED}}}]", LATER),
    ("I19", f'services: [{{name: a, command: "a @@1 @@1", {ATTESTED}}}]', "S7"),
    ("I20", "secrets: [{name: x, kind: password}]", "K1"),
    ("I21", "secrets: [{name: x, kind: binary, value: XYZ}]", "K2"),
    ("I22", "secrets: [{name: x, kind: private-key, key_type: P-521}]", LATER),
    ("I23", "secrets: [{name: x, kind: x509}]", LATER),
    ("I24", KEY + "{name: c, kind: x509, private_key: k}, {name: d, kind: x509, private_key: k, issuer: c}]", LATER),
    ("I25", KEY + "{name: c, kind: x509-ca, private_key: k, endpoint: server}]", LATER),
    ("I26", KEY + "{name: c, kind: x509, private_key: k, endpoint: client, dns: a.test}]", LATER),
    ("I27", KEY + "{name: c, kind: x509, private_key: k, san: [a.test]}]", LATER),
    ("I28", "secrets: [{name: x, kind: aad-token, tenant_id: t, client_id: c}]", LATER),
    ("I29", "secrets: [{name: x, kind: config-fragment}]", LATER),
    (
        "I30",
        KEY + '{name: j, kind: jwt, signer: k, alg: ES384, validity: {for: 1h}, payload: {exp: "1"}}]',
        LATER,
    ),
    ("I31", "secrets: [{name: x, import: {session: a, secret: b}, import_akv: {vault: v.vault.azure.net}}]", LATER),
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
        LATER,
    ),
    ("I36", f"volumes: [{{name: v, fspf_key: {H}, fspf_tag: {T}, import: {{session: a, volume: w}}}}]", LATER),
    ("I37", "access_policy: {update: [ANY, CREATOR]}", "G1"),
    ("I38", f"access_policy: {{read: [{PUB}]}}", "G2"),
    ("I39", "security: {attestation: {mode: maa, tolerate: [maa-managed-tcb]}}", LATER),
    ("I40", f"access_policy: {{list_sessions: {{require-all: [{PUB}]}}}}", "G3"),
    ("double slash", "name: a//b", "N4"),
    ("leading slash", "name: /a", "N4"),
    ("dot segment", "name: a/../b", "N4"),
    ("root", "name: /", LATER),
    ("old language", 'version: "0.2"', LATER),
    ("advisory without category", "security: {attestation: {ignore_advisories: [INTEL-SA-00270]}}", "C4"),
    ("unknown toleration", "security: {attestation: {tolerate: [debug]}}", "C3"),
    ("unknown mode", "security: {attestation: {mode: soft}}", "C1"),
    ("relative short form", 'secrets: [{name: x, kind: ascii, export: ["/session=../x"]}]', "X3"),
    ("export above root", "secrets: [{name: x, kind: ascii, export: {session: ../../x}}]", "N4"),
    ("export to both", "secrets: [{name: x, kind: ascii, export: {session: a, namespace: b}}]", "X5"),
    ("export elsewhere", f'secrets: [{{name: x, kind: ascii, export: ["c.net/cas_key={CAS_KEY},session=a"]}}]', LATER),
    ("pinned export", f"secrets: [{{name: x, kind: ascii, export: {{session: a, session_hash: {H}}}}}]", LATER),
    ("pinned import", f"secrets: [{{name: x, import: {{session: a, secret: b, session_hash: {H}}}}}]", LATER),
    ("import of nothing", "secrets: [{name: x, import: {session: a}}]", "X5"),
    ("import and value", "secrets: [{name: x, kind: ascii, value: v, import: {session: a, secret: b}}]", "K15"),
    ("import passed on", "secrets: [{name: x, import: {session: a, secret: b}, export: {session: c}}]", LATER),
    ("import made public", "secrets: [{name: x, import: {session: a, secret: b}, export_public: true}]", LATER),
    ("no kind", "secrets: [{name: x}]", "K1"),
    ("half a byte", "secrets: [{name: x, kind: binary, value: abc}]", "K2"),
    ("no principal", "access_policy: {update: [EVERYONE]}", "G5"),
    ("certificate hash", f"access_policy: {{update: [{H}]}}", "G5"),
    ("nobody at all", "access_policy: {update: []}", "G5"),
    ("governed update", f"access_policy: {{update: {{require-all: [{PUB}]}}}}", LATER),
    ("delegated update", "access_policy: {update: $$SCONE::rule$$}", LATER),
    ("delegated security", "security: $$SCONE::rule$$", LATER),
    ("twice the secret", "secrets: [{name: x, kind: ascii}, {name: x, kind: ascii}]", "D2"),
    ("twice the service", f"services: [{{name: a, {ATTESTED}}}, {{name: a, {ATTESTED}}}]", "D2"),
    ("twice the file", "images: [{name: i, injection_files: [{path: /a, content: x}, {path: /a, content: y}]}]", "D2"),
    ("unknown key", "servcies: []", "D3"),
    ("unknown service key", f"services: [{{name: a, enviroment: {{}}, {ATTESTED}}}]", "D3"),
    ("a list", "services: {}", "D1"),
    ("file without content", "images: [{name: i, injection_files: [/etc/a]}]", LATER),
    ("climbing file", "images: [{name: i, injection_files: [{path: /a/../../b, content: x}]}]", "S2"),
    ("decimal permission", "images: [{name: i, injection_files: [{path: /a, content: x, permission: 256}]}]", "D1"),
    ("volume in image", "images: [{name: i, volumes: [{name: v, path: /v}]}]", LATER),
    ("restricted image", "images: [{name: i, provide_secrets: [x]}]", LATER),
    ("two attestations", f"services: [{{name: a, mrenclaves: [{H}], {ATTESTED}}}]", "A1"),
    ("empty measurements", "services: [{name: a, attestation: {mrenclave: []}}]", "A1"),
    ("empty variant", "services: [{name: a, attestation: [{}]}]", "A1"),
    ("key without tag", f"services: [{{name: a, fspf_path: /f, fspf_key: {H}, {ATTESTED}}}]", "S6"),
    ("path without key", f"services: [{{name: a, fspf_path: /f, {ATTESTED}}}]", "S6"),
    ("tag without path", f"services: [{{name: a, fspf_tag: {T}, {ATTESTED}}}]", "S6"),
    (
        "key of the wrong size",
        f"services: [{{name: a, fspf_path: /f, fspf_key: $$SCONE::k$$, fspf_tag: {T}, {ATTESTED}}}]\n"
        "secrets: [{name: k, kind: binary, size: 16}]",
        "S5",
    ),
    (
        "raw bytes in the environment",
        f"services: [{{name: a, environment: {{A: $$SCONE::k$$}}, {ATTESTED}}}]\nsecrets: [{{name: k, kind: binary}}]",
        "P3",
    ),
    ("open placeholder", f'services: [{{name: a, command: "a $$SCONE::x", {ATTESTED}}}]', "P1"),
    ("host argument", f'services: [{{name: a, command: "a @@1", {ATTESTED}}}]', LATER),
    ("host variable", f"services: [{{name: a, environment: {{\\@\\@A: x}}, {ATTESTED}}}]", LATER),
    ("open quote", f"services: [{{name: a, command: 'a \"b', {ATTESTED}}}]", "S2"),
    ("null variable", f"services: [{{name: a, environment: {{A: ~}}, {ATTESTED}}}]", "D1"),
    ("singleton", "security: {singleton_enclaves: true}", LATER),
    ("one-time password", "security: {attestation: {one_time_password_shared_secret: ABC}}", LATER),
    ("signing creator", f"creator: {PUB}", LATER),
    ("vault", "secret_config: {store_in: !akv {vault: x}}", LATER),
    ("no size", "secrets: [{name: x, kind: ascii, size: 0}]", "D1"),
    ("huge size", "secrets: [{name: x, kind: ascii, size: 999999999}]", "D1"),
    ("yes", "secrets: [{name: x, kind: ascii, export_public: yes}]", "D1"),
    ("secret name", 'secrets: [{name: "a:b", kind: ascii}]', "D2"),
]  # fmt: skip


def document(body: str) -> str:
    if body.startswith("{"):
        return body
    head = "" if body.startswith("name:") else "name: s\n"
    head += "" if body.startswith("version:") else 'version: "0.3.12"\n'
    return head + body


@pytest.mark.parametrize(("body", "rule"), [row[1:] for row in INVALID], ids=[row[0] for row in INVALID])
def test_invalid_documents_are_refused(body: str, rule: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_session(document(body), file="s.yaml")
    codes = {finding.code for finding in caught.value.findings}
    assert code_of(rule) in codes, [str(finding) for finding in caught.value.findings]
    assert codes <= {code_of(rule), code_of(LATER)}
    for finding in caught.value.findings:
        assert finding.position.file == "s.yaml"
        assert finding.message


def test_codes_of_rules_are_unique() -> None:
    spans = {"D": 3, "N": 4, "V": 1, "H": 3, "S": 7, "A": 6, "K": 15, "P": 3, "X": 5, "W": 4, "G": 5, "C": 6, "E": 1}
    codes = [code_of(f"{letter}{number}") for letter, last in spans.items() for number in range(1, last + 1)]
    assert len({*codes, code_of(LATER)}) == len(codes) + 1


VALID = sorted((Path(__file__).parent / "valid").glob("V*.yaml"))


@pytest.mark.parametrize("path", VALID, ids=[path.stem for path in VALID])
def test_valid_documents_break_no_rule(path: Path) -> None:
    """All twelve use something that comes later; they must be refused for this alone."""
    examined = examine(path.read_bytes(), file=path.name)
    errors = [finding for finding in examined.findings if finding.severity == "error"]
    assert examined.session is None
    assert errors
    assert {finding.code for finding in errors} == {code_of(LATER)}, [str(finding) for finding in errors]


def test_all_twelve_documents_are_there() -> None:
    assert len(VALID) == 12
