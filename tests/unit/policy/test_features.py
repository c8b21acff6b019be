"""Every feature of the language is known with the version that it came with."""

from __future__ import annotations

from pathlib import Path

import pytest

from sconectl.policy.forms.violation import code_of
from sconectl.policy.reading import examine, parse_session
from sconectl.policy.serialized.features import features_of, lowest_version
from sconectl.text.yaml_tree import parse

H, T = "0a" * 32, "0b" * 16
VALID = Path(__file__).parent / "valid"
KEY = "{name: k, kind: private-key}"
PUB = "MCowBQYDK2VwAyEAVqEDFnJozBIhmsg2oFxHllme3fJxb22Hlmqu9pKTLkc="
SIGNER = f'{{signer: "-----BEGIN PUBLIC KEY-----\\n{PUB}\\n-----END PUBLIC KEY-----\\n"}}'
CAS_KEY = "2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3"


def service(body: str) -> str:
    return f"services: [{{name: a, {body}, mrenclaves: [{H}]}}]\nsecrets: [{{name: s, kind: binary, size: 32}}, {KEY}]"


def secret(body: str) -> str:
    return f"secrets: [{{name: s, {body}}}, {KEY}]"


def security(body: str) -> str:
    return f"security: {{attestation: {{{body}}}}}"


# since, what the document says besides name and version
USES = [
    (0, "secrets: [{name: s, kind: ascii, export: {session: b}}]"),
    (0, f"secrets: [{{name: s, kind: ascii, export: {{cas_url: c, cas_key: {CAS_KEY}, session: b}}}}]"),
    (0, f"{secret('kind: x509, private_key: k, dns: a.test, endpoint: server, valid_for: 1 year')}"),
    (0, service("command: a $$SCONE::s.hex$$, environment: {A: b}, pwd: /")),
    (0, "access_policy: {read: [ANY], update: [CREATOR]}"),
    (0, f'services: [{{name: a, platforms: ["INTEL_QE_ID:{T}"], mrenclaves: [{H}]}}]'),
    (1, "security: {attestation: {mode: none}}"),
    (1, service("command: [a, b]")),
    (2, "volumes: [{name: v, export: [{to: {session: b}, update_policy: ephemeral}]}]"),
    (2, "volumes: [{name: v}]\nimages: [{name: i, volumes: [{name: v, path: /v, update_policy: ephemeral}]}]"),
    (4, secret("kind: private-key, key_type: Ed25519")),
    (5, "name: a/b"),
    (5, "secrets: [{name: s, kind: ascii, export: {session: b/c}}]"),
    (5, "access_policy: {create_sessions: [ANY]}"),
    (5, service("command: a $$SCONE::s:hex$$")),
    (6, service("command: a $$SCONE::s:base64$$")),
    (6, "secrets: [{name: s, kind: ascii, export: {namespace: b}}]"),
    (7, f"services: [{{name: a, attestation: {{mrenclave: {H}}}}}]"),
    (7, service(f"fspf_path: /f, fspf_key: $$SCONE::s$$, fspf_tag: {T}")),
    (7, secret("kind: private-key, key_type: RSA-2048")),
    (7, secret("kind: private-key, migrate: true")),
    (7, secret("kind: aad-token, tenant_id: t, client_id: c, application_secret: x")),
    (7, "secrets: [{name: t, kind: aad-token, tenant_id: t, client_id: c, application_secret: x},"
        " {name: s, import_akv: {vault: v}}]"),
    (7, security("mode: maa, url: https://a.test, tolerate: [maa-managed-tcb]")),
    (8, security("one_time_password_shared_secret: JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")),
    (8, service("command: 'a @@1'")),
    (8, service("environment: {\\@\\@NAME: x}")),
    (9, "security: {singleton_enclaves: true}"),
    (9, "security: {service_access_token: x}"),
    (9, f"images: [{{name: i, injection_files: [{{path: /c, content: $$SCONE::c:pkcs12-with-private-key$$}}]}}]\n"
        f"secrets: [{KEY}, {{name: c, kind: x509, private_key: k}}]"),
    (10, "secrets: [{name: s, kind: ascii, export: {session: ./b}}]"),
    (10, "volumes: [{name: v, export: [{to: {session: b}, volume_alias: w}]}]"),
    (10, service("command: a $$SCONE::s:base32nopad$$")),
    (10, service("command: a $$SCONE::s:hex|escape(json)$$")),
    (10, service("platforms: [$$SCONE::s$$]").replace("binary, size: 32", "ascii")),
    (10, "access_policy: $$SCONE::s$$\nsecrets: [{name: s, kind: config-fragment, value: {read: [ANY]}}]"),
    (10, secret("kind: config-fragment, value: x")),
    (10, secret("kind: pgp-key")),
    (10, f"access_policy: {{update: [{SIGNER}]}}"),
    (10, f"access_policy: {{update: {{require-all: [{SIGNER}]}}}}"),
    (10, "secret_config: {store_in: !cas }"),
    (10, "images: [{name: i, injection_files: [{path: /c, content: x, permission: 0o400}]}]"),
    (10, secret('kind: x509, private_key: k, san: "dns:a.test"')),
    (10, service("one_time_password_shared_secret: JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")),
    (11, "name: /\npredecessor: " + H),
    (11, f"namespace_hash: {H}"),
    (11, secret("kind: public-key, private_key: k")),
    (11, service(f"fspf_path: /f, fspf_key: {H}, fspf_tag: {T}, fspf_update_policy: no_rollback_protection")),
    (11, security("tolerate: [local-attestation-trust-cas-tcb]")),
    (11, "secrets: [{name: s, kind: ascii}]\nimages: [{name: i, provide_secrets: [s]}]"),
    (11, "volumes: [{name: v, files: authenticated-only}]"),
    (12, f"salt: {T}"),
    (12, "access_policy: {list_sessions: [ANY]}"),
    (12, "secrets: [{name: k, kind: private-key, key_type: P-384},"
         " {name: j, kind: jwt, signer: k, alg: ES384, validity: {for: 1h}, payload: {}}]"),
]  # fmt: skip


def document(body: str, version: str) -> str:
    head = "" if body.startswith("name:") else "name: a\n"
    return f'{head}version: "{version}"\n{body}\n'


@pytest.mark.parametrize(("since", "body"), USES, ids=[f"{since}-{body[:40]}" for since, body in USES])
def test_the_version_that_a_feature_came_with(since: int, body: str) -> None:
    text = document(body, f"0.3.{since}")
    fitting = examine(text)
    assert fitting.session is not None, fitting.findings
    assert [finding for finding in fitting.findings if finding.code == code_of("V2")] == []
    tree = parse(text, "x", tags={"!cas": "empty"}).value
    assert isinstance(tree, dict)
    assert lowest_version(tree) == (f"0.3.{since}" if since else "0.3")
    if since > 1:
        older = examine(document(body, f"0.3.{since - 1}"))
        found = [finding for finding in older.findings if finding.code == code_of("V2")]
        assert found
        assert older.session is not None
        assert all(finding.severity == "warning" and f"0.3.{since}" in finding.hint for finding in found)


def test_a_warning_stands_where_the_feature_is_used_first() -> None:
    text = 'name: a\nversion: "0.3.4"\nservices:\n  - {name: a, mrenclaves: [%s], command: a $$SCONE::s:hex$$}\n'
    text += "secrets: [{name: s, kind: binary}]\n"
    findings = [finding for finding in examine(text % H, file="f").findings if finding.code == code_of("V2")]
    assert [str(finding) for finding in findings] == [
        "f:4:104: warning SC3022: services[0].command: the format :hex: since version 0.3.5,"
        ' but the session declares 0.3.4\n    hint: write version: "0.3.5" or higher'
    ]


def test_each_feature_is_named_once() -> None:
    many = "".join(f"  - {{name: s{number}, kind: pgp-key}}\n" for number in range(5))
    found = examine(f'name: a\nversion: "0.3"\nsecrets:\n{many}').findings
    assert [finding.path for finding in found] == ["secrets[0].kind"]


@pytest.mark.parametrize(
    ("name", "version"),
    [("V01", "0.3.12"), ("V02", "0.3.11"), ("V03", "0.3.9"), ("V04", "0.3.7"), ("V05", "0.3.12"), ("V11", "0.3.10")],
)
def test_the_lowest_version_of_a_session(name: str, version: str) -> None:
    assert lowest_version(parse_session((VALID / f"{name}.yaml").read_text())) == version


def test_the_valid_documents_declare_what_they_use() -> None:
    for file in sorted(VALID.glob("*.yaml")):
        assert [f for f in examine(file.read_text()).findings if f.code == code_of("V2")] == [], file.name


@pytest.mark.parametrize(
    "malformed",
    [
        None,
        5,
        [],
        {"services": 5, "secrets": [5], "volumes": [{"export": 5}], "images": [{"volumes": [5]}]},
        {"services": [{"environment": 5, "command": {"a": 1}}], "security": None, "access_policy": 5},
        {"services": [{"command": "$$SCONE::x"}], "secrets": [{"import": "x", "export": None}]},
    ],
)
def test_what_is_malformed_is_passed_over(malformed: object) -> None:
    assert list(features_of(malformed)) == []


def test_lists_in_place_of_texts_are_passed_over() -> None:
    malformed = {"secrets": [{"kind": ["jwt"]}], "security": {"attestation": {"tolerate": [["aepic-leak"]]}}}
    assert [feature.name for feature in features_of(malformed)] == ["security"]
