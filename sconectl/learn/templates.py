"""Makes a schema fit what stands in a file: scalars of any type, templates, nothing.

In: a JSON Schema of the values that the models read, where every scalar is text. Out: one for what editors see. `1` and
`true` are texts there, too, and a text may be a template that is filled in before it is checked: `$VAR` and `${VAR}`
anywhere, `{{…}}` and `{%…%}` where the mesh may do it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sconectl.learn.scalar_forms import LATE

Schema = dict[str, Any]

ABOUT = ("title", "description", "deprecated", "default", "examples")
_VARIABLE = r"\$[A-Za-z_{]"
_LATER = r"\{[{%]"
_SCALARS = ["string", "number", "boolean"]
_NOT_TEXT = ("true", "0", "-1", "1.5", "1e3", "0x1f", *("1" * length for length in (1, 2, 5, 16, 26, 32, 40, 50, 64)))
"""How booleans and numbers may be written: where none of these fits, only text does."""
_FLAG = "^(?:[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$"
_MAPS = frozenset({"properties", "patternProperties"})
_LISTS = frozenset({"anyOf", "oneOf", "allOf"})
_SINGLE = frozenset({"items", "additionalProperties", "not", "if", "then"})


def complete(schema: Any) -> Any:
    """Return the schema of what stands in a file."""
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("type"), str) and schema["type"] in _CHANGES:  # ["string"] really means text only
        return _simple(_scalar(schema))
    done: Schema = {}
    for key, value in schema.items():
        if key in _MAPS:
            done[key] = {name: complete(part) for name, part in value.items()}
        elif key in _LISTS:
            done["anyOf" if key == "oneOf" and "discriminator" in schema else key] = [complete(part) for part in value]
        elif key in _SINGLE:
            done[key] = complete(value)
        elif key != "discriminator" and not (key == "default" and _says_nothing(value)):
            done[key] = value
    if "patternProperties" in done:
        done.setdefault("additionalProperties", False)
    return _simple(done)


def _says_nothing(default: Any) -> bool:
    return default is None or isinstance(default, (dict, list, tuple))


def _scalar(schema: Schema) -> Schema:
    about = {key: schema[key] for key in ABOUT if schema.get(key) is not None}
    template = f"{_VARIABLE}|{_LATER}" if schema.get(LATE) else _VARIABLE
    rest = {key: value for key, value in schema.items() if key not in (*ABOUT, LATE)}
    return {**about, **_CHANGES[schema["type"]](rest, template)}


def _text(rest: Schema, template: str) -> Schema:
    if "const" in rest:
        return {"const": rest["const"]}
    if "enum" in rest:
        return {"anyOf": [rest, {"type": "string", "pattern": template}]}
    if "pattern" not in rest:
        return {**rest, "type": _SCALARS}
    only_text = not any(re.search(rest["pattern"], text) for text in _NOT_TEXT)
    return {**rest, "pattern": f"{rest['pattern']}|{template}", "type": "string" if only_text else _SCALARS}


def _integer(rest: Schema, template: str) -> Schema:
    digits = "0*[1-9][0-9]{0,5}" if rest.get("minimum", 0) > 0 else "[0-9]{1,6}"
    return {"anyOf": [rest, {"type": "string", "pattern": f"^{digits}$|{template}"}]}


def _flag(_: Schema, template: str) -> Schema:
    return {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": f"{_FLAG}|{template}"}]}


_CHANGES: dict[Any, Callable[[Schema, str], Schema]] = {"string": _text, "integer": _integer, "boolean": _flag}


def _simple(schema: Schema) -> Schema:
    """Join alternatives of alternatives, and a single scalar with nothing."""
    if "anyOf" not in schema or "required" in schema:
        return schema
    forms: list[Schema] = []
    for form in schema["anyOf"]:
        forms += [part for part in (form["anyOf"] if set(form) == {"anyOf"} else [form]) if part not in forms]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    null = {"type": "null"}
    others = [form for form in forms if form != null]
    if len(forms) == 2 and len(others) == 1 and others[0].get("type") in (_SCALARS, "string"):
        types = others[0]["type"]
        return {**rest, **others[0], "type": [*(types if isinstance(types, list) else [types]), "null"]}
    return {**rest, **forms[0]} if len(forms) == 1 else {**rest, "anyOf": forms}
