"""The published schemas: generated from the models, and in agreement with what `validate` accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel

from sconectl import assets
from sconectl.cas.client import tolerance
from sconectl.errors import InvalidInput, UsageError
from sconectl.learn import enum_words, value_rules
from sconectl.learn.json_schema import KINDS, Generator, identifier, schema_text
from sconectl.learn.scalar_forms import unknown
from sconectl.learn.written_forms import WRITTEN
from sconectl.manifest.model import program_input, reload
from sconectl.manifest.model.fields import NamedValue
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.mesh.mesh_checks import RESERVED_NAMES
from sconectl.plan.values.parameters import enclave_parameters
from sconectl.policy.forms import fields as policy_fields
from sconectl.policy.forms.tolerations import MODES, TOLERATIONS
from sconectl.policy.model import services, session, volumes
from sconectl.text.yaml_tree import parse

REPOSITORY = Path(__file__).resolve().parents[3]
CORPUS = REPOSITORY.parent / "shared" / "corpus"
SESSIONS = REPOSITORY / "tests" / "unit" / "policy" / "valid"
TAGS = {"!akv": "mapping", "!cas": "empty"}


@cache
def validator(kind: str) -> Any:
    return jsonschema.Draft202012Validator(json.loads(assets.read(f"schemas/{kind}.json")))


def faults(kind: str, value: Any) -> list[str]:
    return [f"{fault.json_path}: {fault.message}" for fault in validator(kind).iter_errors(value)]


class EditorLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads YAML as editors do, with numbers and flags, and with the tags of sessions."""


EditorLoader.add_constructor("!cas", lambda loader, node: None)
EditorLoader.add_constructor("!akv", lambda loader, node: loader.construct_mapping(node))


def readings(text: str) -> Iterator[Any]:
    """Yield the text as sconectl reads it, where every scalar is text, and as an editor does."""
    yield parse(text, "file", tags=TAGS).value
    yield yaml.load(text, EditorLoader)


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_schema_is_the_one_of_the_models(kind: str) -> None:
    published = assets.read(f"schemas/{kind}.json").decode()
    assert published == schema_text(kind), "run .venv/bin/python scripts/write_schemas.py"


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_schema_with_a_name(kind: str) -> None:
    schema = validator(kind).schema
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == identifier(kind) == f"https://sconectl.io/schemas/{kind}.json"
    assert schema["title"]
    assert "x-late" not in json.dumps(schema)


def properties(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    schema = validator(kind).schema
    for part, found in {"": schema, **schema["$defs"]}.items():
        forms = [found, *found.get("anyOf", ())]
        for form in forms:
            yield from ((f"{part}.{name}", field) for name, field in form.get("properties", {}).items())


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described(kind: str) -> None:
    # Rules about which fields go together repeat a name without describing it.
    found = [
        name for name, field in properties(kind) if not field.get("description") and field != {"not": {"type": "null"}}
    ]
    assert not found


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_of_an_enumeration_is_explained(kind: str) -> None:
    def enums(part: Any) -> Iterator[dict[str, Any]]:
        if isinstance(part, dict):
            if "enum" in part and "type" in part:
                yield part
            for item in part.values():
                yield from enums(item)
        elif isinstance(part, list):
            for item in part:
                yield from enums(item)

    found = [enum for enum in enums(validator(kind).schema) if "0.3.12" not in enum["enum"]]
    assert found
    assert all(len(enum["enum"]) == len(enum["enumDescriptions"]) for enum in found)


@pytest.mark.parametrize("kind", KINDS)
def test_every_check_of_a_model_has_a_form_or_is_known_to_have_none(kind: str) -> None:
    checks = []

    class Collecting(Generator):
        def function_after_schema(self, schema: Any) -> Any:
            if schema["schema"]["type"] == "str":
                checks.append(schema["function"]["function"])
            return super().function_after_schema(schema)

    KINDS[kind].model_json_schema(by_alias=True, schema_generator=Collecting)
    assert checks
    assert not unknown(checks)


TAKE_THEIR_FIELDS_ONLY = {program_input.Secrets, reload.Reload, services.EnclaveSigner, session.Head}
"""Parts that are looked at before their fields are read, and do not take anything else."""


def test_every_part_that_reads_other_forms_than_its_fields_has_them_in_its_schema() -> None:
    met: set[type[BaseModel]] = set()

    class Collecting(Generator):
        def model_schema(self, schema: Any) -> Any:
            met.update(cls for cls in schema["cls"].__mro__ if issubclass(cls, BaseModel))
            return super().model_schema(schema)

    for model in KINDS.values():
        model.model_json_schema(by_alias=True, schema_generator=Collecting)
    assert set(WRITTEN) <= met, "the form of a part that no document has"
    looks = {
        part
        for part in met
        if any(check.info.mode != "after" for check in part.__pydantic_decorators__.model_validators.values())
    }
    assert looks - set(WRITTEN) == TAKE_THEIR_FIELDS_ONLY


def test_words_about_values_are_complete() -> None:
    assert set(enum_words.TOLERATIONS) == set(TOLERATIONS)
    assert tuple(enum_words.ATTESTATION_MODES) == MODES
    assert set(enum_words.FSPF_POLICIES) == set(policy_fields.FSPF_POLICIES)
    for word in enum_words.VOLUME_FILES:
        assert volumes.volume_files(word) == word


# --- what it accepts ------------------------------------------------------------------------------------------------


def manifests(folder: Path) -> list[Path]:
    found = sorted([*folder.glob("*/service.yaml*"), *folder.glob("*/*ervice.yaml*"), *folder.glob("*/mesh.yaml*")])
    return list(dict.fromkeys(found))


def accepts(path: Path) -> None:
    for value in readings(path.read_text()):
        assert not faults(value["kind"], value)


@pytest.mark.parametrize("path", manifests(REPOSITORY / "examples"), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_accepts_every_example(path: Path) -> None:
    accepts(path)


@pytest.mark.parametrize(
    "path",
    [*manifests(REPOSITORY / "tests/templates"), *manifests(CORPUS)],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_accepts_every_manifest_with_variables(path: Path) -> None:
    accepts(path)


@pytest.mark.parametrize("path", sorted(SESSIONS.glob("*.yaml")), ids=lambda path: path.name)
def test_accepts_valid_sessions(path: Path) -> None:
    for value in readings(path.read_text()):
        assert not faults("session", value)


SERVICE = """
apiVersion: scone/5.8
kind: genservice
build:
  name: shop
  kind: python
  to: registry.example.org/shop:1
  from: python:3.12
  command: python3 'shop.py' "a b"
  pwd: /app
  copy: [shop.py]
  dirs: [/app/data]
  signature: {sign: true}
  volumes:
    - {name: db, path: /db, export: [{session: other, update_policy: ephemeral}]}
environment:
  local:
    - {name: SCONE_HEAP, value: 64M}
    - {name: SCONE_FORK, value: 1}
    - {name: PASSWORD, value: "$$SCONE::password$$ $$SCONE::{{CERT}}:crt$$"}
  global: [{name: WHOM}, {name: MOOD, value: good}]
secrets:
  global:
    - {name: password, kind: ascii, size: 20}
    - {name: key, kind: private-key, key_type: P-384, migrate: true}
    - {name: cert, kind: x509, private_key: key, endpoint: server, dns: [shop], valid_for: 90 days}
    - {name: raw, kind: binary, value: feed00}
  import: [other]
injection_files:
  - {path: /etc/app.conf, content: "token=$$SCONE::raw:hex$$"}
"""
MESH = """
apiVersion: scone/5.8
kind: mesh
cas: [{name: cas, alias: [image], cas_url: cas.example.org, mode: Upload}]
policy: {namespace: shop, tolerate: "outdated-tcb, hyperthreading", ignore_advisories: "INTEL-SA-00615"}
env:
  - {service: global, env: [{name: WHOM, value: world}, {name: APP_SERVICE_PORT, value: 443}]}
services: [{name: shop, image: "registry.example.org/shop:1", helm_extra_values: {replicaCount: 2}}]
"""


def changed(text: str, path: str, value: Any) -> dict[str, Any]:
    """Return the manifest with one field set; `None` removes it."""
    manifest: dict[str, Any] = yaml.safe_load(text)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place: Any = manifest
    for step in steps:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return manifest


def is_read(manifest: dict[str, Any]) -> bool:
    try:
        read_manifest(json.dumps(manifest), "manifest.json", {"VAR": "x"})
    except InvalidInput:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        (SERVICE, "kind", "genAppImage"),
        (SERVICE, "requirements", "requirements.txt"),
        (SERVICE, "build.host_path", ["/data"]),
        (SERVICE, "build.kind", "java 8"),
        (SERVICE, "build.binarfs.include-new", None),
        (SERVICE, "environment.local.0", {"key": "A", "value": "b"}),
        (MESH, "env", [{"name": "WHOM", "value": "world"}]),
        (MESH, "env", [{"key": "WHOM", "value": "world"}]),
        (MESH, "helm", ["shop.replicaCount=2"]),
        (MESH, "repo", {"destination": "registry.example.org/shop", "signature": "cosign.key"}),
    ],
)
def test_accepts_older_spellings_as_validate_does_and_calls_them_deprecated(text: str, path: str, value: Any) -> None:
    if value is None:
        manifest = yaml.safe_load(text)
        manifest["build"]["binarfs.include-new"] = ["/x"]
    else:
        manifest = changed(text, path, value)
    assert is_read(manifest)
    assert not faults(manifest["kind"] if manifest["kind"] == "mesh" else "genservice", manifest)
    schema = json.dumps(validator("mesh" if manifest["kind"] == "mesh" else "genservice").schema)
    assert '"deprecated": true' in schema


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        (SERVICE, "build.to", "$IMAGE"),
        (SERVICE, "build.kind", "${KIND}"),
        (SERVICE, "secrets.global.0.size", "$SIZE"),
        (SERVICE, "secrets.global.2.dns", ["{{host}}"]),
        (SERVICE, "secrets.global.1.migrate", "{{migrate}}"),
        (SERVICE, "build.signature.sign", "True"),
        (SERVICE, "build.copy", []),
        (SERVICE, "environment.local.0.value", "$HEAP"),
        (SERVICE, "secrets.global.0.size", "20"),
        (MESH, "cas.0.cas_url", "$CAS_URL"),
        (MESH, "services.0.name", ""),
        (MESH, "helm_extra_values", "shop:\n  replicaCount: 2\n"),
        (MESH, "env.0.env.1.value", "$PORT"),
    ],
)
def test_accepts_templates_and_other_spellings(text: str, path: str, value: Any) -> None:
    manifest = changed(text, path, value)
    assert not faults(manifest["kind"], manifest)


def test_accepts_the_manifests_that_the_next_test_breaks() -> None:
    for text in (SERVICE, MESH):
        for value in readings(text):
            assert not faults(value["kind"], value)
        assert is_read(yaml.safe_load(text))


# --- what it refuses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        (SERVICE, "apiVersion", "scone/5.7"),
        (SERVICE, "apiVersion", None),
        (SERVICE, "kind", "genservise"),
        (SERVICE, "owner", "me"),
        (SERVICE, "build", None),
        (SERVICE, "environment", None),
        (SERVICE, "build.name", "two words"),
        (SERVICE, "build.kind", "pyhton"),
        (SERVICE, "build.to", "Not An Image"),
        (SERVICE, "build.command", ""),
        (SERVICE, "build.command", "python3 'shop.py"),
        (SERVICE, "build.pwd", "app"),
        (SERVICE, "build.pwd", "/app/../etc"),
        (SERVICE, "build.copy", "shop.py"),
        (SERVICE, "build.copy", ["/etc/passwd"]),
        (SERVICE, "build.copy", ["../secret"]),
        (SERVICE, "build.dirs", ["/"]),
        (SERVICE, "build.directories", ["/app"]),
        (SERVICE, "build.signature.sign", "perhaps"),
        (SERVICE, "build.volumes.0.export.0.update_policy", "sometimes"),
        (SERVICE, "build.volumes.0.import", {"session": "other"}),
        (SERVICE, "environment.local.0", {"value": "x"}),
        (SERVICE, "environment.local.0.name", "1A"),
        (SERVICE, "environment.local.0.value", "much"),
        (SERVICE, "environment.local.1.value", 2),
        (SERVICE, "environment.local.2.value", "$$SCONE::password"),
        (SERVICE, "environment.locals", []),
        (SERVICE, "secrets.global.0.kind", "asci"),
        (SERVICE, "secrets.global.0.kind", None),
        (SERVICE, "secrets.global.0.size", 0),
        (SERVICE, "secrets.global.0.size", 70000),
        (SERVICE, "secrets.global.0.dns", ["shop"]),
        (SERVICE, "secrets.global.1.key_type", "RSA-1024"),
        (SERVICE, "secrets.global.2.private_key", None),
        (SERVICE, "secrets.global.2.endpoint", "both"),
        (SERVICE, "secrets.global.2.valid_for", "long"),
        (SERVICE, "secrets.global.3.value", "xyz"),
        (SERVICE, "secrets.import", "other"),
        (SERVICE, "injection_files.0.path", "etc/app.conf"),
        (SERVICE, "injection_files.0.content", "$$SCONE::raw:hexa$$"),
        (SERVICE, "injection_files.0.mode", "0400"),
        (MESH, "cas", []),
        (MESH, "cas.0.cas_url", None),
        (MESH, "cas.0.mode", "upload"),
        (MESH, "policy", None),
        (MESH, "policy.namespace", "two words"),
        (MESH, "policy.tolerate", "outdated-tbc"),
        (MESH, "policy.ignore_advisories", "SA-615"),
        (MESH, "policy.maa", "http://example.org"),
        (MESH, "env.0.service", None),
        (MESH, "env.0.env.0.name", None),
        (MESH, "env.0.env.1.value", 94430),
        (MESH, "services", None),
        (MESH, "services", []),
        (MESH, "services.0.image", None),
        (MESH, "services.0.image", "a b"),
        (MESH, "services.0.name", "helm"),
        (MESH, "services.0.helm", {}),
        (MESH, "helm_extra_values", [1]),
    ],
)
def test_refuses_what_no_manifest_may_hold(text: str, path: str, value: Any) -> None:
    manifest = changed(text, path, value)
    assert faults("mesh" if text is MESH else "genservice", manifest)


@pytest.mark.parametrize(
    "text",
    [
        "{name: a/b}",
        '{name: a//b, version: "0.3"}',
        '{name: a, version: "0.4"}',
        '{name: a, version: "0.3", services: [{name: x, attestation: [{}]}]}',
        '{name: a, version: "0.3", services: [{name: x, comand: y}]}',
        '{name: a, version: "0.3", secrets: [{name: s}]}',
        '{name: a, version: "0.3", secrets: [{name: s, kind: jwt}]}',
        '{name: a, version: "0.3", secrets: [{name: s, kind: ascii, export: {session: a, namespace: b}}]}',
        '{name: a, version: "0.3", access_policy: {read: []}}',
        '{name: a, version: "0.3", access_policy: {update: [{require-some: [CREATOR]}]}}',
        '{name: a, version: "0.3", security: {attestation: {mode: soft}}}',
        '{name: a, version: "0.3", security: {attestation: {tolerate: [everything]}}}',
        '{name: a, version: "0.3", volumes: [{name: v, files: open}]}',
        '{name: a, version: "0.3", images: [{name: i, injection_files: [etc/x]}]}',
        '{name: a, version: "0.3", secret_config: {store_in: elsewhere}}',
    ],
)
def test_refuses_what_no_session_may_hold(text: str) -> None:
    assert faults("session", yaml.safe_load(text))


# --- rules that the plan knows, too ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", value_rules.PARAMETERS)
@pytest.mark.parametrize("value", ["0", "1", "2", "3", "7", "64M", "64m", "-1", "x", "1.5", "64 M", "100000000"])
def test_parameters_are_refused_only_if_the_plan_refuses_them(name: str, value: str) -> None:
    _, problems = enclave_parameters([NamedValue(name=name, value=value)], mode="production")
    manifest = changed(SERVICE, "environment.local.0", {"name": name, "value": value})
    if not problems:
        assert not faults("genservice", manifest)
    elif not value.isdigit():
        assert faults("genservice", manifest)


def test_reserved_names_are_those_of_the_plan() -> None:
    for name in RESERVED_NAMES:
        assert faults("mesh", changed(MESH, "services.0.name", name))


def test_attestation_flags_are_those_of_the_command() -> None:
    for flag in value_rules.ATTESTATION_FLAGS:
        assert not faults("mesh", changed(MESH, "cas.0.tolerance", f"-G --{flag} 1"))
        try:
            tolerance.parse(f"--{flag}")
        except UsageError as error:
            assert "is no flag" not in error.message
    assert faults("mesh", changed(MESH, "cas.0.tolerance", "-G --anything-goes"))
    with pytest.raises(UsageError, match="is no flag") as refused:
        tolerance.parse("--xyzxyz")
    known = [word.strip() for word in refused.value.hint.removeprefix("known are ").split(",")]
    assert {f"--{flag}" for flag in value_rules.ATTESTATION_FLAGS} == {word for word in known if word.startswith("--")}


# --- other readers of the schemas -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_patterns_mean_the_same_in_javascript(kind: str) -> None:
    r"""Editors run them there, with the flag `u`: no \Z, no named groups, no needless escapes, no NUL."""

    def patterns(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            if isinstance(part.get("pattern"), str):
                yield part["pattern"]
            yield from part.get("patternProperties", ())
        for item in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from patterns(item)

    found = set(patterns(validator(kind).schema))
    assert len(found) > 10
    for text in found:
        outside = re.sub(r"\[(?:[^\]\\]|\\.)*\]", "", text)
        assert not re.search(r"\\[AZ0zGh]|\(\?[P<#>(i]|\\-|\\'|\\\"", outside), text
        assert "\\0" not in text
        re.compile(text)
