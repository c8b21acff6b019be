"""Every property of both published schemas, one by one: the model takes it and carries what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sconectl.errors import InvalidInput

from .forms import MESH, SERVICE, Steps, field_of, read, with_field
from .published import PUBLISHED

SPEC = Path(__file__).parents[4] / "shared" / "spec"
_HASH = "668e9aaba22c7631bbcc89b627d77e53539bcaade9e7c2c08242f56aab272088"

_S: Steps = ("secrets", "global", 0)
_V: Steps = ("build", "volumes", 0)
_X509 = {"name": "s", "kind": "x509", "private_key": "k"}
_TOKEN = {"name": "t", "kind": "aad-token", "tenant_id": "t", "client_id": "c", "application_secret": "x"}
_VOLUME = {"name": "v", "path": "/v"}
_EXPORT = {**_VOLUME, "export": [{"session": "other"}]}
_IMPORT = {**_VOLUME, "import": {"session": "other"}}


def _list(name: str, *values: str) -> tuple[Steps, Any, Any]:
    return ("build", name), list(values), values


# Schema.property: path in the manifest, what is written there, what the model holds; and what else has to be there.
GENSERVICE: dict[str, tuple[Steps, Any, Any] | tuple[Steps, Any, Any, Steps, Any]] = {
    "Build.binaries": _list("binaries", "/usr/bin/web"),
    "Build.command": (("build", "command"), "python3 a.py --x 'y z'", "python3 a.py --x 'y z'"),
    "Build.copy": _list("copy", "a.py", "lib/b.py"),
    "Build.dirs": _list("dirs", "/a", "/b"),
    "Build.from": (("build", "from"), "example/base", "example/base"),
    "Build.fs_dirs": _list("fs_dirs", "/usr/lib"),
    "Build.fs_files": _list("fs_files", "/etc/redis.conf"),
    "Build.gen_policy": (("build", "gen_policy", "policy"), "./policy.yaml", "policy.yaml"),
    "Build.host_paths": _list("host_paths", "/etc/ssl/certs"),
    "Build.kind": (("build", "kind"), "java17", "java17"),
    "Build.name": (("build", "name"), "python-hello-user", "python-hello-user"),
    "Build.plain_files": _list("plain_files", "/etc/timezone"),
    "Build.plains": _list("plains", "/var/cache"),
    "Build.pwd": (("build", "pwd"), "/python", "/python"),
    "Build.requirements": (("build", "requirements"), "requirments.txt", "requirments.txt"),
    "Build.run": _list("run", "echo a\n&& echo b\n", "echo c"),
    "Build.signature": (("build", "signature", "sign"), "true", True),
    "Build.stable": (("build", "stable"), "example/web:stable", "example/web:stable"),
    "Build.to": (("build", "to"), "registry.example.org:5000/web", "registry.example.org:5000/web"),
    "Build.volumes": ((*_V, "name"), "data", "data", _V, _VOLUME),
    "Environment.global": (("environment", "global", 0, "name"), "api_host", "api_host"),
    "Environment.local": (("environment", "local", 0, "name"), "SCONE_HEAP", "SCONE_HEAP"),
    "GenPolicy.policy": (("build", "gen_policy", "policy"), "p/policy.yaml", "p/policy.yaml"),
    "GlobalKeyValue.name": (("environment", "global", 0, "name"), "K8sNAMESPACE", "K8sNAMESPACE"),
    "GlobalKeyValue.value": (("environment", "global", 0, "value"), "760M", "760M"),
    "GlobalSecret.application_secret": ((*_S, "application_secret"), "dGmb", "dGmb", _S, _TOKEN),
    "GlobalSecret.client_id": ((*_S, "client_id"), "e6c9c526", "e6c9c526", _S, _TOKEN),
    "GlobalSecret.common_name": ((*_S, "common_name"), "example.com", "example.com", _S, _X509),
    "GlobalSecret.dns": ((*_S, "dns"), ["api", "{{fastapi_host}}"], ("api", "{{fastapi_host}}"), _S, _X509),
    "GlobalSecret.endpoint": ((*_S, "endpoint"), "server", "server", _S, _X509),
    "GlobalSecret.export_public": ((*_S, "export_public"), "true", True),
    "GlobalSecret.issuer": ((*_S, "issuer"), "my_ca", "my_ca", _S, _X509),
    "GlobalSecret.key_type": ((*_S, "key_type"), "RSA-3072", "RSA-3072", _S, {"name": "k", "kind": "private-key"}),
    "GlobalSecret.kind": ((*_S, "kind"), "binary", "binary"),
    "GlobalSecret.migrate": ((*_S, "migrate"), "true", True, _S, {"name": "k", "kind": "private-key"}),
    "GlobalSecret.name": ((*_S, "name"), "fastapi-key", "fastapi-key"),
    "GlobalSecret.private_key": ((*_S, "private_key"), "my_ca_key", "my_ca_key", _S, _X509),
    "GlobalSecret.size": ((*_S, "size"), "10", 10),
    "GlobalSecret.tenant_id": ((*_S, "tenant_id"), "3f1c", "3f1c", _S, _TOKEN),
    "GlobalSecret.valid_for": ((*_S, "valid_for"), "90 days", "90 days", _S, _X509),
    "GlobalSecret.value": ((*_S, "value"), "DEADBEEF", "DEADBEEF"),
    "InjectionFiles.content": (("injection_files", 0, "content"), "$$SCONE::CA.chain$$\n", "$$SCONE::CA.chain$$\n"),
    "InjectionFiles.path": (("injection_files", 0, "path"), "/etc/nginx_ca.crt", "/etc/nginx_ca.crt"),
    "KeyValue.name": (("environment", "local", 0, "name"), "my_key", "my_key"),
    "KeyValue.value": (("environment", "local", 0, "value"), "my_value", "my_value"),
    "Manifest.apiVersion": (("apiVersion",), "scone/5.8.0", "scone/5.8.0"),
    "Manifest.build": (("build", "name"), "x", "x"),
    "Manifest.environment": (("environment", "local"), [], ()),
    "Manifest.injection_files": (("injection_files",), [], ()),
    "Manifest.kind": (("kind",), "genservice", "genservice"),
    "Manifest.secrets": (("secrets", "global"), [], ()),
    "Secrets.global": ((*_S, "name"), "x", "x"),
    "Secrets.import": (("secrets", "import"), ["NGINX_SERVER_CA_CERT"], ("NGINX_SERVER_CA_CERT",)),
    "Signature.key": (("build", "signature", "key"), "target/identity.pem", "target/identity.pem"),
    "Signature.sign": (("build", "signature", "sign"), "false", False),
    "Volume.export": ((*_V, "export", 0, "session"), "another-session", "another-session", _V, _EXPORT),
    "Volume.import": ((*_V, "import", "session"), "exporter", "exporter", _V, _IMPORT),
    "Volume.name": ((*_V, "name"), "their_database", "their_database", _V, _VOLUME),
    "Volume.path": ((*_V, "path"), "/media/database", "/media/database", _V, _VOLUME),
    "VolumeExport.session": ((*_V, "export", 0, "session"), "a/b", "a/b", _V, _EXPORT),
    "VolumeExport.session_hash": ((*_V, "export", 0, "session_hash"), _HASH, _HASH, _V, _EXPORT),
    "VolumeExport.update_policy": ((*_V, "export", 0, "update_policy"), "ephemeral", "ephemeral", _V, _EXPORT),
    "VolumeExport.volume_alias": ((*_V, "export", 0, "volume_alias"), "theirs", "theirs", _V, _EXPORT),
    "VolumeImport.session": ((*_V, "import", "session"), "a", "a", _V, _IMPORT),
    "VolumeImport.volume": ((*_V, "import", "volume"), "my_database", "my_database", _V, _IMPORT),
}

_REPO: Steps = ("repo",)
_DESTINATION = {"destination": "registry.example.org/repo"}
_POLICY: Steps = ("extra_policies", 0)
_EXTRA = {"name": "p.yaml"}


def _service(name: str, value: str) -> tuple[Steps, Any, Any]:
    return ("services", 0, name), value, value


def _policy(name: str, value: str) -> tuple[Steps, Any, Any]:
    return ("policy", name), value, value


_MESH: dict[str, tuple[Steps, Any, Any] | tuple[Steps, Any, Any, Steps, Any]] = {
    "Cas.alias": (("cas", 0, "alias"), ["image", "security"], ("image", "security")),
    "Cas.cas_encryption_key": (("cas", 0, "cas_encryption_key"), "7b21", "7b21"),
    "Cas.cas_key": (("cas", 0, "cas_key"), "46Yy", "46Yy"),
    "Cas.cas_url": (("cas", 0, "cas_url"), "edge.scone-cas.cf", "edge.scone-cas.cf"),
    "Cas.mode": (("cas", 0, "mode"), "NoUpload", "NoUpload"),
    "Cas.name": (("cas", 0, "name"), "image", "image"),
    "Cas.tolerance": (("cas", 0, "tolerance"), "-C -G -S", "-C -G -S"),
    "KeyValue.name": (("env", 0, "env", 0, "name"), "database_user", "database_user"),
    "KeyValue.value": (("env", 0, "env", 0, "value"), "3306", "3306"),
    "Manifest.apiVersion": (("apiVersion",), "scone/5.9", "scone/5.9"),
    "Manifest.cas": (("cas", 0, "cas_url"), "local", "local"),
    "Manifest.env": (("env",), [], ()),
    "Manifest.extra_policies": (("extra_policies",), [], ()),
    "Manifest.helm_extra_values": (("helm_extra_values",), "web:\n  replicaCount: 2\n", "web:\n  replicaCount: 2\n"),
    "Manifest.kind": (("kind",), "mesh", "mesh"),
    "Manifest.policy": (("policy", "namespace"), "a/b", "a/b"),
    "Manifest.repo": (("repo", "destination"), "registry.example.org/repo", "registry.example.org/repo"),
    "Manifest.services": (("services", 0, "name"), "x", "x"),
    "Mode.mode": ((*_POLICY, "mode"), "debug", "debug", _POLICY, _EXTRA),
    "Mode.name": ((*_POLICY, "name"), "policies/audit.yaml", "policies/audit.yaml", _POLICY, _EXTRA),
    "Policy.access_policy_name": _policy("access_policy_name", "security/policies/access"),
    "Policy.attestation_policy_name": _policy("attestation_policy_name", "security/policies/attestation"),
    "Policy.image_policy_namespace": _policy("image_policy_namespace", "myImageNamespace"),
    "Policy.maa": _policy("maa", "https://sharedweu.weu.attest.azure.net"),
    "Policy.namespace": _policy("namespace", "myNamespace"),
    "Policy.security_policy_name": _policy("security_policy_name", "security/policies/security"),
    "Policy.tolerate": _policy("tolerate", "outdated-tcb, hyperthreading"),
    "Repo.config_id": ((*_REPO, "config_id"), "cosign/sign", "cosign/sign", _REPO, _DESTINATION),
    "Repo.destination": ((*_REPO, "destination"), "example/repo", "example/repo", _REPO, _DESTINATION),
    "Repo.key_file": ((*_REPO, "key_file"), "/file/with_secret", "/file/with_secret", _REPO, _DESTINATION),
    "Repo.push": ((*_REPO, "push"), "false", False, _REPO, _DESTINATION),
    "Repo.squash": ((*_REPO, "squash"), "true", True, _REPO, _DESTINATION),
    "Repo.strip": ((*_REPO, "strip"), "false", False, _REPO, _DESTINATION),
    "Service.env": _service("env", "templates/mariadb_envs.yaml"),
    "Service.helm_chart": _service("helm_chart", "templates/mariadb_helm_chart"),
    "Service.image": _service("image", "registry.example.org/sconectl/mariadb:latest"),
    "Service.image_policy": _service("image_policy", "template/mariadb.yaml"),
    "Service.image_secrets": _service("image_secrets", "templates/mariadb_secrets.yaml"),
    "Service.name": _service("name", "maria_db"),
    "ServiceKeyValue.env": (("env", 0, "env", 0, "value"), "x", "x"),
    "ServiceKeyValue.service": (("env", 0, "service"), "helm", "helm"),
}
FIELDS = [
    *((f"genservice {name}", SERVICE, entry) for name, entry in GENSERVICE.items()),
    *((f"mesh {name}", MESH, entry) for name, entry in _MESH.items()),
]


@pytest.mark.parametrize(("base", "entry"), [pytest.param(base, entry, id=name) for name, base, entry in FIELDS])
def test_a_property_is_taken_and_carried(base: dict[str, Any], entry: tuple[Any, ...]) -> None:
    path, written, held, *surroundings = entry
    if surroundings:
        base = with_field(base, *surroundings)
    manifest = read(with_field(base, path, written))
    assert field_of(manifest.model, path) == held
    assert manifest.warnings == ()


# --- the schemas themselves -----------------------------------------------------------------------------------------


def _schemas(kind: str) -> dict[str, Any]:
    file = SPEC / f"{kind}.openapi.json"
    if not file.is_file():
        pytest.skip("the published schemas are not beside this checkout")
    schemas: dict[str, Any] = json.loads(file.read_text())["components"]["schemas"]
    return schemas


def _properties(kind: str) -> dict[str, dict[str, Any]]:
    return {
        f"{name}.{field}": description
        for name, schema in _schemas(kind).items()
        for field, description in schema.get("properties", {}).items()
    }


def _names(kind: str) -> set[str]:
    return {f"{part}.{name}" for part, names in PUBLISHED[kind].items() for name in names.split()}


@pytest.mark.parametrize(("kind", "table"), [("genservice", GENSERVICE), ("mesh", _MESH)])
def test_no_property_is_left_out(kind: str, table: dict[str, Any]) -> None:
    assert {name.removesuffix("?") for name in _names(kind)} == set(table)


# Properties that are whole parts, of which the table sets a field.
_WHOLE: dict[str, Steps] = {
    "Build.signature": ("build", "signature"),
    "Build.gen_policy": ("build", "gen_policy"),
    "Environment.global": ("environment", "global"),
    "Manifest.repo": ("repo",),
    "Volume.import": (*_V, "import"),
}


@pytest.mark.parametrize(("kind", "base", "table"), [("genservice", SERVICE, GENSERVICE), ("mesh", MESH, _MESH)])
def test_what_may_be_null_may_be_null(kind: str, base: dict[str, Any], table: dict[str, tuple[Any, ...]]) -> None:
    refused = []
    checked = 0
    for name in sorted(name.removesuffix("?") for name in _names(kind) if name.endswith("?")):
        path = _WHOLE.get(name, table[name][0])
        if name in {"GlobalSecret.private_key", "GlobalSecret.tenant_id", "GlobalSecret.client_id"}:
            continue  # null is none, and these secrets need one; so they are not given together with their kind
        if name == "GlobalSecret.value":
            continue  # refused on purpose: who wrote the field and lost the value would get another one, silently
        start = with_field(base, *table[name][3:]) if len(table[name]) > 3 else base
        if name == "GlobalSecret.application_secret":
            start = base
        checked += 1
        try:
            read(with_field(start, path, None))
        except InvalidInput as error:
            refused += [str(finding) for finding in error.findings]
    assert not refused
    assert checked > 15


_NOT_VALUES = {"Mode.mode", "Mode.name"}  # their examples say not to use them


@pytest.mark.parametrize(("kind", "base", "table"), [("genservice", SERVICE, GENSERVICE), ("mesh", MESH, _MESH)])
def test_published_examples_are_taken(kind: str, base: dict[str, Any], table: dict[str, tuple[Any, ...]]) -> None:
    variables = {"APP_IMAGE_REPO": "example/repo", "My_APP_IMAGE_REPO": "example/repo"}
    refused = []
    for name, described in _properties(kind).items():
        if "example" not in described or name in _NOT_VALUES or described["example"] == "":
            continue
        start = with_field(base, *table[name][3:]) if len(table[name]) > 3 else base
        try:
            read(with_field(start, table[name][0], described["example"]), variables)
        except InvalidInput as error:
            refused += [str(finding) for finding in error.findings]
    assert not refused
