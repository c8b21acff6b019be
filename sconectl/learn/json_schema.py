"""JSON Schemas (2020-12) of the manifests and of sessions, generated from the models that read them.

In: the name of a kind. Out: a schema as plain values: what editors complete and explain, and refuse if they can tell.
Whatever `sconectl validate` accepts fits the schema. The reverse does not hold: what fields say about each other, what
names lead to and what a template becomes is beyond a schema.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from sconectl.learn.input_forms import NULL, accepted
from sconectl.learn.scalar_forms import LATE, Form, form_of
from sconectl.learn.templates import ABOUT, complete
from sconectl.learn.written_forms import WRITTEN
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.policy.model.session import Session

KINDS: dict[str, type[BaseModel]] = {"genservice": GenService, "mesh": Mesh, "session": Session}
_TITLES = {
    "genservice": "sconectl service manifest",
    "mesh": "sconectl mesh manifest",
    "session": "CAS session (policy), language 0.3",
}
_MODEL = "x-model"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def identifier(kind: str) -> str:
    """Return the `$id` of a schema."""
    return f"https://sconectl.io/schemas/{kind}.json"


def json_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of one of `KINDS`."""
    made = KINDS[kind].model_json_schema(by_alias=True, schema_generator=Generator)
    definitions = made.pop("$defs")
    root = made.pop("$ref", None)
    name = root.rpartition("/")[2] if root else KINDS[kind].__name__
    top = definitions.pop(name) if root else made
    parts = {name: top, **definitions}
    for part, schema in parts.items():
        change = WRITTEN.get(schema.pop(_MODEL, BaseModel))
        parts[part] = schema if change is None else change(schema)
    if kind == "session":
        parts = {part: _or_nothing(schema) if "properties" in schema else schema for part, schema in parts.items()}
    done = {part: complete(schema) for part, schema in parts.items()}
    head = {"$schema": _DIALECT, "$id": identifier(kind), "title": _TITLES[kind]}
    top = {key: value for key, value in done.pop(name).items() if key != "title"}
    return {**head, **top, "$defs": {part: done[part] for part in sorted(done)}}


def schema_text(kind: str) -> str:
    """Return the published form of a schema."""
    return json.dumps(json_schema(kind), indent=2, ensure_ascii=False) + "\n"


class Generator(GenerateJsonSchema):
    """Asks the checks of a field what they demand; to pydantic alone they are functions."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Keep the class with its schema, until what it reads besides its fields is added."""
        return {**super().model_schema(schema), _MODEL: schema["cls"]}

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        """Add what the check demands."""
        inner = self.generate_inner(schema["schema"])
        form = form_of(schema["function"]["function"])
        return inner if form is None else _with_form(inner, form)

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """Add the forms that are brought into the one of the field."""
        inner = self.generate_inner(schema["schema"])
        return accepted(schema["function"]["function"], inner)

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Leave titles of fields out: they repeat the key."""
        return False

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        """Keep the order of the models."""
        return value


def _with_form(inner: JsonSchemaValue, form: Form) -> JsonSchemaValue:
    if inner.get("type") != "string":
        return inner
    return {**inner, **form.keywords, **({LATE: True} if form.late else {})}


def _or_nothing(part: dict[str, Any]) -> dict[str, Any]:
    """Accept `key: ~` for each field of a session that may be left out; it means the same."""
    needed = part.get("required", ())
    fields = part.get("properties", {}).items()
    return {**part, "properties": {name: form if name in needed else _or_null(form) for name, form in fields}}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    about = {key: value for key, value in schema.items() if key in ABOUT}
    form = {key: value for key, value in schema.items() if key not in ABOUT}
    return {**about, "anyOf": [form, NULL]} if form else schema
