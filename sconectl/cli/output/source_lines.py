"""A line of a YAML file as it may be shown: its structure, its keys, and the values of fields that are never secret.

In: the text of a file, a position. Out: the line with everything else masked, and where the place stands in it. What is
not known to be harmless is masked: values of unknown fields, text of several lines, comments. Of text that is no
YAML, nothing more than the name of a known field is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from sconectl.cli.output.shown_fields import ENTRY, Place, places
from sconectl.errors import InvalidInput
from sconectl.text.findings import Position
from sconectl.text.yaml_tree import Document, Path, is_field, lines_of, parse_all

MASK = "***"
WIDTH = 100

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.\-]{1,64}\Z")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:@+~,*${}\- ]{1,200}\Z")
_REFERENCES = re.compile(r"(?:\$\$SCONE::[A-Za-z0-9_.:-]{1,100}\$\$|\{\{ ?[A-Za-z0-9_.-]{1,100} ?\}\}){1,10}\Z")
"""References to secrets and values, which are no secrets themselves."""
_CREDENTIALS = re.compile(r"://[^/]*@")
_STRUCTURE = re.compile(r"[\s\-:,\[\]{}?]*\Z")
_WAIVER = re.compile(r"[\s,\]}]*#\s*sconectl:allow\b[\x20-\x7e]*\Z")
_COMMENT = re.compile(r"[ \t,\]}]*[ \t]#")
_TAGS = {"!akv": "mapping", "!cas": "empty"}


@dataclass(frozen=True)
class Excerpt:
    """A line that may be shown; the place is the `length` characters from `start`, counted from 0."""

    text: str
    start: int
    length: int


@dataclass(frozen=True)
class _Span:
    """The characters of a line from `start` up to `end`, and the text that is shown for them."""

    start: int
    end: int
    shown: str


class SourceText:
    """The text of one file; it is parsed when the first line is asked for."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._text = text

    def excerpt(self, position: Position) -> Excerpt | None:
        """Return the line of a position; None if the text has no such line."""
        if not 0 < position.line <= len(self._lines):
            return None
        line = self._lines[position.line - 1]
        if self._scalars is None:
            spans = _unparsed(line)
        else:
            spans = _parsed(line, sorted(self._scalars.get(position.line, {}).items()))
        return _window(*_laid_out(spans, position.column - 1))

    @cached_property
    def _lines(self) -> list[str]:
        return lines_of(self._text)

    @cached_property
    def _scalars(self) -> dict[int, dict[int, str]] | None:
        """By line: where each key and value begins, and the text that may be shown for it (an empty text: none)."""
        try:
            documents = parse_all(self._text, self._file, tags=_TAGS)
        except InvalidInput:
            return None
        found: dict[int, dict[int, str]] = {}
        for document in documents:
            for position, text in _scalars_of(document, document.value, ()):
                line = self._lines[position.line - 1]
                start = position.column - 1
                shown = _as_written(line, start, text)
                places = found.setdefault(position.line, {})
                places[start] = shown if places.get(start, shown) else ""  # an alias may mean a secret elsewhere
        return found


def _scalars_of(document: Document, value: Any, path: Path) -> Iterator[tuple[Position, str]]:
    """Yield the position of every key and value, and the text that may be shown for it."""
    if isinstance(value, dict):
        for key, item in value.items():
            place = (*path, key)
            known = _PLAIN_KEY.match(key) and places().keys_are_shown(_place(path))
            hidden = not known or (key not in places().names and _may_be_piece(key, value))
            yield document.key_position(place), "" if hidden else key
            yield from _scalars_of(document, item, place)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _scalars_of(document, item, (*path, number))
    else:
        yield document.position(path), value if value and _may_be_shown(path, value) else ""


def _may_be_piece(key: str, mapping: dict[str, Any]) -> bool:
    """Say whether a key may be a piece of a text without quotes, as in `{PASSWORD: this, that}`."""
    return not is_field(key, mapping) or (mapping[key] is None and len(mapping) > 1)


def _may_be_shown(path: Path, value: str) -> bool:
    if _REFERENCES.match(value) and "secrets" not in path:
        return True
    return _place(path) in places().shown and _PLAIN_VALUE.match(value) is not None and not _CREDENTIALS.search(value)


def _place(path: Path) -> Place:
    return tuple(step if isinstance(step, str) else ENTRY for step in path)


def _as_written(line: str, start: int, text: str) -> str:
    """Return how a text stands in the line; nothing if it is written in another way, like on several lines."""
    for written in (text, f'"{text}"', f"'{text}'"):
        if text and line.startswith(written, start):
            return written
    return ""


def _parsed(line: str, scalars: list[tuple[int, str]]) -> Iterator[_Span]:
    """Yield the pieces of a line in which keys and values begin at the given places."""
    end = 0
    for number, (start, text) in enumerate(scalars):
        following = scalars[number + 1][0] if number + 1 < len(scalars) else len(line)
        if end < start:
            yield from _between(line, end, start)
        end = start + len(text)
        if text:
            yield _Span(start, end, text)
        elif start < following:
            yield _Span(start, following, MASK if following == len(line) else f"{MASK}, ")
            end = following
    yield from _between(line, end, len(line))


def _between(line: str, start: int, end: int) -> Iterator[_Span]:
    text = line[start:end]
    if not text:
        return
    if _STRUCTURE.match(text) or (end == len(line) and _WAIVER.match(text)):
        yield _Span(start, end, text.replace("\t", " "))
        return
    if end == len(line) and _COMMENT.match(text):
        return
    indentation = len(text) - len(text.lstrip(" "))
    yield _Span(start, start + indentation, " " * indentation)
    yield _Span(start + indentation, end, MASK if end == len(line) else f"{MASK} ")


def _unparsed(line: str) -> Iterator[_Span]:
    """Yield the pieces of a line whose meaning is not known."""
    match = _named().match(line)
    if match is None:
        indentation = len(line) - len(line.lstrip())
        yield _Span(0, indentation, " " * indentation)
        yield _Span(indentation, len(line), MASK if line.strip() else "")
        return
    for group in (1, 2, 3):
        yield _Span(*match.span(group), match[group].replace("\t", " "))
    if match[4].strip():
        yield _Span(*match.span(4), f" {MASK}")


@cache
def _named() -> re.Pattern[str]:
    """Return the form of a line that begins with the name of a field."""
    return re.compile(rf"(\s*(?:- +)*)({'|'.join(map(re.escape, sorted(places().names)))})(\s*:)(.*)\Z", re.DOTALL)


def _laid_out(spans: Iterator[_Span], column: int) -> tuple[str, int, int]:
    """Return the shown line, and where in it the place at `column` is and how long."""
    pieces, end, start, length = [], 0, 0, 1
    for span in spans:
        if span.start <= column < span.end:
            same = len(span.shown) == span.end - span.start
            start, length = end, max(len(span.shown.strip(", ")), 1)
            if same and column > span.start:
                start, length = start + column - span.start, 1
        elif span.end <= column:
            start = end + len(span.shown)
        pieces.append(span.shown)
        end += len(span.shown)
    return "".join(pieces).rstrip(), start, length


def _window(text: str, start: int, length: int) -> Excerpt:
    """Cut a long line down to what surrounds the place."""
    if len(text) <= WIDTH:
        return Excerpt(text, start, length)
    first = max(min(start - WIDTH // 3, len(text) - WIDTH), 0)
    left, right = "..." if first else "", "..." if first + WIDTH < len(text) else ""
    inside = min(start - first, WIDTH)
    return Excerpt(left + text[first : first + WIDTH] + right, len(left) + inside, min(length, max(WIDTH - inside, 1)))
