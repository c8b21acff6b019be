"""Turns what pydantic found in a manifest into findings: position, field, expectation and remedy, never the value."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from sconectl.findings import Finding
from sconectl.yaml_tree import Document, Path, show_path

_EXPECTED = {
    "bool_parsing": "expected true or false",
    "dict_type": "expected a mapping",
    "int_parsing": "expected a whole number",
    "model_type": "expected a mapping",
    "string_type": "expected text",
    "tuple_type": "expected a list",
    "too_short": "expected at least one entry",
    "string_too_short": "expected some text",
}


def findings_of(error: ValidationError, document: Document, model: type[BaseModel]) -> list[Finding]:
    """Return one finding for each fault of the document."""
    findings = []
    for fault in error.errors(include_url=False, include_input=False):
        path = _document_path(fault["loc"], document)
        kind = fault["type"]
        if kind == "too_short" and (*path, 0) in document.positions:
            continue  # its entries are there, but faulty
        position = document.key_position(path) if kind == "extra_forbidden" else document.position(path)
        message, hint = _explain(kind, fault, path, model)
        findings.append(Finding("error", "SC1002", position, show_path(path), message, hint))
    return sorted(set(findings), key=lambda finding: finding.position)


def _document_path(location: tuple[int | str, ...], document: Document) -> Path:
    """Drop the steps that name a member of a union instead of a field."""
    path: Path = ()
    for number, step in enumerate(location):
        if (*path, step) in document.positions or number == len(location) - 1:
            path = (*path, step)
    parent = path[:-1]
    last = path[-1:]
    return path if path in document.positions or not last or _is_field(last[0]) else parent


def _is_field(step: int | str) -> bool:
    return isinstance(step, str) and step.replace("_", "").isalnum()


def _explain(kind: str, fault: Any, path: Path, model: type[BaseModel]) -> tuple[str, str]:
    if kind == "extra_forbidden":
        return "unknown field", did_you_mean(str(path[-1]), _fields(model, path[:-1])) or "remove it"
    if kind == "missing":
        return "this field is missing", f"add {path[-1]}"
    if kind in _EXPECTED:
        return _EXPECTED[kind], ""
    if kind == "value_error":
        return str(fault["ctx"]["error"]), ""
    return str(fault["msg"]).replace("Input should be", "expected"), ""


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return a hint that names the candidate nearest to `word`, or nothing."""
    near = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


def _fields(model: type[BaseModel], path: Path) -> list[str]:
    """Return the field names of the part of `model` at `path`."""
    current: type[BaseModel] | None = model
    for step in path:
        if isinstance(step, int) or current is None:
            continue
        by_name = {field.alias or name: field for name, field in current.model_fields.items()}
        current = _model_in(by_name[step].annotation) if step in by_name else None
    return [field.alias or name for name, field in current.model_fields.items()] if current else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
