"""One change of a session, as a reviewer is told about it.

In: what changed, in which group, and how that bears on the protection. Out: a `Change`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["weakens", "strengthens", "neutral"]


@dataclass(frozen=True)
class Change:
    """A change of `subject`, described by `message`; `group` is one of `diff.GROUPS`. Holds no secret value."""

    severity: Severity
    group: str
    subject: str
    message: str


def weakens(group: str, subject: str, message: str) -> Change:
    """Return a change that gives somebody more access or rights than before."""
    return Change("weakens", group, subject, message)


def strengthens(group: str, subject: str, message: str) -> Change:
    """Return a change that takes something away from somebody."""
    return Change("strengthens", group, subject, message)


def neutral(group: str, subject: str, message: str) -> Change:
    """Return a change that neither weakens nor strengthens the protection."""
    return Change("neutral", group, subject, message)
