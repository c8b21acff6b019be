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
from sconectl.yaml_tree import parse

_MARK = "sconectl-mark-{}-"
_MARKED = re.compile(r"sconectl-mark-([0-9]+)-")


class _Secrets(BaseModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    secrets: tuple[Secret, ...]


def read_image_secrets(raw: bytes, file: str, lookup: Callable[[str], str | None]) -> tuple[Secret, ...]:
    """Return the secrets in the text `raw`. Raises `InvalidInput` with every fault, positions in `file`."""
    names: list[str] = []
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fault = Finding("error", "SC1001", Position(file, 1, 1), "", "the file is not UTF-8 text")
        raise InvalidInput([fault]) from error

    def mark(name: str) -> str:
        names.append(name)
        return _MARK.format(len(names) - 1)

    marked, _ = bind_mesh(text, mark)
    document = parse(marked, file)
    missing = sorted({name for name in names if lookup(name) is None})
    if missing:
        where = document.position(())
        raise InvalidInput([Finding("error", "SC2006", where, "", f"{{{{{name}}}}} has no value") for name in missing])

    def unmark(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: unmark(item) for key, item in value.items()}
        if isinstance(value, list):
            return [unmark(item) for item in value]
        if isinstance(value, str):
            return _MARKED.sub(lambda match: lookup(names[int(match[1])]) or "", value)
        return value

    try:
        return _Secrets.model_validate({"secrets": unmark(document.value)}).secrets
    except ValidationError as error:
        shifted = type(document)(
            file,
            {"secrets": document.value},
            {("secrets", *path): position for path, position in document.positions.items()}
            | {(): document.position(())},
            {("secrets", *path): position for path, position in document.key_positions.items()},
        )
        raise InvalidInput(findings_of(error, shifted, _Secrets)) from None
