"""One change of a session, as a reviewer is told about it.

In: what changed, in which group, and how that bears on the protection. Out: a `Change`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from operator import eq
from typing import Any, Literal, TypeVar

Severity = Literal["weakens", "strengthens", "neutral"]
_Entry = TypeVar("_Entry")


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


def gained_and_lost(
    group: str,
    subject: str,
    before: Collection[_Entry],
    after: Collection[_Entry],
    gained: str,
    lost: str,
    code: str | Callable[[_Entry], str],
    *,
    covers: Callable[[_Entry, _Entry], bool] = eq,
    words: Callable[[_Entry], str] = str,
) -> Iterator[Change]:
    """Yield a change for each entry that allows something new, and for each that allowed what is allowed no longer.

    `covers(wide, narrow)` says that everything that the second allows is allowed by the first. `{}` in the messages is
    the entry in `words`.
    """
    for entry in added(before, after, covers):
        yield weakens(group, subject, gained.format(words(entry)), code(entry) if callable(code) else code)
    for entry in added(after, before, covers):
        rest = [words(other) for other in after if covers(entry, other)]
        text = lost.format(words(entry)) + (f"; still: {', '.join(rest)}" if rest else "")
        yield strengthens(group, subject, text)


def added(
    before: Collection[_Entry], after: Collection[_Entry], covers: Callable[[_Entry, _Entry], bool]
) -> list[_Entry]:
    """Return the entries of `after` that allow something that no entry of `before` allows."""
    known = set(before)
    new = [entry for entry in dict.fromkeys(after) if entry not in known]
    return new if covers is eq else [entry for entry in new if not any(covers(other, entry) for other in known)]


def delegated(group: str, subject: str, after: Any) -> Change:
    """Return the change of a section that is a reference to a secret before or after the update."""
    if isinstance(after, str):
        return weakens(group, subject, f"is decided by the secret in {after}", "SC5010")
    return neutral(group, subject, "is not decided by a secret any more; look at it as a whole")
