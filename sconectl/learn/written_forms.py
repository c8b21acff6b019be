"""The forms of whole parts that are read before a model sees them: older spellings, short forms, exclusive fields.

In: the schema of a part as pydantic gives it. Out: the schema of what may be written, by the class of the part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel

from sconectl.learn import value_rules
from sconectl.learn.input_forms import NULL, Schema
from sconectl.learn.scalar_forms import REFERENCE, pattern
from sconectl.manifest.model import fields, genservice, mesh, program_input, repo, secrets, volumes
from sconectl.policy.model import access_policy, references, secret, security, services, session
from sconectl.policy.model import volumes as policy_volumes

Change = Callable[[Schema], Schema]


def _with(part: Schema, properties: dict[str, Schema], **keywords: Any) -> Schema:
    return {**part, "properties": {**part["properties"], **properties}, **keywords}


def _ref(part: type[BaseModel]) -> Schema:
    return {"$ref": f"#/$defs/{part.__name__}"}


def _older(schema: Schema, instead: str) -> Schema:
    """Return a field that is accepted and deprecated."""
    rest = {key: value for key, value in schema.items() if key not in ("examples", "default")}
    return {**rest, "description": f"Older spelling: {instead}.", "deprecated": True}


def _given(*names: str) -> Schema:
    """Demand that the fields are there and not empty."""
    return {"required": list(names), "properties": {name: {"not": NULL} for name in names}}


def _renamed(new: str, old: str) -> Change:
    """Accept a field under its older name, too."""

    def change(part: Schema) -> Schema:
        properties = {old: _older(part["properties"][new], f"write {new}")}
        if new not in part.get("required", ()):
            return _with(part, properties)
        required = [field for field in part["required"] if field != new]
        return _with(part, properties, required=required, anyOf=[{"required": [new]}, {"required": [old]}])

    return change


def _all_of(part: Schema, *rules: Schema) -> Schema:
    return {**part, "allOf": [*part.get("allOf", []), *rules]}


def _if_kind(kinds: Iterable[str], then: Schema) -> Schema:
    return {"if": {"required": ["kind"], "properties": {"kind": {"enum": list(kinds)}}}, "then": then}


def _none_of(*names: str) -> Schema:
    """Forbid fields, unless they are empty."""
    return {"properties": dict.fromkeys(names, NULL)}


_SECRET_RULES = (
    _if_kind(["x509", "x509-ca", "public-key"], {"anyOf": [_given("private_key"), _given("value")]}),
    _if_kind(["aad-token"], {"allOf": [_given("tenant_id", "client_id"), _none_of("value")]}),
    _if_kind(["pgp-key", "jwt"], _none_of("value")),
    _if_kind(["jwt"], _given("signer", "alg", "validity")),
    _if_kind(["config-fragment"], _given("value")),
    _if_kind(
        ["ascii", "binary", "private-key", "public-key", "x509-ca", "aad-token", "pgp-key", "jwt"],
        _none_of("endpoint", "dns", "san"),
    ),
    {"if": {"required": ["endpoint"], "properties": {"endpoint": {"const": "client"}}}, "then": _none_of("dns")},
)
_TEXT_SECRETS = ("ascii", "private-key", "public-key", "x509", "x509-ca")
_HEX = _if_kind(
    ["binary"],
    {
        "properties": {
            "value": {"anyOf": [{"type": "string", **pattern(r"\s*(?:[0-9A-Fa-f]{2})*\s*"), "x-late": True}, NULL]}
        }
    },
)
_SCALAR = _if_kind(_TEXT_SECRETS, {"properties": {"value": {"anyOf": [{"type": "string"}, NULL]}}})


def _genservice(part: Schema) -> Schema:
    kind = part["properties"]["kind"]
    older = {"const": "genAppImage", "description": "Older spelling: write genservice.", "deprecated": True}
    properties = {
        "kind": {**{key: value for key, value in kind.items() if key not in ("type", "const")},
                 "anyOf": [{"const": "genservice"}, older]},
        "requirements": _older({"type": "string"}, "write it below build"),
        "env": _older({"type": "array", "items": _ref(fields.NamedValue)}, "write environment.local"),
    }  # fmt: skip
    required = [field for field in part["required"] if field != "environment"]
    either = [{"required": ["environment"]}, {"required": ["env"]}]
    return _with(part, properties, required=required, anyOf=either)


def _build(part: Schema) -> Schema:
    kind = part["properties"]["kind"]
    about = {key: kind[key] for key in ("description", "examples") if key in kind}
    known = {key: value for key, value in kind.items() if key not in about}
    java = {"type": "string", "pattern": "^java (?:8|15|17|21)$", "deprecated": True}
    nothing: Schema = {"description": "Without effect any more: remove it.", "deprecated": True}
    part = _with(
        part,
        {
            "kind": {**about, "anyOf": [known, java]},
            "host_path": _older(part["properties"]["host_paths"], "write host_paths"),
            "binarfs.include-new": nothing,
            "binarfs": nothing,
        },
    )
    existing = {"allOf": [_given("from"), {"properties": {"copy": _EMPTY, "run": _EMPTY}}]}
    return _all_of(part, _if_kind(["sconify_image"], existing))


_EMPTY: Schema = {"anyOf": [NULL, {"type": "array", "maxItems": 0}]}


def _volume(part: Schema) -> Schema:
    exports: Schema = {"required": ["export"], "properties": {"export": {"type": "array", "minItems": 1}}}
    return _all_of(part, {"not": {"allOf": [_given("import"), exports]}})


def _one_target(part: Schema) -> Schema:
    return {**part, "oneOf": [_given("session"), _given("namespace")]}


def _mesh(part: Schema) -> Schema:
    env = part["properties"]["env"]
    about = {key: value for key, value in env.items() if key not in ("anyOf", "type", "items")}
    value = {**_ref(mesh.MeshValue), "description": "Older spelling: write sections.", "deprecated": True}
    items = {"anyOf": [_ref(mesh.EnvironmentSection), value]}
    helm = {"type": "array", "items": {"type": "string"}}
    return _with(
        part,
        {
            "env": {**about, "anyOf": [{"type": "array", "items": items}, NULL]},
            "helm": _older(helm, "write helm_extra_values"),
        },
    )


def _mesh_service(part: Schema) -> Schema:
    name = part["properties"]["name"]
    about = {key: name[key] for key in ("description", "examples")}
    form = {key: value for key, value in name.items() if key not in about}
    required = [field for field in part["required"] if field != "name"]
    return _with(part, {"name": {**about, "anyOf": [form, NULL, {"const": ""}]}}, required=required)


_SHORT: Schema = {
    "type": "string",
    "pattern": "^[^/]*/[a-z_]+=",
    "description": "Short form, with absolute names.",
    "examples": ["/session=shop/cart,secret=password"],
}


def _short(part: Schema) -> Schema:
    return {"anyOf": [_SHORT, part], "description": part["description"]}


def _export(part: Schema) -> Schema:
    return _short(_one_target(part))


def _volume_export(part: Schema) -> Schema:
    fields = part["properties"]
    target = {key: fields[key] for key in ("session", "session_hash")}
    to = {"type": "object", "properties": target, "required": ["session"], "additionalProperties": False}
    described = {
        "description": "The session; with update_policy or volume_alias it stands here.",
        "anyOf": [_SHORT, to],
    }
    both = _with(part, {"to": described}, required=[], oneOf=[{"required": ["session"]}, {"required": ["to"]}])
    return _short(both)


def _enclaves(part: Schema) -> Schema:
    part = _with(
        part,
        {
            "mrenclaves": _older({"type": "array", "items": {"type": "string"}}, "write attestation: [{mrenclave: …}]"),
            "persistency": {
                "description": "Without effect; a CAS writes it into sessions that are read back.",
                "deprecated": True,
            },
        },
    )
    return _all_of(part, {"not": {"allOf": [_given("attestation"), _given("mrenclaves")]}})


def _variant(part: Schema) -> Schema:
    return {**part, "anyOf": [_given("mrenclave"), _given("signer")]}


def _path_alone(part: Schema) -> Schema:
    permission = {**part["properties"]["permission"], "default": "0o700"}
    written = _with(part, {"permission": permission})
    return {"anyOf": [{"type": "string", "pattern": "^/"}, written], "description": part["description"]}


def _rule(part: Schema) -> Schema:
    description = "Who has to agree; entries may be rules again. Also require-at-least-N, with N from 1."
    children = {**part["properties"]["of"], "minItems": 1, "description": description}
    return {
        "type": "object",
        "title": "Rule",
        "description": "All of the entries have to agree (require-all), or so many of them (require-at-least-2).",
        "patternProperties": {"^require-(?:all|at-least-[0-9]{1,6})$": children},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _access_policy(part: Schema) -> Schema:
    def one_or_many(schema: Schema) -> Schema:
        many = next((form for form in schema.get("anyOf", ()) if form.get("type") == "array"), schema)
        form = {"type": "array", "items": many["items"], "minItems": 1}
        about = {key: value for key, value in schema.items() if key not in ("type", "items", "anyOf")}
        return {**about, "anyOf": [many["items"], form]}

    operations = {name: one_or_many(schema) for name, schema in part["properties"].items()}
    description = "Who may do what with a session. Without an entry for an operation its default holds."
    return {**part, "properties": operations, "description": description}


def _secret_config(part: Schema) -> Schema:
    vault = {key: part["properties"][key] for key in ("token", "vault")}
    akv = {"type": "object", "properties": vault, "required": ["token", "vault"], "additionalProperties": False}
    return {
        "type": "object",
        "title": "SecretConfig",
        "description": part["description"],
        "properties": {
            "store_in": {"description": "`!cas`, or `!akv` with token and vault.", "anyOf": [NULL, {"const": ""}, akv]}
        },
        "additionalProperties": False,
    }


def _session_secret(part: Schema) -> Schema:
    imported = {"anyOf": [_given("import"), _given("import_akv")]}
    rules = [{"if": {"not": imported}, "then": rule} for rule in (_given("kind"), *_SECRET_RULES)]
    return _all_of(part, *rules, {"not": {"allOf": [_given("import"), _given("import_akv")]}})


def _session(part: Schema) -> Schema:
    def reference(name: str) -> Schema:
        schema = part["properties"][name]
        forms = [form if "$ref" in form else {**form, **pattern(REFERENCE)} for form in schema["anyOf"]]
        return {**schema, "anyOf": forms}

    version = part["properties"]["version"]
    about = {key: version[key] for key in ("description", "examples")}
    form = {key: value for key, value in version.items() if key not in about}
    part = _with(
        part,
        {
            "version": {**about, "anyOf": [form, {"const": 0.3}]},  # what `version: 0.3` is for other readers
            "access_policy": reference("access_policy"),
            "security": reference("security"),
        },
    )
    return _all_of(part, {"not": {"allOf": [_given("predecessor"), _given("namespace_hash")]}})


def _both(first: Change, second: Change) -> Change:
    return lambda part: second(first(part))


WRITTEN: dict[type[BaseModel], Change] = {
    genservice.GenService: _genservice,
    genservice.Build: _both(_build, value_rules.encrypted_directories),
    program_input.Environment: value_rules.parameters,
    program_input.InjectionFile: value_rules.whole_placeholders("content"),
    fields.NamedValue: _both(_renamed("name", "key"), value_rules.whole_placeholders("value")),
    fields.NamedDefault: _renamed("name", "key"),
    secrets.Secret: lambda part: _all_of(part, *_SECRET_RULES, _HEX, _SCALAR),
    secrets.ExportTarget: _one_target,
    volumes.Volume: _volume,
    mesh.Mesh: _mesh,
    mesh.MeshService: _both(_mesh_service, value_rules.free_name),
    mesh.MeshValue: _both(_renamed("name", "key"), value_rules.port),
    mesh.Cas: value_rules.known_flags,
    mesh.Policy: value_rules.attestation,
    repo.Repo: _renamed("key_file", "signature"),
    session.Session: _session,
    services.Service: _enclaves,
    services.Variant: _variant,
    policy_volumes.InjectionFile: _path_alone,
    access_policy.Rule: _rule,
    access_policy.AccessPolicy: _access_policy,
    security.SecretConfig: _secret_config,
    secret.Secret: _session_secret,
    references.Export: _export,
    references.Import: _short,
    references.VolumeImport: _short,
    references.VolumeExport: _volume_export,
}
