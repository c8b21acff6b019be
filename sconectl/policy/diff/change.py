"""One change of a session, as a reviewer is told about it.

In: what changed, in which group, and how that bears on the protection. Out: a `Change`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Severity = Literal["weakens", "strengthens", "neutral"]


@dataclass(frozen=True)
class Change:
    """A change of `subject`, described by `message`; `group` is one of `diff.GROUPS`. Holds no secret value.

    `code` is that of a change that weakens (`codes/changes.py`), else empty.
    """

    severity: Severity
    group: str
    subject: str
    message: str
    code: str = ""


def weakens(group: str, subject: str, message: str, code: str) -> Change:
    """Return a change that gives somebody more access or rights than before."""
    return Change("weakens", group, subject, message, code)


def strengthens(group: str, subject: str, message: str) -> Change:
    """Return a change that takes something away from somebody."""
    return Change("strengthens", group, subject, message)


def neutral(group: str, subject: str, message: str) -> Change:
    """Return a change that neither weakens nor strengthens the protection."""
    return Change("neutral", group, subject, message)


def ranked(group: str, subject: str, message: str, code: str, before: float, after: float) -> Change:
    """Return a change of something that protects as well as its rank says: `before`, and `after` the update."""
    if after < before:
        return weakens(group, subject, message, code)
    return (strengthens if after > before else neutral)(group, subject, message)


def delegated(group: str, subject: str, after: str) -> Change:
    """Return the change of a section that is a reference to a secret after the update."""
    return weakens(group, subject, f"is decided by the secret in {after}", "SC5010")


def written_out(group: str, subject: str, from_default: Iterable[Change]) -> Iterator[Change]:
    """Yield the changes of a section that a secret decided about, and does no more.

    What the secret said is not known, so that what is weaker than the default, `from_default`, is told as weaker.
    """
    yield neutral(group, subject, "is not decided by a secret any more; look at it as a whole")
    yield from (change for change in from_default if change.severity == "weakens")
