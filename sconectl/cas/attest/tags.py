"""The tags of protected file systems: which state is the current one, and who may move on to the next.

In: the tag that a program found and the one that it has written. Out: the tag that counts from now on. The state
belongs to the session that owns the file system; importers share it. What starts anew (another initial tag, another
generated key) is another subject, so that an old state never stands in the way of a new file system.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sconectl.cas.bounds.refusal import CasRefusal

if TYPE_CHECKING:
    from sconectl.cas.store.store import Transaction

_TAG = re.compile(r"[0-9a-f]{32}\Z")
EPHEMERAL = "ephemeral"
UNPROTECTED = "no_rollback_protection"
PROTECTED = "rollback_protected"
REINITIALIZABLE = "rollback_protected_reinitializable"


@dataclass(frozen=True)
class Subject:
    """One file system: its session, its name in the store, its tag as the policy says, and its update policy."""

    owner: str
    key: str
    initial: str | None
    policy: str


def current_tag(transaction: Transaction, subject: Subject) -> str | None:
    """Return the current tag (32 hex digits); None for a file system that was never written."""
    return transaction.tag(subject.owner, subject.key) or subject.initial


def check_tag(tag: str | None) -> None:
    """Raise `CasRefusal` 400 for what is neither a tag nor None."""
    if tag is not None and not _TAG.match(tag):
        raise CasRefusal(400, "A tag has 32 lower case hex digits")


def move_on(transaction: Transaction, subject: Subject, old: str | None, new: str) -> str | None:
    """Make `new` the current tag after `old`, as the update policy allows, and return the current tag.

    The tag of an ephemeral one stays as it is (LANG §15). Raises `CasRefusal`: 400 for a malformed tag, 409 if another
    program has moved on in between or the file system was rolled back (LANG §5, §14).
    """
    for tag in (old, new):
        check_tag(tag)
    current = current_tag(transaction, subject)
    if subject.policy == EPHEMERAL:
        return current
    if not _allowed(subject, current, old):
        raise CasRefusal(
            409,
            "Rollback or concurrent use of the file system",
            f"Its current tag is {current or 'none'}, but the update starts from {old or 'none'}",
        )
    transaction.set_tag(subject.owner, subject.key, new)
    return new


def _allowed(subject: Subject, current: str | None, old: str | None) -> bool:
    if subject.policy == UNPROTECTED:
        return True
    return old == current or (subject.policy == REINITIALIZABLE and old == subject.initial)
