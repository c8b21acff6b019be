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
from sconectl.findings import Finding, Position
from sconectl.manifest.placeholders import Expression, bind_mesh, replace_expressions, unsupported
from sconectl.yaml_tree import Document, Path, parse, show_path

Lookup = Callable[[str], str | None]
"""Gives the value behind a name, or None."""


def bind_yaml(raw: bytes, file: str, lookup: Lookup) -> Document:
    """Return the document in the text `raw`. Raises `InvalidInput` with every fault, positions in `file`."""
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
    return replace(document, value=_Filler(document, re.compile(rf"{mark}-([0-9]+)-"), marked, lookup).filled())


class _Filler:
    """Puts values where the markers are, and collects the names that have none."""

    def __init__(self, document: Document, pattern: re.Pattern[str], marked: list[Expression], lookup: Lookup) -> None:
        self._document = document
        self._pattern = pattern
        self._marked = marked
        self._lookup = lookup
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
        for reason in unsupported(value):
            self._fault(path, reason, "write {{name}}, and what is no name between {% raw %} and {% endraw %}")
        return self._pattern.sub(lambda match: self._bound(self._marked[int(match[1])], path), value)

    def _bound(self, expression: Expression, path: Path) -> str:
        text, missing = bind_mesh(expression.source, self._lookup)
        for name in missing:
            hint = f"give {name} a value in the section `global` of env"
            self._fault(path, f"{{{{{name}}}}} has no value", hint)
        return text

    def _fault(self, path: Path, message: str, hint: str) -> None:
        position = self._document.position(path)
        self._faults.append(Finding("error", "SC2006", position, show_path(path), message, hint))
