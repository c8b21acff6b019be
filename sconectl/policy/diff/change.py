"""One change of a session, as a reviewer is told about it.

In: what changed, in which group, and how that bears on the protection. Out: a `Change`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
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


def gained_and_lost(
    group: str, subject: str, before: Collection[str], after: Collection[str], gained: str, lost: str
) -> Iterator[Change]:
    """Yield a change for each entry that is new, and for each that is gone; `{}` in the messages is the entry."""
    yield from (weakens(group, subject, gained.format(entry)) for entry in after if entry not in before)
    yield from (strengthens(group, subject, lost.format(entry)) for entry in before if entry not in after)
