"""Every field of the session language is judged: a change of it weakens with a code, or never does for a reason."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args, get_origin

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import BaseModel

from sconectl.codes import changes
from sconectl.policy.diff.diff import Change, differences
from sconectl.policy.diff.judgements import JUDGEMENTS
from sconectl.policy.reading import Rule, Session, Signer, parse_session

H, G, T = "0a" * 32, "0b" * 32, "0c" * 16
KEY, OTHER_KEY = (
    "4hxbfBB9G1hyrLotptsrDejMXHWSUfknwG9x6q2VU8gLejZMU3",
    "2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3",
)
OTP = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
P, Q = "INTEL_QE_ID:" + "0c" * 16, "INTEL_QE_ID:" + "0d" * 16
SECRETS = (
    "secrets: [{name: x, kind: ascii}, {name: k, kind: private-key}, {name: b, kind: binary, size: 32},"
    " {name: c, kind: binary, size: 32},"
    " {name: f, kind: config-fragment, value: {mode: none}}, {name: otp, kind: binary, size: 20}]"
)


def parts_of(annotation: Any) -> set[type[BaseModel]]:
    """Return the parts of a session that a field holds; those of principals are judged as a whole."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation} - {Rule, Signer}
    return {part for inner in get_args(annotation) for part in parts_of(inner)}


def holds_a_list(annotation: Any) -> bool:
    return get_origin(annotation) is tuple or any(holds_a_list(inner) for inner in get_args(annotation))


def fields(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, bool]]:
    """Yield the path of every field, and whether it only holds fields of its own."""
    for name, field in model.model_fields.items():
        path = f"{above}{field.alias or name}"
        parts = parts_of(field.annotation)
        yield path, bool(parts)
        for part in parts:
            yield from fields(part, f"{path}{'[]' if holds_a_list(field.annotation) else ''}.")


def test_every_field_has_a_judgement_and_nothing_else_has() -> None:
    found = dict(fields(Session))
    assert {path for path, has_parts in found.items() if not has_parts} - JUDGEMENTS.keys() == set()
    assert JUDGEMENTS.keys() - found.keys() == set()
    assert {key: set(model.model_fields) for key, model in (("Rule", Rule), ("Signer", Signer))} == {
        "Rule": {"at_least", "of"},
        "Signer": {"signer"},
    }, "principals have a new field; judge it in diff_access"


def test_every_code_is_a_judgement_of_some_field() -> None:
    judged = {code for judgement in JUDGEMENTS.values() if isinstance(judgement, tuple) for code in judgement}
    assert judged == changes.CODES.keys()


def test_every_reason_is_one() -> None:
    assert all(len(judgement) > 10 for judgement in JUDGEMENTS.values() if isinstance(judgement, str))
    assert all(judgement for judgement in JUDGEMENTS.values())


@cache
def certificate(name: str) -> str:
    """Return a certificate in PEM form, as YAML text in double quotes."""
    key = generate_private_key(SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    first, last = datetime.datetime(2026, 1, 1), datetime.datetime(2036, 1, 1)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, first, last)
    pem = builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()
    return '"' + pem.replace("\n", "\\n") + '"'


@cache
def rsa_key() -> str:
    """Return a private key in PEM form, as YAML text in double quotes."""
    pem = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return '"' + pem.decode().replace("\n", "\\n") + '"'


def service(body: str, rest: str = SECRETS) -> str:
    return f"services: [{{name: s, {body}}}]\n{rest}"


def accepted(text: str) -> str:
    return service(f"attestation: {text}")


def run(body: str, rest: str = SECRETS) -> str:
    return service(f"attestation: {{mrenclave: {H}}}, {body}", rest)


def image(body: str) -> str:
    return run("image_name: i", f"images: [{{name: i, {body}}}]\nvolumes: [{{name: v}}, {{name: w}}]\n{SECRETS}")


def security(body: str) -> str:
    return f"security: {{attestation: {{{body}}}}}\n{SECRETS}"


def policy(body: str) -> str:
    return f"access_policy: {{{body}}}\n{SECRETS}"


def secret(body: str) -> str:
    return (
        f"secrets: [{{name: s, {body}}}, {{name: k, kind: private-key, key_type: P-384}}, {{name: x, kind: ascii}},"
        " {name: l, kind: private-key, key_type: P-384}, {name: ca, kind: x509-ca, private_key: k},"
        f" {{name: w, kind: binary, size: 32}}, {AAD}, {OTHER_AAD}]"
    )


AAD = "{name: aad, kind: aad-token, tenant_id: t, client_id: c, application_secret: a}"
OTHER_AAD = AAD.replace("name: aad", "name: other")


def cert(body: str) -> str:
    return secret(f"kind: x509, private_key: k, {body}")


def jwt(body: str, signer: str = "k") -> str:
    return secret(f"kind: jwt, signer: {signer}, alg: ES384, {body}")


def token(body: str) -> str:
    return secret(f"kind: aad-token, {body}")


def export(body: str) -> str:
    return secret(f"kind: ascii, export: [{{{body}}}]")


def import_(body: str) -> str:
    return secret(f"kind: ascii, import: {{session: b, secret: c{body}}}")


def vault(body: str) -> str:
    return secret(f"import_akv: {{token: $$SCONE::aad$${body}}}")


def volume(body: str) -> str:
    return f"volumes: [{{name: v{body}}}]\n{SECRETS}"


def store(body: str) -> str:
    return f"secret_config: {{store_in: {body}}}\nsecrets: [{AAD}, {OTHER_AAD}]"


SIGNER = f"{{mrsigner: {H}, isvprodid: 1"
SIGNED = f"{{signer: {SIGNER}}}}}"
MAA = "mode: maa, tolerate: [maa-managed-tcb], url: https://a.test"
LOCAL = "tolerate: [local-attestation-trust-cas-tcb]"
REMOTE = f"cas_url: cas.test, cas_key: {KEY}"
FSPF = f"fspf_path: /f, fspf_key: $$SCONE::b$$, fspf_tag: {T}"

EXAMPLES: list[tuple[str, str, str, str]] = [
    ("salt", f"salt: {T}", "", "SC5066"),
    ("namespace_hash", f"namespace_hash: {H}", "", ""),
    ("access_policy", SECRETS, f"access_policy: $$SCONE::f$$\n{SECRETS}", "SC5010"),
    ("access_policy.read", policy("read: [CREATOR]"), policy("read: [ANY]"), "SC5061"),
    ("access_policy.read", policy("read: [CREATOR]"), policy(f"read: [CREATOR, {KEY}]"), "SC5062"),
    ("access_policy.list_sessions", SECRETS, policy("list_sessions: [ANY]"), "SC5061"),
    ("access_policy.list_sessions", SECRETS, policy(f"list_sessions: [CREATOR, {KEY}]"), "SC5062"),
    ("access_policy.update", policy("update: [NONE]"), policy("update: [ANY]"), "SC5063"),
    ("access_policy.update", policy("update: [NONE]"), policy("update: [CREATOR]"), "SC5064"),
    (
        "access_policy.update",
        policy(f"update: {{require-all: [CREATOR, {KEY}]}}"),
        policy(f"update: {{require-at-least-1: [CREATOR, {KEY}]}}"),
        "SC5065",
    ),
    ("access_policy.create_sessions", SECRETS, policy("create_sessions: [ANY]"), "SC5063"),
    ("access_policy.create_sessions", SECRETS, policy(f"create_sessions: [CREATOR, {KEY}]"), "SC5064"),
    (
        "access_policy.create_sessions",
        policy(f"create_sessions: {{require-at-least-3: [CREATOR, {KEY}, {OTHER_KEY}]}}"),
        policy(f"create_sessions: {{require-at-least-2: [CREATOR, {KEY}, {OTHER_KEY}]}}"),
        "SC5065",
    ),
    ("version", "", 'version: "0.3.11"', ""),
    ("name", "", "name: b", ""),
    ("security", SECRETS, f"security: $$SCONE::f$$\n{SECRETS}", "SC5010"),
    ("security.attestation", SECRETS, f"security: {{attestation: $$SCONE::f$$}}\n{SECRETS}", "SC5010"),
    ("security.attestation.mode", security(""), security("mode: simulation"), "SC5001"),
    ("security.attestation.mode", security(""), security("mode: $$SCONE::f$$"), "SC5010"),
    ("security.attestation.tolerate", security(""), security("tolerate: [hyperthreading]"), "SC5002"),
    ("security.attestation.tolerate", security(""), security("tolerate: [debug-mode]"), "SC5003"),
    (
        "security.attestation.ignore_advisories",
        security("tolerate: [outdated-tcb]"),
        security('tolerate: [outdated-tcb], ignore_advisories: "*"'),
        "SC5004",
    ),
    (
        "security.attestation.trusted_scone_qe_pubkeys",
        security(""),
        security(f"trusted_scone_qe_pubkeys: [{H}]"),
        "SC5005",
    ),
    (
        "security.attestation.must_be_sgx_local",
        security(f"{LOCAL}, must_be_sgx_local: true"),
        security(LOCAL),
        "SC5007",
    ),
    ("security.attestation.url", security(MAA), security(MAA.replace("a.test", "b.test")), "SC5006"),
    (
        "security.attestation.certificates",
        security(MAA),
        security(f"{MAA}, certificates: [{certificate('one')}]"),
        "SC5006",
    ),
    (
        "security.attestation.min_rsa_signing_key_size",
        security(MAA),
        security(f"{MAA}, min_rsa_signing_key_size: 1024"),
        "",
    ),
    (
        "security.attestation.one_time_password_shared_secret",
        security(f"one_time_password_shared_secret: {OTP}"),
        security(""),
        "SC5009",
    ),
    ("security.singleton_enclaves", "security: {singleton_enclaves: true}", "", "SC5008"),
    ("security.service_access_token", "security: {service_access_token: hunter2}", "", "SC5009"),
    ("secret_config.store", f"secrets: [{AAD}]", store("!akv {token: $$SCONE::aad$$, vault: https://a.test}"), ""),
    (
        "secret_config.vault",
        store("!akv {token: $$SCONE::aad$$, vault: https://a.test}"),
        store("!akv {token: $$SCONE::aad$$, vault: https://b.test}"),
        "",
    ),
    (
        "secret_config.token",
        store("!akv {token: $$SCONE::aad$$, vault: https://a.test}"),
        store("!akv {token: $$SCONE::other$$, vault: https://a.test}"),
        "",
    ),
    ("services[].command", run("command: a b"), run('command: "a @@1"'), "SC5032"),
    ("services[].command", run("command: a b"), run("command: a $$SCONE::x$$"), "SC5046"),
    ("services[].environment", run("pwd: /"), run("pwd: /, environment: {LD_PRELOAD: /l.so}"), "SC5031"),
    ("services[].environment", run("pwd: /"), run("pwd: /, environment: {'\\@\\@HOME': x}"), "SC5032"),
    (
        "services[].environment",
        run("environment: {SCONE_NETWORK_SHIELD_SERVER_1: protected}"),
        run("environment: {SCONE_NETWORK_SHIELD_SERVER_1: unprotected}"),
        "SC5034",
    ),
    ("services[].environment", run("pwd: /"), run("pwd: /, environment: {A: $$SCONE::x$$}"), "SC5046"),
    ("services[].pwd", run("pwd: /"), run("pwd: /a"), ""),
    (
        "services[].image_name",
        run("image_name: i", f"images: [{{name: i}}, {{name: j, provide_secrets: [x]}}]\n{SECRETS}"),
        run("image_name: j", f"images: [{{name: i}}, {{name: j, provide_secrets: [x]}}]\n{SECRETS}"),
        "SC5046",
    ),
    (
        "services[].image_name",
        run("image_name: i", f"images: [{{name: i}}, {{name: j, injection_files: [/f]}}]\n{SECRETS}"),
        run("image_name: j", f"images: [{{name: i}}, {{name: j, injection_files: [/f]}}]\n{SECRETS}"),
        "SC5047",
    ),
    ("services[].attestation", accepted(f"{{mrenclave: {H}}}"), accepted(f"[{{mrenclave: [{H}, {G}]}}]"), "SC5021"),
    ("services[].attestation", accepted(f"[{{mrenclave: {H}}}]"), accepted("[$$SCONE::f$$]"), "SC5024"),
    (
        "services[].attestation[].mrenclave",
        accepted(f"[{{mrenclave: {H}}}]"),
        accepted(f"[{{mrenclave: [{H}, {G}]}}]"),
        "SC5021",
    ),
    (
        "services[].attestation[].mrenclave",
        accepted(f"[{{mrenclave: {H}, signer: {SIGNER}}}}}]"),
        accepted(f"[{SIGNED}]"),
        "SC5022",
    ),
    (
        "services[].attestation[].mrenclave",
        accepted(f"[{{mrenclave: {H}}}]"),
        accepted(f"[{{mrenclave: [{H}, $$SCONE::b:hex$$]}}]"),
        "SC5024",
    ),
    ("services[].attestation[].signer", accepted(f"[{{mrenclave: {H}}}]"), accepted(f"[{SIGNED}]"), "SC5022"),
    (
        "services[].attestation[].signer",
        accepted(f"[{{mrenclave: {H}, signer: {SIGNER}}}}}]"),
        accepted(f"[{{mrenclave: {H}}}]"),
        "SC5023",
    ),
    ("services[].attestation[].signer", accepted(f"[{SIGNED}]"), accepted("[{signer: $$SCONE::f$$}]"), "SC5024"),
    ("services[].attestation[].signer.mrsigner", accepted(SIGNED), accepted(SIGNED.replace(H, G)), "SC5022"),
    (
        "services[].attestation[].signer.isvprodid",
        accepted(SIGNED),
        accepted(SIGNED.replace("id: 1", "id: 2")),
        "SC5022",
    ),
    (
        "services[].attestation[].signer.isvsvn",
        accepted(f"{{signer: {SIGNER}, isvsvn: 3}}}}"),
        accepted(SIGNED),
        "SC5023",
    ),
    (
        "services[].attestation[].signer.isvsvn_min",
        accepted(f"{{signer: {SIGNER}, isvsvn_min: 3}}}}"),
        accepted(f"{{signer: {SIGNER}, isvsvn_min: 2}}}}"),
        "SC5023",
    ),
    (
        "services[].attestation[].signer.isvsvn_max",
        accepted(f"{{signer: {SIGNER}, isvsvn_max: 3}}}}"),
        accepted(f"{{signer: {SIGNER}, isvsvn_max: 4}}}}"),
        "SC5023",
    ),
    ("services[].platforms", run(f'platforms: ["{P}"]'), run(f'platforms: ["{P}", "{Q}"]'), "SC5025"),
    ("services[].fspf_path", run(FSPF), run("pwd: /"), "SC5076"),
    ("services[].fspf_key", run(FSPF), run(FSPF.replace("$$SCONE::b$$", H)), "SC5075"),
    ("services[].fspf_key", run(FSPF), run(FSPF.replace("::b$$", "::c$$")), "SC5046"),
    (
        "services[].fspf_tag",
        run(f"{FSPF}, fspf_update_policy: no_rollback_protection"),
        run(f"{FSPF.replace(f', fspf_tag: {T}', '')}, fspf_update_policy: no_rollback_protection"),
        "SC5076",
    ),
    ("services[].fspf_update_policy", run(FSPF), run(f"{FSPF}, fspf_update_policy: no_rollback_protection"), "SC5071"),
    (
        "services[].one_time_password_shared_secret",
        run(f"one_time_password_shared_secret: {OTP}"),
        run("pwd: /"),
        "SC5009",
    ),
    (
        "images[].injection_files[].path",
        image("injection_files: [{path: /a, content: a}]"),
        image("injection_files: [{path: /b, content: a}]"),
        "",
    ),
    (
        "images[].injection_files[].content",
        image("injection_files: [{path: /a, content: a}]"),
        image("injection_files: [{path: /a, content: $$SCONE::x$$}]"),
        "SC5046",
    ),
    (
        "images[].injection_files[].content",
        image("injection_files: [{path: /a, content: a}]"),
        image("injection_files: [/a]"),
        "SC5047",
    ),
    (
        "images[].injection_files[].permission",
        image("injection_files: [{path: /a, content: a, permission: 0o700}]"),
        image("injection_files: [{path: /a, content: a, permission: 0o404}]"),
        "SC5033",
    ),
    ("images[].volumes[].name", image("volumes: [{name: v, path: /v}]"), image("volumes: [{name: w, path: /v}]"), ""),
    ("images[].volumes[].path", image("volumes: [{name: v, path: /v}]"), image("volumes: [{name: v, path: /w}]"), ""),
    (
        "images[].volumes[].update_policy",
        image("volumes: [{name: v, path: /v}]"),
        image("volumes: [{name: v, path: /v, update_policy: no_rollback_protection}]"),
        "SC5071",
    ),
    ("images[].provide_secrets", image("provide_secrets: []"), image("provide_secrets: [x]"), "SC5046"),
    (
        "images[].provide_secrets",
        image("injection_files: [/a], provide_secrets: [x]"),
        image("injection_files: [/a]"),
        "SC5047",
    ),
    ("secrets[].kind", secret("kind: ascii"), secret("kind: binary"), ""),
    ("secrets[].value", secret("kind: ascii"), secret("kind: ascii, value: hunter2"), "SC5053"),
    (
        "secrets[].value",
        f"security: $$SCONE::f$$\n{SECRETS}",
        f"security: $$SCONE::f$$\n{SECRETS.replace('mode: none', 'mode: hardware')}",
        "SC5010",
    ),
    ("secrets[].size", secret("kind: ascii, size: 20"), secret("kind: ascii, size: 19"), "SC5051"),
    (
        "secrets[].key_type",
        secret("kind: private-key, key_type: RSA-3072"),
        secret("kind: private-key, key_type: RSA-2048"),
        "SC5052",
    ),
    ("secrets[].migrate", secret("kind: private-key"), secret("kind: private-key, migrate: true"), ""),
    (
        "secrets[].private_key",
        cert("san: []"),
        cert("san: []").replace("private_key: k, san", "private_key: l, san"),
        "",
    ),
    ("secrets[].issuer", cert("issuer: ca"), cert("san: []"), ""),
    ("secrets[].common_name", cert("common_name: a"), cert("common_name: b"), ""),
    ("secrets[].endpoint", cert("endpoint: client"), cert("san: []"), "SC5059"),
    ("secrets[].dns", cert("dns: [a.test]"), cert("dns: [a.test, b.test]"), "SC5058"),
    ("secrets[].san", cert('san: ["dns:x.a.test"]'), cert('san: ["dns:*.a.test"]'), "SC5058"),
    ("secrets[].valid_for", cert("valid_for: 90 days"), cert("valid_for: 1 year"), "SC5057"),
    (
        "secrets[].tenant_id",
        token("tenant_id: t, client_id: c, application_secret: a"),
        token("tenant_id: u, client_id: c, application_secret: a"),
        "",
    ),
    (
        "secrets[].client_id",
        token("tenant_id: t, client_id: c, application_secret: a"),
        token("tenant_id: t, client_id: d, application_secret: a"),
        "",
    ),
    (
        "secrets[].application_secret",
        token("tenant_id: t, client_id: c, application_secret: a"),
        token("tenant_id: t, client_id: c, application_secret: b"),
        "",
    ),
    (
        "secrets[].certificate_thumbprint",
        token(f"tenant_id: t, client_id: c, private_key: {rsa_key()}, certificate_thumbprint: {'0a' * 20}"),
        token(f"tenant_id: t, client_id: c, private_key: {rsa_key()}, certificate_thumbprint: {'0b' * 20}"),
        "",
    ),
    ("secrets[].signer", jwt("validity: {for: 1h}"), jwt("validity: {for: 1h}", "l"), ""),
    ("secrets[].validity.for", jwt("validity: {for: 1h}"), jwt("validity: {for: 61m}"), "SC5057"),
    (
        "secrets[].payload",
        jwt("validity: {for: 1h}, export_public: true, payload: {c: me}"),
        jwt("validity: {for: 1h}, export_public: true, payload: {c: $$SCONE::x$$}"),
        "SC5046",
    ),
    ("secrets[].export[].session", export("session: b"), export("session: c"), "SC5041"),
    ("secrets[].export[].namespace", export("namespace: b"), export("namespace: c"), "SC5042"),
    ("secrets[].export[].session_hash", export(f"session: b, session_hash: {H}"), export("session: b"), "SC5043"),
    (
        "secrets[].export[].cas_url",
        export(f"session: b, {REMOTE}"),
        export(f"session: b, {REMOTE}").replace("cas.test", "other.test"),
        "SC5044",
    ),
    (
        "secrets[].export[].cas_key",
        export(f"session: b, {REMOTE}"),
        export(f"session: b, {REMOTE}").replace(KEY, OTHER_KEY),
        "SC5044",
    ),
    (
        "secrets[].export[].cas_software_key",
        export(f"session: b, {REMOTE}").replace("cas_key", "cas_software_key"),
        export(f"session: b, {REMOTE}"),
        "SC5044",
    ),
    ("secrets[].import", secret("kind: ascii"), import_(""), "SC5054"),
    ("secrets[].import.session", import_(""), import_("").replace("session: b", "session: d"), "SC5054"),
    ("secrets[].import.secret", import_(""), import_("").replace("secret: c", "secret: d"), "SC5054"),
    ("secrets[].import.session_hash", import_(f", session_hash: {H}"), import_(""), "SC5055"),
    ("secrets[].import.cas_url", import_(""), import_(f", {REMOTE}"), "SC5054"),
    ("secrets[].import.cas_key", import_(f", {REMOTE}"), import_(f", {REMOTE}").replace(KEY, OTHER_KEY), "SC5054"),
    (
        "secrets[].import.cas_software_key",
        import_(f", {REMOTE}"),
        import_(f", {REMOTE}").replace("cas_key", "cas_software_key").replace(KEY, OTHER_KEY),
        "SC5054",
    ),
    ("secrets[].import_akv", secret("kind: ascii"), vault(", vault: a.test"), "SC5054"),
    ("secrets[].import_akv.vault", vault(", vault: a.test"), vault(", vault: b.test"), "SC5054"),
    ("secrets[].import_akv.secret_name", vault(", vault: a.test"), vault(", vault: a.test, secret_name: t"), "SC5054"),
    (
        "secrets[].import_akv.token",
        vault(", vault: a.test"),
        vault(", vault: a.test").replace("$$SCONE::aad$$", "$$SCONE::other$$"),
        "",
    ),
    (
        "secrets[].import_akv.decryption_key",
        vault(", vault: a.test, decryption_key: $$SCONE::w$$"),
        vault(", vault: a.test"),
        "SC5056",
    ),
    ("secrets[].export_public", secret("kind: ascii"), secret("kind: ascii, export_public: true"), "SC5045"),
    ("volumes[].fspf_key", volume(""), volume(f", fspf_key: {H}, fspf_tag: {T}"), "SC5075"),
    (
        "volumes[].fspf_tag",
        volume(f", fspf_key: {H}, fspf_tag: {T}"),
        volume(f", fspf_key: {H}, fspf_tag: {'0d' * 16}"),
        "",
    ),
    ("volumes[].files", volume(""), volume(", files: authenticated-only"), "SC5072"),
    ("volumes[].export[].session", volume(", export: [{session: b}]"), volume(", export: [{session: c}]"), "SC5073"),
    (
        "volumes[].export[].session_hash",
        volume(f", export: [{{session: b, session_hash: {H}}}]"),
        volume(", export: [{session: b}]"),
        "SC5043",
    ),
    (
        "volumes[].export[].update_policy",
        volume(", export: [{session: b}]"),
        volume(", export: [{to: {session: b}, update_policy: no_rollback_protection}]"),
        "SC5074",
    ),
    (
        "volumes[].export[].volume_alias",
        volume(", export: [{session: b}]"),
        volume(", export: [{to: {session: b}, volume_alias: w}]"),
        "",
    ),
    ("volumes[].import", volume(""), volume(", import: {session: b, volume: w}"), "SC5054"),
    (
        "volumes[].import.session",
        volume(", import: {session: b, volume: w}"),
        volume(", import: {session: c, volume: w}"),
        "SC5054",
    ),
    (
        "volumes[].import.volume",
        volume(", import: {session: b, volume: w}"),
        volume(", import: {session: b, volume: u}"),
        "SC5054",
    ),
    (
        "volumes[].import.session_hash",
        volume(f", import: {{session: b, volume: w, session_hash: {H}}}"),
        volume(", import: {session: b, volume: w}"),
        "SC5055",
    ),
]

ALONE = {
    "predecessor",  # both move on with every version, and differences of them alone are none
    "creator",
    "secrets[].alg",  # has one value only
    "services[].name",  # these are other entries, which a test below renames
    "images[].name",
    "secrets[].name",
    "volumes[].name",
}
BOTH_WAYS = {
    "security.attestation.url", "security.attestation.certificates", "secrets[].value", "secrets[].export[].session",
    "secrets[].export[].namespace", "secrets[].export[].cas_url", "secrets[].export[].cas_key",
    "secrets[].export[].cas_software_key", "secrets[].import.session", "secrets[].import.secret",
    "secrets[].import.cas_url", "secrets[].import.cas_key", "secrets[].import.cas_software_key",
    "secrets[].import_akv.vault", "secrets[].import_akv.secret_name", "volumes[].export[].session",
    "volumes[].import.session", "volumes[].import.volume", "services[].attestation", "services[].attestation[].signer",
    "services[].attestation[].signer.mrsigner", "services[].attestation[].signer.isvprodid", "services[].fspf_key",
    "services[].fspf_path", "images[].injection_files[].permission",
}  # fmt: skip
"""Fields of which an example takes from one and gives to another, so that the way back weakens, too."""


def session(body: str) -> Session:
    head = "" if body.startswith("name:") else "name: a\n"
    return parse_session(head + ("" if body.startswith("version:") else 'version: "0.3.12"\n') + body + "\n")


def told(old: Session, new: Session) -> list[Change]:
    """Return the changes but for what becomes of values, which is told of every secret."""
    return [change for change in differences(old, new) if change.group != "values"]


@pytest.mark.parametrize(("path", "before", "after", "code"), EXAMPLES, ids=lambda text: text[:60])
def test_what_a_change_of_the_field_means(path: str, before: str, after: str, code: str) -> None:
    old, new = session(before), session(after)
    assert differences(old, old) == differences(new, new) == []
    found = told(old, new)
    codes = {change.code for change in found if change.severity == "weakens"}
    assert found
    assert all((change.severity == "weakens") == bool(change.code) for change in found)
    assert codes == ({code} if code else set())
    back = told(new, old)
    assert back
    if code:
        assert path in BOTH_WAYS or not [change for change in back if change.severity == "weakens"]
        assert code in ("SC5010", "SC5066") or [change for change in back if change.severity == "strengthens"]


def test_there_is_an_example_of_everything_that_the_table_says() -> None:
    shown: dict[str, set[str]] = {}
    for path, _, _, code in EXAMPLES:
        shown.setdefault(path, set()).add(code)
    said = {path: {""} if isinstance(found, str) else set(found) for path, found in JUDGEMENTS.items()}
    assert shown == {path: codes for path, codes in said.items() if path not in ALONE}


def test_fields_that_differ_in_every_version_are_not_told() -> None:
    old = session("")
    creator = f"creator: {certificate('me')}\n{policy('update: [CREATOR]')}"
    assert told(old, session(f"predecessor: {H}")) == []
    assert told(session(policy("update: [CREATOR]")), session(creator)) == []


@pytest.mark.parametrize(
    ("before", "name", "group"),
    [
        (run("pwd: /"), "name: s,", "attestation"),
        (image("provide_secrets: [x]").replace("image_name: i, ", ""), "name: i,", "sharing"),
        (export("session: b"), "name: s,", "sharing"),
        (volume(", export: [{session: b}]"), "name: v,", "volumes"),
    ],
)
def test_an_entry_with_another_name_is_another_entry(before: str, name: str, group: str) -> None:
    after = before.replace("image_name: i", "image_name: fresh").replace(name, "name: fresh,")
    found = [change for change in told(session(before), session(after)) if change.group == group]
    if "images" in before:  # the same service gets the same secrets in the same way
        assert found == []
        return
    assert found
    assert ("weakens" in {change.severity for change in found}) == (group == "attestation")
