"""A finding: one fault or remark of a stage about a user's text, with its position and remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "deprecation"]


@dataclass(frozen=True, order=True)
class Position:
    """A place in a text file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Name(NamedTuple):
    """The name of something: its kind (`secret`), its owner (an image; empty if it belongs to all), and the name."""

    kind: str
    owner: str
    name: str


class Cause(NamedTuple):
    """The name that a finding is about, so that all consequences of one slip can be told once.

    `lacks` says that nothing has this name, else the finding only remarks on it; `written` that the finding is at the
    place where the name was written, and not at a place that follows from it. `meant` are the names that exist once
    the slip is mended.
    """

    name: Name
    lacks: bool = True
    written: bool = False
    meant: tuple[Name, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One statement about a manifest or policy.

    `code` is stable (SC1xxx manifest, SC2xxx mesh wiring, SC3xxx policy, SC4xxx security advice; SC5xxx are those
    of changes, which are no findings); `path` is
    the field, like `build.copy[0]`; `message` says what was expected and never holds a secret value; `hint`
    says what to do. `cause` is for `text.one_cause` only.
    """

    severity: Severity
    code: str
    position: Position
    path: str
    message: str
    hint: str = ""
    cause: Cause | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        hint = f"\n    hint: {self.hint}" if self.hint else ""
        return f"{self.position}: {self.severity} {self.code}: {where}{self.message}{hint}"


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that are errors."""
    return tuple(f for f in findings if f.severity == "error")
