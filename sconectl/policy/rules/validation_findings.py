"""Turns what pydantic found into findings: position, field, expectation and remedy, never the value itself.

In: a validation error of one part, the document, and the place of the part in it. Out: findings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from sconectl.policy.forms.fields import UPGRADE
from sconectl.policy.forms.violation import code_of
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Document, Path

_EXPECTED = {
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "dict_type": "expected a mapping",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "string_type": "expected text",
    "too_short": "expected at least one entry",
    "string_too_short": "expected some text",
    "string_too_long": "the text is too long",
}

_MISSING = {
    ("name",): "N1",
    ("services", "name"): "S1",
    ("secrets", "import", "session"): "X5",
    ("secrets", "import", "secret"): "X5",
    ("volumes", "import", "session"): "X5",
    ("volumes", "import", "volume"): "X5",
    ("volumes", "export", "session"): "X5",
}


def findings_of(error: ValidationError, document: Document, prefix: Path) -> Iterator[Finding]:
    """Yield one finding for each fault in `error`; `prefix` is the place of the validated part."""
    for fault in error.errors(include_url=False, include_input=False):
        yield _finding(fault, document, prefix)


def _finding(fault: Any, document: Document, prefix: Path) -> Finding:
    location = tuple(fault["loc"])
    context = fault.get("ctx", {})
    about_key = location[-1:] == ("[key]",)
    path = _place(document, prefix, (location[:-1] if about_key else location) + tuple(context.get("at", ())))
    kind = str(fault["type"])
    at_key = about_key or kind in {"extra_forbidden", "D3"}
    rule, message, hint = _explained(kind, fault, path, context)
    return document.finding("error", code_of(rule), path, message, hint, at_key=at_key)


def _place(document: Document, prefix: Path, location: tuple[str | int, ...]) -> Path:
    """Return where a fault is in the text: without the tags of unions, and with governance rules as written."""
    path = prefix
    for step in location:
        if isinstance(step, str) and step.startswith("@") and (*path, step) not in document.positions:
            continue
        if step == "of" and (*path, step) not in document.positions:
            path = (*path, *_only_key(document, path))
        elif step != 0 or (*path, 0) in document.positions:  # a single entry need not be written as a list
            path = (*path, step)
    return path


def _only_key(document: Document, path: Path) -> Path:
    """Return the key of the mapping at `path` if it has just one, like `require-all`."""
    value: Any = document.value if path in document.positions else None
    for step in path if value is not None else ():
        value = value[step]
    return tuple(value) if isinstance(value, dict) and len(value) == 1 else ()


def _explained(kind: str, fault: Any, path: Path, context: dict[str, Any]) -> tuple[str, str, str]:
    names = tuple(step for step in path if isinstance(step, str))
    if kind == "extra_forbidden":
        return _unknown_key()
    if kind == "missing":
        return _missing_field(names)
    if "message" in context:
        return kind, str(context["message"]), str(context.get("hint", ""))
    if path[-1:] and kind == "string_type" and "environment" in names:
        return "D1", "expected text", 'write "" for an empty value'
    return "D1", _EXPECTED.get(kind, "not of the expected form"), ""


def _unknown_key() -> tuple[str, str, str]:
    """D3: all keys are known."""
    return "D3", "unknown key", "check the spelling, or remove it"


def _missing_field(names: tuple[str, ...]) -> tuple[str, str, str]:
    """N1, V1, S1, X5: sessions have name and version, services a name, imports say what they import."""
    if names == ("version",):
        hint = f'add version: "0.3.12", or {UPGRADE}'
        return "V1", "the version is missing; without it this is a session of language 0.1", hint
    return _MISSING.get(names, "D1"), "this field is missing", f"add {names[-1]}"
