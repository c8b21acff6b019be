"""Reads an `image_secrets` file: a YAML list of secrets in which `{{name}}` may stand anywhere, even unquoted.

In: its text and a lookup of names. Out: secrets. A value can never change the structure of the document: names are
replaced by markers before it is read, and the markers by values afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from sconectl.errors import InvalidInput
from sconectl.findings import Finding, Position
from sconectl.manifest.faults import findings_of
from sconectl.manifest.fields import Secret
from sconectl.manifest.placeholders import bind_mesh
from sconectl.yaml_tree import Path, parse, show_path


class _Secrets(BaseModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    secrets: tuple[Secret, ...]


def read_image_secrets(raw: bytes, file: str, lookup: Callable[[str], str | None]) -> tuple[Secret, ...]:
    """Return the secrets in the text `raw`. Raises `InvalidInput` with every fault, positions in `file`."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fault = Finding("error", "SC1001", Position(file, 1, 1), "", "the file is not UTF-8 text")
        raise InvalidInput([fault]) from error
    mark = "sconectl-mark"
    while mark in text:
        mark += "-x"
    names: list[str] = []

    def place(name: str) -> str:
        names.append(name)
        return f"{mark}-{len(names) - 1}-"

    marked, _ = bind_mesh(text, place)
    document = parse(marked, file)
    pattern = re.compile(rf"{mark}-([0-9]+)-")
    faults: list[Finding] = []

    def unmark(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            for key in filter(pattern.search, value):
                where, hint = document.key_position((*path, key)), "{{name}} may only stand in values"
                faults.append(Finding("error", "SC1001", where, show_path(path), "a key must be plain text", hint))
            return {key: unmark(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [unmark(item, (*path, number)) for number, item in enumerate(value)]
        return pattern.sub(lambda match: bound(names[int(match[1])], path), value) if isinstance(value, str) else value

    def bound(name: str, path: Path) -> str:
        value = lookup(name)
        if value is None:
            hint = f"give {name} a value in the section `global` of env"
            message = f"{{{{{name}}}}} has no value"
            faults.append(Finding("error", "SC2006", document.position(path), show_path(path), message, hint))
        return value or ""

    secrets = unmark(document.value, ())
    if faults:
        raise InvalidInput(faults)
    try:
        return _Secrets.model_validate({"secrets": secrets}).secrets
    except ValidationError as error:
        shifted = type(document)(
            file,
            {"secrets": document.value},
            {("secrets", *path): position for path, position in document.positions.items()}
            | {(): document.position(())},
            {("secrets", *path): position for path, position in document.key_positions.items()},
        )
        raise InvalidInput(findings_of(error, shifted, _Secrets)) from None
