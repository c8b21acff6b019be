"""Says whether a text of a manifest stands in its file, or was given from outside by `$NAME`.

In: a document. Out: an answer for each text.
"""

from __future__ import annotations

from functools import cached_property

from sconectl.manifest.reading.variables import fill_in
from sconectl.text.findings import Position
from sconectl.text.yaml_tree import Document, Path, Value, parse_all


class Source:
    """What stands in the file itself, before variables were filled in: what they bring is not in plain text there."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def holds(self, path: Path, value: str) -> bool:
        """Say whether the text at `path` is in the file as it is, and not given by `$NAME`."""
        written = self._written.get(self._document.position(path), value)
        return written == value or not fill_in(written, lambda _name: None).names

    @cached_property
    def _written(self) -> dict[Position, str]:
        """The texts of the file by their positions, which older spellings of a field have, too."""
        text = self._document.text
        if "$" not in text:
            return {}
        found: dict[Position, str] = {}
        for document in parse_all(text, self._document.file, limit=len(text.encode())):
            _collect(document, document.value, (), found)
        return found


def _collect(document: Document, value: Value, path: Path, found: dict[Position, str]) -> None:
    if isinstance(value, str):
        found[document.position(path)] = value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in items:
        _collect(document, item, (*path, step), found)
