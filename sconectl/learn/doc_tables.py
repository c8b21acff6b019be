"""Tables of the pages in docs/: fields and their values from the models, codes, and how changes are judged.

In: a page with marks like `<!-- fields genservice.build -->`, and `<!-- end -->` behind the table. Out: the page with
the tables of today. scripts/write_docs.py writes them, and a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from sconectl.codes.all_codes import all_codes
from sconectl.learn.field_pages import Schema, description_of, field_at, fields_of, forms_of, meanings_of
from sconectl.learn.json_schema import json_schema
from sconectl.policy.diff.judgements import JUDGEMENTS
from sconectl.text.rendering import render
from sconectl.text.yaml_text import dump

_MARK = re.compile(r"(<!-- (fields|values|codes|judgements) ?([A-Za-z0-9_.]*) -->\n).*?(?=<!-- end -->)", re.DOTALL)
_HEADING_OR_MARK = re.compile(r"^#+ (?P<heading>.*)$|<!-- (?:fields|values) (?P<path>[A-Za-z_.]+) -->", re.MULTILINE)
_CODE_OR_ANGLE = re.compile(r"(`[^`]*`)|<")

Row = tuple[str, ...]


def with_tables(page: str) -> str:
    """Return the page with each of its tables written anew."""
    places = _places(page)
    return _MARK.sub(lambda match: match[1] + _table(match[2], match[3], places), page)


def _table(about: str, path: str, places: Mapping[str, str]) -> str:
    if about == "codes":
        found = ((name, code.title) for name, code in all_codes().items() if name.startswith(path))
        return _written(("code", "about"), found)
    if about == "judgements":
        return _written(("field of a session", "weakens", "or never does, because"), _judgements())
    kind, *steps = path.split(".")
    root = _schema(kind)
    schema = field_at(kind, root, steps).schema
    if about == "values":
        rows: list[Row] = [(f"`{value}`", meaning) for value, meaning in meanings_of(schema, root).items()]
        return _written(("value", "meaning"), rows)
    return _written(("field", "default", "meaning", "example"), _rows(schema, root, path, "", places))


def _judgements() -> Iterator[Row]:
    for field, judgement in JUDGEMENTS.items():
        codes, reason = ("", judgement) if isinstance(judgement, str) else (", ".join(judgement), "")
        yield f"`{field}`", codes, reason


def _written(head: Row, rows: Iterable[Row]) -> str:
    return render("learn/table.md", written_in_a_cell, head=head, rows=rows)


def written_in_a_cell(text: str) -> str:
    """Return text as it stands in a cell of a Markdown table."""
    visible = _CODE_OR_ANGLE.sub(lambda match: match[1] or "&lt;", " ".join(text.split()))
    return visible.replace("|", r"\|")


@cache
def _schema(kind: str) -> Schema:
    return json_schema(kind)


def _rows(schema: Schema, root: Schema, path: str, above: str, places: Mapping[str, str]) -> Iterator[Row]:
    """Yield a row for each field of a part, and for the fields below it that have no table of their own."""
    for name, field in fields_of(schema, root).items():
        if field.schema.get("deprecated"):
            continue
        own = f"{path}.{name}"
        shown = f"`{above}{name}`"
        anchor = places.get(own) or ("" if above else places.get(f"`{name}`", ""))
        meaning = description_of(field.schema, root)
        if own not in places and (values := meanings_of(field.schema, root)):
            meaning += f" {'One of' if len(values) > 1 else 'Only'} {', '.join(f'`{value}`' for value in values)}."
        examples = field.schema.get("examples")
        yield (
            f"[{shown}](#{anchor})" if anchor else shown,
            "needed" if field.needed else _code(field.schema["default"]) if "default" in field.schema else "",
            meaning,
            _code(examples[0]) if examples else "",
        )
        if own not in places:
            is_list = any("items" in form for form in forms_of(field.schema, root))
            yield from _rows(field.schema, root, own, f"{above}{name}{'[]' if is_list else ''}.", places)


def _code(value: Any) -> str:
    return f"`{_in_one_line(value)}`"


def _in_one_line(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "{" + ", ".join(f"{key}: {_in_one_line(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list) and value:
        return "[" + ", ".join(map(_in_one_line, value)) + "]"
    return dump(value).rstrip("\n")


def _places(page: str) -> dict[str, str]:
    """Return the anchor of the heading above each table, by the path of the table, and of each heading by its text."""
    found, anchor = {}, ""
    for match in _HEADING_OR_MARK.finditer(page):
        if match["path"]:
            found[match["path"]] = anchor
        else:
            anchor = re.sub(r"[^\w -]", "", match["heading"].lower()).replace(" ", "-")
            found[match["heading"]] = anchor
    return found
