"""A page about a field, like `genservice.build.dirs`, read from the published schema of its kind.

In: a schema and the steps to the field. Out: lines for a terminal. Raises `NoSuchField` with the names that there are.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sconectl.errors import UsageError
from sconectl.text.yaml_text import dump

Schema = Mapping[str, Any]
_WIDTH = 80


class NoSuchField(UsageError):
    """There is no such field at `place`; `known` are the names that are there."""

    def __init__(self, place: str, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no field {name} in {place}")
        self.place, self.name, self.known = place, name, known


@dataclass(frozen=True)
class Field:
    """A field where it stands: what its schema says, and whether the part that it is in needs it."""

    schema: Schema
    needed: bool


def steps_of(words: str) -> list[str]:
    """Return the steps of a path as people write them: `mesh.services[].image` and `mesh.services[0].image`, too."""
    return [step for step in re.sub(r"\[[0-9]*\]", "", words.strip()).split(".") if step]


def field_page(kind: str, schema: Schema, steps: Sequence[str]) -> list[str]:
    """Return the page about the field of `kind` that `steps` lead to; no steps: about the kind itself."""
    return [".".join([kind, *steps]), *_page(field_at(kind, schema, steps), schema, steps)]


def field_at(kind: str, schema: Schema, steps: Sequence[str]) -> Field:
    """Return the field of `kind` that `steps` lead to; no steps: the kind itself."""
    field = Field(schema, needed=True)
    place = kind
    for step in steps:
        known = fields_of(field.schema, schema)
        if step not in known:
            raise NoSuchField(
                place, step, [name for name, found in known.items() if not found.schema.get("deprecated")]
            )
        field = known[step]
        place = f"{place}.{step}"
    return field


def _page(field: Field, root: Schema, steps: Sequence[str]) -> Iterator[str]:
    yield from _wrapped(description_of(field.schema, root), "  ")
    yield ""
    yield f"  form      {_form(field.schema, root)}"
    if steps:
        yield f"  needed    {'yes' if field.needed else 'no'}"
    if field.schema.get("deprecated"):
        yield "  older     accepted, with a remark; write the newer form"
    if "default" in field.schema:
        yield f"  default   {dump(field.schema['default']).rstrip()}"
    meanings = meanings_of(field.schema, root)
    if meanings:
        yield from ("", "  values")
        yield from _table((value, meaning) for value, meaning in meanings.items())
    fields = fields_of(field.schema, root)
    current = {name: found for name, found in fields.items() if not found.schema.get("deprecated")}
    if current:
        yield from ("", "  fields    (* needed)")
        yield from _table(
            (f"{name}{'*' if found.needed else ''}", _first_sentence(description_of(found.schema, root)))
            for name, found in current.items()
        )
    older = [name for name in fields if name not in current]
    if older:
        yield from ("", *_wrapped(f"older spellings: {', '.join(older)}", "  "))
    examples = field.schema.get("examples", ())
    if examples and steps:
        yield from ("", "  example" if len(examples) == 1 else "  examples")
        for example in examples:
            yield from (f"    {line}" for line in dump({steps[-1]: example}).splitlines())


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _table(rows: Iterator[tuple[str, str]]) -> Iterator[str]:
    found = list(rows)
    column = min(max(len(name) for name, _ in found), 24)
    for name, text in found:
        lines = textwrap.wrap(text, _WIDTH - 6 - column, break_on_hyphens=False) or [""]
        if len(name) > column:
            yield f"    {name}"
            name = ""
        yield f"    {name.ljust(column)}  {lines[0]}".rstrip()
        for line in lines[1:]:
            yield f"    {'':{column}}  {line}"


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.]) ", text, maxsplit=1)[0]


def description_of(schema: Schema, root: Schema) -> str:
    """Return the description of a field, or of the part that it holds."""
    if "description" in schema:
        return str(schema["description"])
    for form in forms_of(schema, root):
        if "description" in form:
            return str(form["description"])
    return "No more is known about it: it may have any form."


def forms_of(schema: Schema, root: Schema) -> Iterator[Schema]:
    """Yield the schema and what it stands for: its definition, its alternatives."""
    yield schema
    if "$ref" in schema:
        yield from forms_of(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    for key in ("anyOf", "oneOf"):
        for form in schema.get(key, ()):
            is_rule = not set(form) - {"required", "properties"}  # about which fields go together
            if not is_rule and not form.get("deprecated"):
                yield from forms_of(form, root)


def fields_of(schema: Schema, root: Schema) -> dict[str, Field]:
    """Return the fields of a mapping, of the entries of a list, or of any of the alternatives."""
    found: dict[str, Field] = {}
    for form in forms_of(schema, root):
        if form.get("type") == "object":
            needed = _needed(form)
            for name, part in form.get("properties", {}).items():
                found.setdefault(name, Field(part, name in needed))
            for pattern, part in form.get("patternProperties", {}).items():
                if pattern.startswith("^require"):
                    found.setdefault("require-all", Field(part, needed=False))
        elif "items" in form:
            for name, field in fields_of(form["items"], root).items():
                found.setdefault(name, field)
    return found


def _needed(form: Schema) -> set[str]:
    """Return the names of needed fields; where one of two spellings is needed, the newer one."""
    needed = set(form.get("required", ()))
    first: Schema = next(iter(form.get("anyOf", ())), {})
    return needed | (set(first.get("required", ())) if set(first) == {"required"} else set())


def meanings_of(schema: Schema, root: Schema) -> dict[str, str]:
    """Return the values of a field that has one of a few, or whose entries have."""
    for form in forms_of(schema, root):
        if "enum" in form:
            return dict(zip(form["enum"], form.get("enumDescriptions") or [""] * len(form["enum"]), strict=True))
        if "items" in form and (found := meanings_of(form["items"], root)):
            return found
        if form.get("type") == "object":
            return {}
    return {}


def _form(schema: Schema, root: Schema) -> str:
    """Say in words what may stand there."""
    words: list[str] = []
    for form in forms_of(schema, root):
        word = _word(form, root)
        if word and word not in words:
            words.append(word)
    if len(words) > 1:  # numbers, flags and values of a list may be written as text: no second form
        exact = [word for word in words if word != "text"]
        plain = any(form.get("type") == ["string", "number", "boolean"] for form in forms_of(schema, root))
        words = words if plain else exact
    return " or ".join(words) or "anything"


def _word(form: Schema, root: Schema) -> str:
    kind = form.get("type")
    if form.get("deprecated") and "const" in form:
        return ""
    if "const" in form:
        return str(form["const"])
    if "enum" in form:
        return "one of the values below"
    if kind == "object":
        return "mapping"
    if kind == "array":
        return f"list of {_plural(_form(form.get('items', {}), root))}"
    if kind in ("integer", "number"):
        bounds = f" from {form['minimum']} to {form['maximum']}" if {"minimum", "maximum"} <= set(form) else ""
        return f"whole number{bounds}"
    if kind == "boolean":
        return "true or false"
    return "text" if kind is not None and kind != "null" else ""


def _plural(words: str) -> str:
    many = {"text": "texts", "mapping": "mappings", "one of the values below": "the values below"}
    return " or ".join(many.get(word, word) for word in words.split(" or "))
