"""Brings sessions into a CAS: created, updated with their predecessor, or left alone because nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sconectl.artefacts.session import session_text
from sconectl.errors import CasRefused
from sconectl.policy.diff.diff import differences
from sconectl.policy.reading import parse_session
from sconectl.policy.serialized.canonical import same_content
from sconectl.ports import SessionStore


@dataclass(frozen=True)
class Uploaded:
    """What happened to one session."""

    name: str
    outcome: Literal["created", "updated", "unchanged"]
    hash: str


_TRIES = 5
_CONFLICT = 409
_SHOWN = 5


def put_session(store: SessionStore, document: Mapping[str, Any]) -> Uploaded:
    """Create or update one session unless the CAS has this content already.

    If somebody else puts a version of it meanwhile, that is fine if it says the same, and tried again if it says what
    the version before said. Raises `CasError`: for another content, one that says what the other changed.
    """
    name = str(document["name"])
    wanted = parse_session(session_text(document), file=name)
    before = store.read(name)
    for tries_left in reversed(range(_TRIES)):
        seen = parse_session(before.text, file=name) if before else None
        if before and seen and same_content(wanted, seen):
            return Uploaded(name, "unchanged", before.hash)
        try:
            text = session_text(document, predecessor=before.hash if before else "")
            receipt = store.upload(text)
            if receipt.outcome == "unchanged":  # somebody else was faster with the same
                return Uploaded(name, "unchanged", receipt.hash)
            return Uploaded(name, "updated" if before else "created", receipt.hash)
        except CasRefused as error:
            now = store.read(name) if error.status == _CONFLICT else before
            if now is None or (before and now.hash == before.hash):
                raise  # refused for another reason
            found = parse_session(now.text, file=name)
            same = same_content(wanted, found) or (seen is not None and same_content(seen, found))
            if not same or not tries_left:
                raise _changed(
                    name, [f"{change.subject}: {change.message}" for change in differences(seen, found)], error
                ) from error
            before = now
    raise AssertionError("the last try returns or raises")


def _changed(name: str, changes: list[str], refused: CasRefused) -> CasRefused:
    shown = "; ".join(changes[:_SHOWN]) + (f"; and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else "")
    return CasRefused(
        f"somebody else changed the session {name} at the same time: {shown or 'a version of the same content'}",
        status=refused.status,
        causes=refused.causes,
        hint="see who else applies this; apply again if yours is the version that is meant",
    )


def merged(put: Callable[[], Uploaded]) -> Uploaded:
    """Put a session that is made from the one in the CAS; made anew if that changes meanwhile. Raises `CasError`."""
    for _ in range(_TRIES - 1):
        try:
            return put()
        except CasRefused as error:
            if error.status != _CONFLICT:
                raise
    return put()
