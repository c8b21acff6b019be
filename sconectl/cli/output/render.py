"""Findings as text: what is said, where, the line of the source with a caret under the place, and the remedy.

In: findings, and the texts of files that were remembered. Out: lines of text. No line of a source shows more than its
structure and the values of fields that are never secret (`source_lines`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sconectl.cli.output.printable import shown
from sconectl.text.findings import Finding

if TYPE_CHECKING:
    from sconectl.cli.output.source_lines import SourceText

IN_FULL = 8
"""Findings that are shown with source and hint; of the others, one line each."""
ON_SCREEN = 24
"""Findings that a terminal shows at all."""
_COLOURS = {"error": "31", "warning": "33", "deprecation": "36"}
_TEXTS: dict[str, str] = {}
_SOURCES: dict[str, SourceText] = {}


def remember(file: str, text: str) -> None:
    """Keep the decoded text of a file, under the name that positions carry, so that findings can show its lines."""
    _TEXTS[file] = text
    _SOURCES.pop(file, None)


def lines_of_findings(findings: Sequence[Finding], *, terminal: bool, colour: bool) -> Iterator[str]:
    """Yield findings in their order: for people on a terminal, else in a form that programs can read, too.

    There, each finding begins with `file:line:column: severity CODE: path: message`. After the first few of many, a
    finding is one line.
    """
    if terminal:
        yield from _for_terminal(findings, _Paint(colour))
        return
    for number, finding in enumerate(findings):
        yield shown(str(replace(finding, hint="")))
        if number < IN_FULL:
            yield from (f"    {line}" for line in _source(finding, _Paint(False)))
            if finding.hint:
                yield f"    hint: {shown(finding.hint)}"
    yield from _rest(findings, len(findings))


class _Paint:
    """Puts colour around words, or nothing."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def _for_terminal(findings: Sequence[Finding], paint: _Paint) -> Iterator[str]:
    for finding in findings[:IN_FULL]:
        head = paint(f"1;{_COLOURS[finding.severity]}", f"{finding.severity} {finding.code}")
        yield f"{head}{paint('1', f': {shown(finding.message)}')}"
        where = f" ({shown(finding.path)})" if finding.path else ""
        yield f"  {paint('34', '-->')} {shown(str(finding.position))}{where}"
        yield from _source(finding, paint)
        if finding.hint:
            yield f"  {paint('34', '=')} hint: {shown(finding.hint)}"
        yield ""
    for finding in findings[IN_FULL:ON_SCREEN]:
        head = paint(_COLOURS[finding.severity], f"{finding.severity} {finding.code}")
        where = f"{shown(finding.path)}: " if finding.path else ""
        yield f"{head}: {shown(str(finding.position))}: {where}{shown(finding.message)}"
    yield from _rest(findings, ON_SCREEN)


def _rest(findings: Sequence[Finding], most: int) -> Iterator[str]:
    """Say how many findings are left out, or shown in short only."""
    if len(findings) > most:
        yield f"... and {len(findings) - most} more; with 2> FILE they are all in the file"
    elif len(findings) > IN_FULL:
        yield f"{len(findings)} findings, the first {IN_FULL} in full; `sconectl explain CODE` says more about a code"


def _source(finding: Finding, paint: _Paint) -> Iterator[str]:
    """Yield the line of the source and the caret, if the text of the file is known."""
    file = finding.position.file
    if file not in _TEXTS:
        return
    if file not in _SOURCES:
        from sconectl.cli.output.source_lines import SourceText

        _SOURCES[file] = SourceText(file, _TEXTS[file])
    excerpt = _SOURCES[file].excerpt(finding.position)
    if excerpt is None:
        return
    number = str(finding.position.line)
    bar = paint("34", "|")
    caret = paint(_COLOURS[finding.severity], "^" * excerpt.length)
    yield f" {paint('34', number)} {bar} {excerpt.text}".rstrip()
    yield f" {' ' * len(number)} {bar} {' ' * excerpt.start}{caret}"
