"""Checks a session that is about to be written, by its values: its text is parsed only where something is wrong.

In: the session as plain values, and how to make its text. Out: the findings of `parse_session` for that text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sconectl.policy.reading import Examined, examine, examine_document
from sconectl.text.findings import Finding, Position, errors_of
from sconectl.text.yaml_tree import Document, Path, Value


def faults_of(session: Mapping[str, Any], text: Callable[[], str], *, file: str) -> tuple[Finding, ...]:
    """Return the errors of `session`; `text` gives its YAML, for the positions under the name `file`."""
    return checked(session, text, file=file).findings


def checked(session: Mapping[str, Any], text: Callable[[], str], *, file: str) -> Examined:
    """Return the session that a CAS would read, or its errors; `text` gives its YAML, for the positions in `file`."""
    examined = examine_document(as_read(session, file), remarks=False)
    if examined.session is not None:
        return Examined(examined.session, ())
    return Examined(None, errors_of(examine(text(), file=file).findings) or errors_of(examined.findings))


def as_read(session: Mapping[str, Any], file: str) -> Document:
    """Return plain values as the document that parsing their text would give, but without positions."""
    quoted: dict[Path, bool] = {}
    value = _as_read(session, (), quoted)
    return Document(file, value, {(): Position(file, 1, 1)}, quoted=quoted)


def _as_read(value: Any, path: Path, quoted: dict[Path, bool]) -> Value:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _as_read(item, (*path, str(key)), quoted) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_read(item, (*path, index), quoted) for index, item in enumerate(value)]
    if value is None:
        return None
    if not isinstance(value, int):
        raise TypeError(f"a session does not hold {type(value).__name__}")
    quoted[path] = False
    return str(value).lower() if isinstance(value, bool) else str(value)
