"""Waivers: dated comments that silence one piece of security advice at one line, or allow a change that weakens.

In: findings, the document they are about, the date. Out: the findings that stay, and what is wrong with the waivers; or
the changes that are allowed. `# sconectl:allow CODE until=YYYY-MM-DD reason="…"` stands at the end of the line or on
its own above it, below other comments or not. What does not count as a waiver silences nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from sconectl.codes.advice import CODES as ADVICE
from sconectl.codes.advice import EXPIRED, MALFORMED, NOT_ONLY_TEXT, UNUSED, WAIVERS
from sconectl.codes.changes import CODES as CHANGES
from sconectl.manifest.model.faults import did_you_mean
from sconectl.text.findings import Finding, Position
from sconectl.text.yaml_tree import Document, Value, lines_of, parse_all

_FORM = '# sconectl:allow {} until=2030-01-31 reason="why"'
_WORD = "sconectl:allow"
_START = re.compile(rf"(?:(?<=\s)|\A)#[ \t]*({_WORD})(?![\w-])")
_PARTS = re.compile(r'\s+(?P<code>\S+)\s+until=(?P<until>\S+)\s+reason="(?P<reason>[^"]*)"\s*\Z')
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_COMMENT_LINE = re.compile(r"\s*#")
_WAIVABLE = (ADVICE.keys() - WAIVERS) | CHANGES.keys()
_NEVER_UNUSED = NOT_ONLY_TEXT | CHANGES.keys()  # a change is one of a run, and none any more after it


@dataclass(frozen=True)
class _Waiver:
    """A comment: where it stands, the line that it is about, what it allows until when, or what is wrong with it."""

    position: Position
    line: int
    code: str = ""
    until: date | None = None
    fault: str = ""
    hint: str = ""

    @property
    def covers(self) -> tuple[str, int]:
        """The code and line of the findings that it silences."""
        return self.code, self.line


def waive(findings: Sequence[Finding], document: Document, today: date) -> list[Finding]:
    """Return the findings without those that are waived on `today`, and one for each waiver that is not in order.

    A malformed or expired waiver is an error, one that nothing needs is a warning.
    """
    waivers = _waivers(document)
    if not waivers:
        return list(findings)
    valid = {waiver.covers for waiver in waivers if waiver.until is not None and waiver.until >= today}
    stay, needed = [], set()
    for finding in findings:
        about = (finding.code, finding.position.line)
        if finding.position.file == document.file and about in valid:
            needed.add(about)
        else:
            stay.append(finding)
    for waiver in waivers:
        if waiver.fault:
            stay.append(Finding("error", MALFORMED, waiver.position, "", waiver.fault, waiver.hint))
        elif waiver.until is not None and waiver.until < today:
            message = f"this waiver of {waiver.code} has expired on {waiver.until}"
            hint = "mend what it allows, or decide anew until when it is acceptable"
            stay.append(Finding("error", EXPIRED, waiver.position, "", message, hint))
        elif waiver.code not in _NEVER_UNUSED and waiver.covers not in needed:
            message = f"nothing in line {waiver.line} needs this waiver of {waiver.code}"
            hint = "remove it, or put it at the end of the line that the advice names, or right above"
            stay.append(Finding("warning", UNUSED, waiver.position, "", message, hint))
    return stay


def allowed_changes(document: Document, today: date) -> frozenset[tuple[str, int | None]]:
    """Return which changes a mesh allows on `today`: code, and the number of the service, or None for all sessions."""
    waivers = [waiver for waiver in _waivers(document) if waiver.code in CHANGES]
    if not waivers:
        return frozenset()
    places = _places(document)
    return frozenset(
        (waiver.code, place)
        for waiver in waivers
        if waiver.until is not None and waiver.until >= today
        for place, lines in places.items()
        if waiver.line in lines
    )


def _places(document: Document) -> dict[int | None, range]:
    """Return the lines of each service of a mesh, by its number, and as None those of `policy`."""
    found: dict[int | None, range] = {}
    for positions in (document.key_positions, document.positions):
        for path, position in positions.items():
            if path[:1] == ("policy",):
                place = None
            elif path[:1] == ("services",) and len(path) > 1 and isinstance(path[1], int):
                place = path[1]
            else:
                continue
            line, lines = position.line, found.get(place, range(position.line, position.line + 1))
            found[place] = range(min(line, lines.start), max(line + 1, lines.stop))
    return found


def _waivers(document: Document) -> list[_Waiver]:
    """Return all waivers of a document; one of a change has to stand where it can count."""
    found = _comments(document)
    if all(waiver.code not in CHANGES for waiver in found):
        return found
    is_mesh = isinstance(document.value, dict) and document.value.get("kind") == "mesh"
    places = _places(document).values() if is_mesh else ()
    fault = "a change of sessions is allowed in a mesh, at one of its services, or at policy for all of them"
    hint = "put it at the end of the line with the name of the service, or right above"
    return [
        replace(waiver, code="", until=None, fault=fault, hint=hint)
        if waiver.code in CHANGES and all(waiver.line not in lines for lines in places)
        else waiver
        for waiver in found
    ]


def _comments(document: Document) -> list[_Waiver]:
    if _WORD not in document.text:
        return []
    lines = lines_of(document.text)
    candidates = [
        (number, found)
        for number, line in enumerate(lines, 1)
        if number in document.lines
        for found in _START.finditer(line)
    ]
    in_text = _in_values(document, lines, [(number, found.start(1)) for number, found in candidates])
    comments: dict[int, re.Match[str]] = {}
    for place, (number, found) in enumerate(candidates):
        if place not in in_text:
            comments.setdefault(number, found)
    targets = _targets(lines)
    return [
        _waiver(Position(document.file, number, found.start() + 1), found, targets[number])
        for number, found in comments.items()
    ]


def _targets(lines: Sequence[str]) -> dict[int, int]:
    """Return the line that a comment in each line is about: its own, or the first below that is no comment."""
    targets: dict[int, int] = {}
    for number in range(len(lines), 0, -1):
        alone = _COMMENT_LINE.match(lines[number - 1])
        targets[number] = targets.get(number + 1, number) if alone else number
    return targets


def _in_values(document: Document, lines: Sequence[str], places: Sequence[tuple[int, int]]) -> Collection[int]:
    """Return which of the places (line and column of the word) are not comments but parts of quoted or block text.

    The word is replaced by a mark of its own at each place; the marks that the reader then finds in values or keys
    were no comments.
    """
    if not places:
        return ()
    salt = hashlib.sha256(document.text.encode(errors="surrogatepass")).hexdigest()[:8]
    width = len(_WORD) - len(salt)  # marks are as long as the word
    changed = list(lines)
    for index, (number, column) in reversed(list(enumerate(places))):
        line = changed[number - 1]
        changed[number - 1] = f"{line[:column]}{salt}{index:0{width}}{line[column + len(_WORD) :]}"
    text = "\n".join(changed).encode(errors="surrogatepass")
    mark = re.compile(rf"{salt}([0-9]{{{width},}})")
    values = (found.value for found in parse_all(text, document.file, limit=len(text)))
    return {int(index) for value in values for part in _texts(value) for index in mark.findall(part)}


def _texts(value: Value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)


def _waiver(position: Position, found: re.Match[str], line: int) -> _Waiver:
    text = found.string[found.end() :]
    parts = _PARTS.match(text)
    named = next((word for word in text.split() if word in _WAIVABLE), "SC4007")
    form = f"write {_FORM.format(named)}"
    if parts is None:
        return _Waiver(position, line, fault=f"not a complete waiver: {_missing(text)}", hint=form)
    code, until = parts["code"], parts["until"]
    if code not in _WAIVABLE:
        hint = did_you_mean(code, _WAIVABLE) if code.startswith(("SC4", "SC5")) else ""
        fault = "only security advice (SC4…) and changes that weaken (SC5…) can be waived"
        return _Waiver(position, line, fault=fault, hint=hint or "mend it instead")
    if not parts["reason"].strip():
        return _Waiver(position, line, fault="the waiver gives no reason", hint=form)
    try:
        day = date.fromisoformat(until) if _DATE.match(until) else None
    except ValueError:
        day = None
    if day is None:
        return _Waiver(position, line, fault="expected a date like 2030-01-31 behind until=", hint=form)
    return _Waiver(position, line, code, day)


def _missing(text: str) -> str:
    """Say what a waiver lacks, or that its parts are in disorder."""
    words = text.split()
    lacks = [
        part
        for part, there in (
            ("the code", bool(words) and "=" not in words[0]),
            ("until=YYYY-MM-DD", " until=" in text),
            ('reason="…"', re.search(r'\sreason="[^"]*"', text) is not None),
        )
        if not there
    ]
    return f"{' and '.join(lacks)} missing" if lacks else "code, until, reason, in this order and nothing behind them"
