"""YAML text in which `{{name}}` may stand anywhere, even unquoted: files that a mesh names beside its images.

In: the text and a lookup of names. Out: a document. A value can never change the structure of the document: names are
replaced by markers before it is read, and the markers by values afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sconectl.errors import InvalidInput
from sconectl.manifest.reading.variables import OWN_VALUES, fill_in
from sconectl.manifest.spelling.placeholders import Expression, bind_mesh, replace_expressions, unsupported
from sconectl.text.findings import Cause, Finding, Name, Position
from sconectl.text.yaml_tree import Document, Path, parse, show_path

Lookup = Callable[[str], str | None]
"""Gives the value behind a name, or None."""

EMPTY = "{{{{{}}}}} is empty, so that the secret would be empty or lack a part"
EMPTY_HINT = 'give it a value; for a secret that is empty, write value: ""'


def is_value_of_secret(path: Path) -> bool:
    """Say whether a place in a list of secrets, or in a session, holds a secret itself."""
    return (path[0] == "secrets" or isinstance(path[0], int)) and not OWN_VALUES.isdisjoint(path)


def bind_yaml(raw: bytes, file: str, lookup: Lookup, *, dollars: bool = False) -> Document:
    """Return the document in the text `raw`. Raises `InvalidInput` with every fault, positions in `file`.

    With `dollars`, a `$NAME` is a fault, since nobody fills it in here, and `$$NAME` is the text `$NAME`; and so is a
    name that leaves nothing in the value of a secret.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        fault = Finding("error", "SC1001", Position(file, line, 1), "", "the file is not UTF-8 text")
        raise InvalidInput([fault]) from error
    mark = "sconectl-mark"
    while mark in text:
        mark += "-x"
    marked: list[Expression] = []

    def place(expression: Expression) -> str:
        marked.append(expression)
        return f"{mark}-{len(marked) - 1}-"

    document = parse(replace_expressions(text, place), file)
    pattern = re.compile(rf"{mark}-([0-9]+)-")
    return replace(document, value=_Filler(document, pattern, marked, lookup, dollars).filled())


def without_variables(document: Document) -> Document:
    """Return a document in which a `$NAME` is a fault, and `$$NAME` a text; raises `InvalidInput`."""
    return replace(document, value=_Filler(document, re.compile(r"(?!)"), [], lambda _name: None, True).filled())


class _Filler:
    """Puts values where the markers are, and collects the names that have none."""

    def __init__(
        self, document: Document, pattern: re.Pattern[str], marked: list[Expression], lookup: Lookup, dollars: bool
    ) -> None:
        self._document = document
        self._pattern = pattern
        self._marked = marked
        self._lookup = lookup
        self._dollars = dollars
        self._faults: list[Finding] = []

    def filled(self) -> Any:
        value = self._fill(self._document.value, ())
        if self._faults:
            raise InvalidInput(self._faults)
        return value

    def _fill(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            for key in filter(self._pattern.search, value):
                where, hint = self._document.key_position((*path, key)), "{{name}} may only stand in values"
                shown = show_path((*path, "{{…}}"))
                self._faults.append(Finding("error", "SC1001", where, shown, "a key must be plain text", hint))
            return {key: self._fill(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._fill(item, (*path, number)) for number, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        if self._dollars and "$" in value:
            value = self._without_variables(value, path)
        for reason in unsupported(value):
            self._fault(path, reason, "write {{name}}, and what is no name between {% raw %} and {% endraw %}")
        return self._pattern.sub(lambda match: self._bound(self._marked[int(match[1])], path), value)

    def _without_variables(self, value: str, path: Path) -> str:
        filled = fill_in(value, lambda _name: None)
        if filled.names:
            hint = (
                "write {{NAME}}, and give NAME a value in env of the mesh; or write $$ for a $ that is meant as it is"
            )
            self._fault(path, "a variable like $NAME is not filled in here", hint, "SC1003")
        return filled.text

    def _bound(self, expression: Expression, path: Path) -> str:
        text, missing = bind_mesh(expression.source, self._lookup)
        for name in missing:
            hint = f"give {name} a value in the section `global` of env"
            self._fault(path, f"{{{{{name}}}}} has no value", hint, cause=Cause(Name("variable", "", name)))
        if not text and self._dollars and is_value_of_secret(path):
            self._fault(path, EMPTY.format(expression.name), EMPTY_HINT)
        return text

    def _fault(self, path: Path, message: str, hint: str, code: str = "SC2006", cause: Cause | None = None) -> None:
        self._faults.append(self._document.finding("error", code, path, message, hint, cause))
