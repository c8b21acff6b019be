"""What a stage has to say about a user's text: one fault or remark, with its position and remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "deprecation"]


@dataclass(frozen=True, order=True)
class Position:
    """A place in a text file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Finding:
    """One statement about a manifest or policy.

    `code` is stable (SC1xxx manifest, SC2xxx mesh wiring, SC3xxx policy, SC4xxx security advice); `path` is
    the field, like `build.copy[0]`; `message` says what was expected and never holds a secret value; `hint`
    says what to do.
    """

    severity: Severity
    code: str
    position: Position
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        hint = f"\n    hint: {self.hint}" if self.hint else ""
        return f"{self.position}: {self.severity} {self.code}: {where}{self.message}{hint}"


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that forbid going on."""
    return tuple(f for f in findings if f.severity == "error")
