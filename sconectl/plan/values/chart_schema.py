"""What the schema of a service's chart has against values, down to the parts that Kubernetes defines.

In: values of a service: some that a manifest gives, or all that its chart will have. Out: the place of each fault, what
is wrong, and a hint. The schema is that which Helm checks, so of JSON Schema this knows what is used there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sconectl import assets
from sconectl.manifest.model.faults import did_you_mean
from sconectl.text.yaml_tree import Path

Schema = Mapping[str, Any]
_KUBERNETES = "kubernetes:"
"""What references to the schemas of Kubernetes begin with."""
_QUANTITY = re.compile(r"[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+|[KMGTPE]i|[numkMGTPE])?\Z", re.ASCII)
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "quantity": (str, int, float),
    "number or name": (str, int),
}
_EXPECTED = {
    "object": "a mapping",
    "array": "a list",
    "string": "text (put it in quotes)",
    "boolean": "true or false",
    "integer": "a whole number",
    "quantity": "an amount, like 0.5, 250m or 512Mi",
    "number or name": "a number or a name",
}


@dataclass(frozen=True)
class Fault:
    """What is wrong with a value, or with the key that it has."""

    path: Path
    message: str
    hint: str = ""
    at_key: bool = False


class ChartSchema:
    """values.schema.json of the chart of a service."""

    def __init__(self) -> None:
        self._schema: Schema = json.loads(assets.read("charts_templates/service/values.schema.json"))

    def faults(self, values: Any, *, whole: bool = False) -> Iterator[Fault]:
        """Yield what is wrong with values; `whole` ones lack nothing that the chart's own values could bring."""
        return self._faults(values, self._schema, (), whole)

    def _faults(self, value: Any, schema: Schema, path: Path, whole: bool) -> Iterator[Fault]:
        """Yield what a schema has against a value; None removes one, and is always possible."""
        schema = self._followed(schema)
        if value is None:
            return
        if problem := _problem(value, schema):
            yield Fault(path, problem)
        elif isinstance(value, dict):
            keys = schema.get("propertyNames", {})
            for key, item in value.items():
                below = _known_below(schema, key)
                if problem := _problem(key, self._followed(keys)):
                    yield Fault((*path, key), problem, at_key=True)
                elif below is None and schema.get("additionalProperties") is False:
                    yield _unknown((*path, key), schema.get("properties", {}))
                elif item is None and key in schema.get("required", ()):
                    yield Fault((*path, key), "the chart needs this value")
                else:
                    yield from self._faults(item, below or schema.get("additionalProperties", {}), (*path, key), whole)
            yield from _lacking(value, schema, path, whole)
            if whole and "if" in schema and not any(self._faults(value, schema["if"], path, whole)):
                yield from self._faults(value, schema["then"], path, whole)
            ways = [list(self._faults(value, way, path, whole)) for way in schema.get("anyOf", ())]
            yield from ways[0] if ways and all(ways) else ()
        elif isinstance(value, list):
            for number, item in enumerate(value):
                yield from self._faults(item, schema.get("items", {}), (*path, number), whole)

    def _followed(self, schema: Schema) -> Schema:
        """Return what a schema refers to: a definition beside it, or a part that Kubernetes knows."""
        while reference := schema.get("$ref") or schema.get("x-kubernetes"):
            if reference.startswith(_KUBERNETES):
                schema = self._kubernetes[reference.removeprefix(_KUBERNETES)]
            else:
                schema = self._schema["definitions"][reference.rpartition("/")[2]]
        return schema

    @cached_property
    def _kubernetes(self) -> Schema:
        found: Schema = json.loads(assets.read("charts_templates/kubernetes.json"))
        return found


def _unknown(path: Path, known: Schema) -> Fault:
    hint = did_you_mean(str(path[-1]), known) or f"known here are {', '.join(sorted(known))}"
    return Fault(path, "the chart does not know this value", hint, at_key=True)


def _lacking(value: Schema, schema: Schema, path: Path, whole: bool) -> Iterator[Fault]:
    """Yield what an entry of a list lacks; what a section lacks may stand in the chart's own values."""
    if whole or (path and isinstance(path[-1], int)) or schema.get("whole"):
        for key in schema.get("required", ()):
            if key not in value:
                yield Fault(path, f"{key} is missing", f"add {key}")


def _known_below(schema: Schema, key: str) -> Any:
    """Return what a schema says about the value of a key that it knows; None if it knows no such key."""
    patterns = schema.get("patternProperties", {})
    fitting = (below for pattern, below in patterns.items() if re.search(pattern, key))
    return schema.get("properties", {}).get(key) or next(fitting, None)


def _problem(value: Any, schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if kind and (not isinstance(value, _TYPES[kind]) or (kind != "boolean" and isinstance(value, bool))):
        return f"expected {_EXPECTED[kind]}"
    if kind == "quantity" and not _QUANTITY.match(str(value)):
        return f"expected {_EXPECTED[kind]}"
    if "const" in schema and value != schema["const"]:
        return f"expected {schema['const']}"
    if "enum" in schema and value not in schema["enum"]:
        return f"expected one of {', '.join(schema['enum'])}"
    if isinstance(value, str) and len(value) > schema.get("maxLength", len(value)):
        return f"expected text of at most {schema['maxLength']} characters"
    if isinstance(value, list) and len(value) < schema.get("minItems", 0):
        return f"expected at least {schema['minItems']} of them"
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        return "expected text that is not empty"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return f"expected text of the form {schema['pattern']}"
    if value in schema.get("not", {}).get("enum", ()):
        return "this setting comes from the mesh"
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        limits = (f"from {schema['minimum']}", f"to {schema['maximum']}" if "maximum" in schema else "upwards")
        return f"expected a number {' '.join(limits)}"
    return ""
