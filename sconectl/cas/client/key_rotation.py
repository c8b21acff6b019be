"""Another key for an identity, in the sessions of a CAS: first beside the old one, then in its place.

In: a session store, namespaces, and what becomes of a session. Out: the changes, and what they cannot change; then they
are uploaded. Each can be interrupted, and begun again. Raises what the store raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from sconectl.cas.client.session_tree import FoundSession, sessions_below
from sconectl.errors import CasRefused
from sconectl.policy.diff.fates import fates
from sconectl.policy.key_change import may_update, names_key, needs_others
from sconectl.policy.reading import Session, Signer, parse_session
from sconectl.policy.serialized.canonical import read_back, session_hash
from sconectl.ports import SessionStore

TOP = "/"
_FORBIDDEN = 403


@dataclass(frozen=True)
class KeyChange:
    """What becomes of one session; `drawn_anew` names the secrets whose values that costs."""

    name: str
    hash: str
    after: Session = field(repr=False)
    drawn_anew: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeyChanges:
    """What becomes of the sessions that name a key.

    `left` are those that only others can change, and `closed` the namespaces that could not be looked into.
    """

    changes: tuple[KeyChange, ...]
    left: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()


def key_changes(
    store: SessionStore, namespaces: Iterable[str], key: str, uploader: str, change: Callable[[Session], Session]
) -> KeyChanges:
    """Return what `change` makes of the sessions that name `key`; `uploader` is the key hash of the store's identity.

    They are searched in the namespaces and everything below them, the sessions of these namespaces included.
    """
    found: list[KeyChange] = []
    left: list[str] = []
    sessions, closed = _sessions(store, namespaces)
    for name, hash_, before in sessions:
        if not names_key(before, key):
            continue
        after = change(before)
        same, allowed = session_hash(after) == session_hash(before), may_update(before, uploader)
        if needs_others(before, key) or not (same or allowed):
            left.append(name)
        if allowed and not same:
            drawn = tuple(fate.name for fate in fates(before, after) if fate.fate == "drawn anew")
            found.append(KeyChange(name, hash_, after, drawn))
    return KeyChanges(tuple(found), tuple(left), closed)


def upload(store: SessionStore, changes: Iterable[KeyChange]) -> None:
    """Upload the changes, one after the other."""
    for change in changes:
        update: dict[str, object] = {"predecessor": change.hash, "namespace_hash": None}
        if isinstance(change.after.creator, Signer):
            update["creator"] = None  # an upload over TLS names no signer; the CAS keeps it
        store.upload(read_back(change.after.model_copy(update=update)))


def _sessions(store: SessionStore, namespaces: Iterable[str]) -> tuple[list[tuple[str, str, Session]], tuple[str, ...]]:
    """Return each session that may be read, once, with hash and content; and the namespaces that may not be listed."""
    sessions: dict[str, tuple[str, str, Session]] = {}
    closed: list[str] = []
    for namespace in namespaces:
        try:
            for found in _found(store, namespace):
                if found.session is not None and found.hash is not None:
                    sessions[found.name] = (found.name, found.hash, found.session)
        except CasRefused as error:
            if error.status != _FORBIDDEN:
                raise
            closed.append(namespace)
    return list(sessions.values()), tuple(closed)


def _found(store: SessionStore, namespace: str) -> Iterator[FoundSession]:
    if namespace != TOP and (stored := store.read(namespace)) is not None:
        yield FoundSession(namespace, stored.hash, parse_session(stored.text, file=namespace))
    yield from sessions_below(store, namespace, recursive=True)
