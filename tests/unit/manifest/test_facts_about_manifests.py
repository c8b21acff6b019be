"""Every row that the facts about real manifests have on fields (sections 2 to 4), beyond the published schemas."""

from __future__ import annotations

from typing import Any

import pytest

from sconectl.errors import InvalidInput
from sconectl.manifest.model.genservice import BUILD_KINDS, GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.model.secrets import KEY_TYPES, SECRET_KINDS
from sconectl.manifest.reading.reader import read_manifest

from . import published
from .forms import MESH, SERVICE, Steps, field_of, read, with_field
from .test_published_schemas import GENSERVICE

_KIND: Steps = ("build", "kind")
_S: Steps = ("secrets", "global", 0)
_X509 = {"name": "s", "kind": "x509", "private_key": "k"}
_TOKEN = {"name": "t", "kind": "aad-token", "tenant_id": "t", "client_id": "c", "application_secret": "x"}

# Row: fields of the published schemas that it is about, which are tested there.
PUBLISHED = {
    **{f"2.1 {name}": f"Build.{name}" for name in ("name", "kind", "to", "command", "from", "pwd", "copy", "run")},
    **{f"2.1 {name}": f"Build.{name}" for name in ("requirements", "binaries", "dirs", "fs_dirs", "fs_files")},
    **{f"2.1 {name}": f"Build.{name}" for name in ("plains", "plain_files", "host_paths", "volumes", "signature")},
    **{f"2.1 {name}": f"Build.{name}" for name in ("stable", "gen_policy")},
    **{f"2.4 {name}": f"Environment.{name}" for name in ("local", "global")},
    **{f"2.7 {name}": f"GlobalSecret.{name}" for name in ("name", "size", "value", "migrate", "private_key", "issuer")},
    **{f"2.7 {name}": f"GlobalSecret.{name}" for name in ("common_name", "dns", "export_public")},
    **{f"3.1 {name}": f"Cas.{name}" for name in ("name", "alias", "cas_url", "cas_key", "cas_encryption_key")},
    "3.1 tolerance": "Cas.tolerance",
    **{f"3.2 {name}": f"Policy.{name}" for name in ("namespace", "tolerate", "maa", "image_policy_namespace")},
    **{f"3.4 {name}": f"Service.{name}" for name in ("name", "image", "image_policy", "image_secrets", "env")},
    "3.4 helm_chart": "Service.helm_chart",
}

# Row: base, path, what is written there, path in the model, what the model holds there.
_Row = tuple[dict[str, Any], Steps, Any, Steps, Any]
_HELM = {"resources": {"limits": {"sgx.k8s.io/sgx": "2"}}}


def _kinds(row: str, *kinds: str) -> list[tuple[str, _Row]]:
    return [(f"2.2 {row}", (SERVICE, _KIND, kind, _KIND, kind)) for kind in kinds]


def _secret(field: str, written: Any, held: Any, base: dict[str, Any]) -> tuple[str, _Row]:
    return f"2.7 {field}", (with_field(SERVICE, _S, base), (*_S, field), written, (*_S, field), held)


def _values_of(path: Steps, *values: str, base: dict[str, Any] = MESH) -> list[_Row]:
    return [(base, path, value, path, value) for value in values]


_KEY = {"name": "k", "kind": "private-key"}
ROWS: list[tuple[str, _Row]] = [
    ("2.1 host_path", (SERVICE, ("build", "host_path"), ["/tmp"], ("build", "host_paths"), ("/tmp",))),
    ("2.1 binarfs.include-new", (SERVICE, ("build", "binarfs.include-new"), "x", ("build", "fs_dirs"), ())),
    ("2.1 binarfs.include-new", (SERVICE, ("build", "binarfs"), {"include-new": "x"}, ("build", "fs_dirs"), ())),
    *_kinds("python", "python"),
    *_kinds("java", "java"),
    *_kinds("java-glibc / java17-glibc", "java-glibc", "java17-glibc"),
    *_kinds("java17", "java17"),
    *_kinds("java17-bullseye", "java17-bullseye"),
    *_kinds("java15, java8 (`java 8` in S text)", "java15", "java8"),
    ("2.2 java15, java8 (`java 8` in S text)", (SERVICE, _KIND, "java 8", _KIND, "java8")),
    *_kinds("java21 / java21-ubuntu", "java21", "java21-ubuntu"),
    *_kinds("sconify_image", "sconify_image"),
    *(_secret("key_type", kind, kind, _KEY) for kind in KEY_TYPES),
    _secret("endpoint", "server", "server", _X509),
    _secret("endpoint", "client", "client", _X509),
    _secret("dns", "api", ("api",), _X509),
    _secret("san", ["dns:api.x", "ip:192.0.2.7"], ("dns:api.x", "ip:192.0.2.7"), _X509),
    _secret("san", "dns:{{host}}", ("dns:{{host}}",), _X509),
    *(_secret("valid_for", text, text, _X509) for text in ("90 days", "59d", "1 year")),
    *(_secret("size", text, 10, {"name": "s", "kind": kind}) for text, kind in (("10", "ascii"), (10, "binary"))),
    _secret("value", "feedfeed00\n", "feedfeed00", {"name": "s", "kind": "binary"}),
    _secret("tenant_id, client_id, application_secret", "x", "x", _TOKEN),
    *(
        ("3.1 mode", row)
        for row in _values_of(
            ("cas", 0, "mode"),
            *("Upload", "SignedManifest", "EncryptedManifest", "NoUpload", "EncryptedOnly", "SignOnline"),
        )
    ),
    *(("3.2 ignore_advisories", row) for row in _values_of(("policy", "ignore_advisories"), "*", "INTEL-SA-00615, x")),
    *(
        ("3.2 access_policy_name / attestation_policy_name / security_policy_name", row)
        for field in ("access_policy_name", "attestation_policy_name", "security_policy_name")
        for row in _values_of(("policy", field), "security/policies/x")
    ),
    (
        "3.4 helm_extra_values",
        (MESH, ("services", 0, "helm_extra_values"), _HELM, ("services", 0, "helm_extra_values"), _HELM),
    ),
]
# Rows about all the kinds of something.
ENUMERATIONS = {"2.7 kind"}


def _named(row: str, path: Steps) -> Steps:
    return (*path[:-1], "tenant_id") if row.endswith("application_secret") else path


@pytest.mark.parametrize(("row", "entry"), [pytest.param(row, entry, id=row) for row, entry in ROWS])
def test_a_row_is_taken_and_carried(row: str, entry: _Row) -> None:
    base, path, written, place, held = entry
    manifest = read(with_field(base, _named(row, path), written))
    assert field_of(manifest.model, _named(row, place)) == held


def test_no_row_is_left_out() -> None:
    rows = {f"{section} {row}" for section, names in published.ROWS.items() for row in names.split("; ")}
    assert rows == {row for row, _ in ROWS} | set(PUBLISHED) | ENUMERATIONS
    assert {name for name in PUBLISHED.values() if name.split(".")[0] in ("Build", "GlobalSecret")} <= set(GENSERVICE)


_COMPLETE: dict[str, dict[str, Any]] = {
    "public-key": {"private_key": "k"},
    "x509": {"private_key": "k"},
    "x509-ca": {"private_key": "k"},
    "aad-token": {"tenant_id": "t", "client_id": "c", "application_secret": "x"},
    "config-fragment": {"value": ["a", {"b": "c"}]},
    "jwt": {"signer": "k", "alg": "ES384", "validity": {"for": "24h"}, "payload": {"sub": "x"}},
}


@pytest.mark.parametrize("kind", SECRET_KINDS)
def test_secrets_of_every_kind(kind: str) -> None:
    manifest = read(with_field(SERVICE, _S, {"name": "s", "kind": kind, **_COMPLETE.get(kind, {})}))
    assert isinstance(manifest.model, GenService)
    (secret,) = manifest.model.secrets.global_
    assert secret.kind == kind
    for field, value in _COMPLETE.get(kind, {}).items():
        assert secret.model_dump(by_alias=True)[field] == value


def test_a_token_with_a_certificate() -> None:
    token = {"name": "t", "kind": "aad-token", "tenant_id": "t", "client_id": "c", "private_key": "-----BEGIN"}
    manifest = read(with_field(SERVICE, _S, {**token, "certificate_thumbprint": "8F3c" * 10}))
    assert field_of(manifest.model, (*_S, "certificate_thumbprint")) == "8F3c" * 10


@pytest.mark.parametrize("kind", BUILD_KINDS)
def test_every_kind_of_program(kind: str) -> None:
    assert field_of(read(with_field(SERVICE, _KIND, kind)).model, _KIND) == kind


# --- sections without a table ---------------------------------------------------------------------------------------


def test_names_of_variables_as_real_manifests_have_them() -> None:  # 2.4
    names = ["K8sNAMESPACE", "api_host", "SCONE_HEAP", "_x", "redis.host", "NGINX-X"]
    manifest = read(with_field(SERVICE, ("environment", "global"), [{"name": name} for name in names]))
    assert isinstance(manifest.model, GenService)
    assert [variable.name for variable in manifest.model.environment.global_] == names


def test_the_policy_of_a_volume() -> None:  # 2.5
    for policy in ("ephemeral", "rollback_protected", "no_rollback_protection"):
        volume = {"name": "v", "path": "/v", "export": [{"session": "a", "update_policy": policy}]}
        manifest = read(with_field(SERVICE, ("build", "volumes"), [volume]))
        assert field_of(manifest.model, ("build", "volumes", 0, "export", 0, "update_policy")) == policy


def test_a_volume_is_not_imported_and_exported() -> None:  # 2.5
    volume = {"name": "v", "path": "/v", "export": [{"session": "a"}], "import": {"session": "b"}}
    with pytest.raises(InvalidInput) as caught:
        read(with_field(SERVICE, ("build", "volumes"), [volume]))
    (finding,) = caught.value.findings
    assert (finding.code, finding.path) == ("SC1013", "build.volumes[0].export")
    assert finding.hint == "remove export or import"


@pytest.mark.parametrize("empty", ["", "null", "~", "[]"])
def test_a_mesh_without_variables(empty: str) -> None:  # 3.3
    text = f"apiVersion: scone/5.8\nkind: mesh\ncas: [{{cas_url: local}}]\npolicy: {{namespace: a}}\nenv: {empty}\n"
    manifest = read_manifest(f"{text}services: [{{name: web, image: web}}]\n", "m.yaml", {})
    assert isinstance(manifest.model, Mesh)
    assert manifest.model.env == ()


def test_sections_repeat_in_order() -> None:  # 3.3
    sections = [
        {"service": "global", "env": [{"name": "A", "value": "1"}]},
        {"service": "web", "env": [{"name": "A", "value": "2"}]},
        {"service": "global", "env": [{"name": "A", "value": "3"}]},
    ]
    manifest = read(with_field(MESH, ("env",), sections))
    assert isinstance(manifest.model, Mesh)
    assert [(section.service, section.env[0].value) for section in manifest.model.env] == [
        ("global", "1"),
        ("web", "2"),
        ("global", "3"),
    ]


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("registry.example.org:5000/a/python_hello_user:1", "python_hello_user"),
        ("example/web@sha256:" + "ab" * 32, "web"),
        ("redis", "redis"),
        ("a/b.c:x", "b-c"),
    ],
)
def test_a_service_without_a_name_is_called_like_its_image(image: str, name: str) -> None:  # 3.4
    manifest = read(with_field(MESH, ("services",), [{"image": image}]))
    assert field_of(manifest.model, ("services", 0, "name")) == name


def test_values_of_charts_as_a_mapping_and_as_text() -> None:  # 3.5
    mapping = {"mariadb-scone": {"persistence": {"enabled": "true", "accessModes": ["ReadWriteOnce"]}}}
    held = read(with_field(MESH, ("helm_extra_values",), mapping)).model
    assert field_of(held, ("helm_extra_values",)) == mapping
    text = "mariadb-scone:\n  persistence: {enabled: true}\n"
    held = read(with_field(MESH, ("helm_extra_values",), text)).model
    assert field_of(held, ("helm_extra_values",)) == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["a"], "expected a mapping, as it is or as YAML text"),
        ("- a", "expected a mapping, as it is or as YAML text"),
        ("a: [", "of this text: not valid YAML"),
        ("a: 1\na: 2\n", "line 2 of this text: the key is given twice"),
    ],
)
def test_values_of_charts_that_are_none(value: Any, message: str) -> None:  # 3.5
    for path in (("helm_extra_values",), ("services", 0, "helm_extra_values")):
        with pytest.raises(InvalidInput) as caught:
            read(with_field(MESH, path, value))
        (finding,) = caught.value.findings
        assert (finding.code, message in finding.message) == ("SC1002", True), finding


def test_a_repository_needs_a_destination() -> None:  # 3.6
    with pytest.raises(InvalidInput) as caught:
        read(with_field(MESH, ("repo",), {"squash": "true"}))
    (finding,) = caught.value.findings
    assert (finding.path, finding.message) == ("repo.destination", "this field is missing")


def test_no_further_policies() -> None:  # 3.7
    assert field_of(read(with_field(MESH, ("extra_policies",), [])).model, ("extra_policies",)) == ()


def test_values_keep_their_spelling() -> None:  # 4
    written = {
        "1": "1",
        "6379": "6379",
        '"true"': "true",
        "false": "false",
        '"!#what!$#"': "!#what!$#",
        '"#NOPE!"': "#NOPE!",
        "|+2\n          deep\n": "  deep\n\n",
        "|-4\n              deeper": "    deeper",
        "0760": "0760",
        "1e3": "1e3",
        "": "",
    }
    head = "apiVersion: scone/5.8\nkind: mesh\ncas: [{cas_url: local}]\npolicy: {namespace: a}\n"
    entries = "".join(f"    - name: V{n}\n      value: {text}\n" for n, text in enumerate(written))
    text = f"{head}services: [{{name: web, image: web}}]\nenv:\n- service: global\n  env:\n{entries}"
    manifest = read_manifest(text, "m.yaml", {})
    assert isinstance(manifest.model, Mesh)
    assert [variable.value for variable in manifest.model.env[0].env] == list(written.values())


def test_two_secrets_of_one_name() -> None:  # 2.7
    secrets = [{"name": name, "kind": "ascii"} for name in ("a", "b", "a", "a")]
    with pytest.raises(InvalidInput) as caught:
        read(with_field(SERVICE, ("secrets", "global"), secrets))
    assert [(f.code, f.path) for f in caught.value.findings] == [
        ("SC1013", f"secrets.global[{number}].name") for number in (2, 3)
    ]


def test_two_cas_in_one_role() -> None:  # 3.1
    entries = [{"name": "cas", "alias": ["image"], "cas_url": "a"}, {"name": "image", "alias": ["x"], "cas_url": "b"}]
    with pytest.raises(InvalidInput) as caught:
        read(with_field(MESH, ("cas",), entries))
    (finding,) = caught.value.findings
    assert (finding.code, finding.path, finding.message) == (
        "SC1013",
        "cas[1].name",
        "cas[0] plays this role already",
    )
    read(with_field(MESH, ("cas",), [{"alias": ["cas", "x", "x"], "cas_url": "a"}]))


@pytest.mark.parametrize("field", ["tolerate", "ignore_advisories"])
def test_a_list_for_a_text_with_commas(field: str) -> None:  # 3.2
    manifest = read(with_field(MESH, ("policy", field), ["outdated-tcb", "hyperthreading"]))
    assert field_of(manifest.model, ("policy", field)) == "outdated-tcb, hyperthreading"
    with pytest.raises(InvalidInput) as caught:
        read(with_field(MESH, ("policy", field), [{"a": "b"}]))
    assert [(f.path, f.message) for f in caught.value.findings] == [(f"policy.{field}", "expected text")]


@pytest.mark.parametrize(
    ("entry", "path", "hint"),
    [
        ({"name": "cas", "alias": ["images", "access"]}, "cas[0].alias[0]", "did you mean image?"),
        ({"name": "atestation", "alias": ["cas"]}, "cas[0].name", "did you mean attestation?"),
    ],
)
def test_a_misspelt_role(entry: dict[str, Any], path: str, hint: str) -> None:  # 3.1
    with pytest.raises(InvalidInput) as caught:
        read(with_field(MESH, ("cas",), [{**entry, "cas_url": "a"}]))
    assert [(f.code, f.path, f.hint) for f in caught.value.findings] == [("SC1013", path, hint)]


@pytest.mark.parametrize("alias", [["backup"], ["image", "images"], ["image2", "image"], ["edge-image"], []])
def test_names_of_one_s_own_for_a_cas(alias: list[str]) -> None:  # 3.1
    read(with_field(MESH, ("cas",), [{"name": "cas", "alias": alias, "cas_url": "a"}]))
