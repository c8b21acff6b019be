"""Brings sessions into a CAS: created, updated with their predecessor, or left alone because nothing changed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from sconectl.apply.session_history import versions_before
from sconectl.artefacts.session import session_text
from sconectl.errors import CasRefused
from sconectl.policy.diff.change import Change
from sconectl.policy.diff.diff import differences
from sconectl.policy.diff.fates import SecretFate, fates
from sconectl.policy.reading import Session, parse_session
from sconectl.policy.rolling.first_version import alone
from sconectl.policy.rolling.versions import Names
from sconectl.policy.same_text import unchanged
from sconectl.policy.serialized.canonical import same_content
from sconectl.policy.serialized.yaml_writer import as_written
from sconectl.ports import SessionStore, StoredSession


@dataclass(frozen=True)
class Uploaded:
    """What happened to one session, and the `salt` that it has, if it was to have one."""

    name: str
    outcome: Literal["created", "updated", "unchanged"]
    hash: str
    salt: str = field(default="", repr=False)


@dataclass(frozen=True)
class Update:
    """A session that is to be put, with its `salt`, beside the one that the CAS has now (None: there is none).

    `names` are those of the versions that it may hold during a rollout.
    """

    document: Mapping[str, Any] = field(repr=False)
    wanted: Session
    before: StoredSession | None
    seen: Session | None
    salt: str = field(default="", repr=False)
    names: Names | None = None

    @property
    def name(self) -> str:
        """The session's name."""
        return self.wanted.name

    @cached_property
    def outcome(self) -> Literal["create", "update", "unchanged"]:
        """What putting it does."""
        if self.seen is None:
            return "create"
        return "unchanged" if same_content(self.wanted, self.seen) else "update"

    @cached_property
    def fates(self) -> list[SecretFate]:
        """What becomes of each secret; nothing happens to those of an unchanged session.

        Who may have it from now on, and no longer, is told of the current versions, whatever they are called.
        """
        found = fates(self.seen, self.wanted)
        old, new = self._versions
        if old is None or not differences(old, new):
            return found
        told = {fate.name: fate for fate in fates(old, new)}
        return [
            replace(fate, gains=told[fate.name].gains, loses=told[fate.name].loses) if fate.name in told else fate
            for fate in found
        ]

    @cached_property
    def changes(self) -> list[Change]:
        """What changes for reviewers; nothing if the session is unchanged.

        While one version takes the place of another, these are compared, and not the session that holds both.
        """
        old, new = self._versions
        return (differences(old, new) if old else []) or differences(self.seen, self.wanted)

    @cached_property
    def _versions(self) -> tuple[Session | None, Session]:
        """The current versions in both sessions; there is no old one where no session has more than one."""
        if self.names is None or self.seen is None or self.outcome == "unchanged":
            return None, self.wanted
        old, new = alone(self.seen, self.names), alone(self.wanted, self.names)
        return (None if old is self.seen and new is self.wanted else old), new


_TRIES = 5
_SALT_BYTES = 16  # LANG H3
_CONFLICT = 409
_SHOWN = 5


def put_session(store: SessionStore, document: Mapping[str, Any]) -> Uploaded:
    """Create or update one session unless the CAS has this content already. Raises what `put` raises."""
    return put(store, look_up(store, document))


def look_up(
    store: SessionStore, document: Mapping[str, Any], wanted: Session | None = None, *, salted: bool = False
) -> Update:
    """Return a session document beside what the CAS has of that name now. Raises `CasError`.

    `wanted` is the session in the document, if it has been read. A `salted` session gets the salt of an earlier
    version, or a new one if none had any.
    """
    name = str(document["name"])
    before = store.read(name)
    if wanted is not None and not salted:
        seen = (unchanged(wanted, before.text) or parse_session(before.text, file=name)) if before else None
        return Update(document, wanted, before, seen)
    seen = parse_session(before.text, file=name) if before else None
    known = _salt(store, seen, before.hash) if salted and before and seen else ""
    salt = (known or secrets.token_hex(_SALT_BYTES)) if salted else ""
    wanted = parse_session(session_text(document, salt=salt), file=name)
    return Update(document, wanted, before, seen, salt)


def salt_of(store: SessionStore, name: str) -> str:
    """Return the salt of a session, or that of an earlier version; empty if none had any. Raises `CasError`."""
    stored = store.read(name)
    return _salt(store, parse_session(stored.text, file=name), stored.hash) if stored else ""


def with_content(document: Mapping[str, Any], before: StoredSession, seen: Session) -> Update:
    """Return the update of a session, which the CAS has now, to a document of the same name."""
    return Update(document, parse_session(session_text(document), file=seen.name), before, seen)


def document_of(session: Session) -> dict[str, Any]:
    """Return a session of a CAS as a document that can be put again: without what the CAS says about it."""
    written = as_written(session)
    found = {key: item for key, item in written.items() if key not in ("predecessor", "creator", "namespace_hash")}
    if "services" in found:  # without an artefact of how a session is read back
        services = found["services"]
        found["services"] = [{key: item for key, item in each.items() if key != "persistency"} for each in services]
    return found


def _salt(store: SessionStore, session: Session, hash_: str) -> str:
    """Return the salt of a session, or of the youngest version before it that had one."""
    if session.salt is not None:
        return session.salt
    earlier = versions_before(store, session, hash_)
    return next((before.salt for _, before in earlier if before.salt is not None), "")


def put(store: SessionStore, update: Update) -> Uploaded:
    """Put a session unless the CAS has this content already.

    If somebody else puts a version of it meanwhile, that is fine if it says the same, and tried again if it says what
    the version that was looked up says. A salt that the other has drawn for it is kept. Raises `CasError`: for another
    content, one that says what the other changed.
    """
    name, wanted, before, seen, salt = update.name, update.wanted, update.before, update.seen, update.salt
    for tries_left in reversed(range(_TRIES)):
        if before and seen and same_content(wanted, seen):
            return Uploaded(name, "unchanged", before.hash, salt)
        try:
            text = session_text(update.document, predecessor=before.hash if before else "", salt=salt)
            receipt = store.upload(text)
            if receipt.outcome == "unchanged":  # somebody else was faster with the same
                return Uploaded(name, "unchanged", receipt.hash, salt)
            return Uploaded(name, "updated" if before else "created", receipt.hash, salt)
        except CasRefused as error:
            now = store.read(name) if error.status == _CONFLICT else before
            if now is None or (before and now.hash == before.hash):
                raise  # refused for another reason
            found = parse_session(now.text, file=name)
            if salt and found.salt:
                salt = found.salt
                wanted = wanted.model_copy(update={"salt": salt})
            same = same_content(wanted, found) or (seen is not None and same_content(seen, found))
            if not same or not tries_left:
                raise _changed(
                    name, [f"{change.subject}: {change.message}" for change in differences(seen, found)], error
                ) from error
            before, seen = now, found
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
