"""A key in the access policies of sessions: where it stands, another one beside it, and another one in its place.

In: sessions, key hashes and certificates. Out: sessions. What is decided by a secret, or by several parties together
(governance rules), is left alone: nobody changes that by himself.
"""

from __future__ import annotations

from collections.abc import Callable

from sconectl.key_hash import hash_of_certificate, is_key_hash
from sconectl.policy.model.access_policy import OPERATIONS, AccessPolicy, Principal, Rule
from sconectl.policy.model.session import Session

_CREATOR = "CREATOR"
_DEFAULTS = (("create_sessions", "update"), ("list_sessions", "read"))
_Principals = tuple[Principal, ...]


def names_key(session: Session, key: str) -> bool:
    """Say whether the access policy names a key, by its hash, by a certificate or as the creator, also in a rule.

    A policy that is decided by a secret may name the creator.
    """
    policy = session.access_policy
    if not isinstance(policy, AccessPolicy):
        return _is_creator(session, key)
    return any(_names(entry, session, key) for operation in OPERATIONS for entry in policy.allowed(operation))


def needs_others(session: Session, key: str) -> bool:
    """Say whether a key is named where these functions change nothing: in a rule, or maybe in a secret."""
    policy = session.access_policy
    if not isinstance(policy, AccessPolicy):
        return _is_creator(session, key)
    entries = (entry for operation in OPERATIONS for entry in policy.allowed(operation))
    return any(isinstance(entry, Rule) and _names(entry, session, key) for entry in entries)


def may_update(session: Session, key: str) -> bool:
    """Say whether a key alone may update the session, as far as the text tells."""
    policy = session.access_policy
    if not isinstance(policy, AccessPolicy):
        return False
    return any(entry == "ANY" or _stands_for(entry, session, key) for entry in policy.update)


def with_key_beside(session: Session, key: str, another: str) -> Session:
    """Return the session in which `another` may do what `key` may; the other entries stay as they are."""

    def both(entries: _Principals) -> _Principals:
        needed = any(_stands_for(entry, session, key) for entry in entries) and another not in entries
        return (*entries, another) if needed else entries

    return _with_entries(session, both)


def with_key_replaced(session: Session, key: str, certificate: str) -> Session:
    """Return the session in which the key of `certificate` stands for `key`, as creator, too."""
    another = hash_of_certificate(certificate.encode())
    created = _is_creator(session, key)

    def replaced(entries: _Principals) -> _Principals:
        named = {entry for entry in entries if entry != _CREATOR and _stands_for(entry, session, key)}
        told = bool(named) or (created and _CREATOR in entries)
        others = (entry for entry in entries if not (told and entry == another))
        return tuple(another if entry in named else entry for entry in others)

    changed = _with_entries(session, lambda entries: tuple(dict.fromkeys(replaced(entries))))
    return changed.model_copy(update={"creator": certificate}) if created else changed


def _with_entries(session: Session, change: Callable[[_Principals], _Principals]) -> Session:
    policy = session.access_policy
    if not isinstance(policy, AccessPolicy):
        return session
    lists = {name: change(found) for name in OPERATIONS if (found := getattr(policy, name)) is not None}
    spelled_out = {name: None for name, default in _DEFAULTS if lists.get(name) == lists[default]}
    return session.model_copy(update={"access_policy": policy.model_copy(update=lists | spelled_out)})


def _names(entry: Principal, session: Session, key: str) -> bool:
    if isinstance(entry, Rule):
        return any(_names(part, session, key) for part in entry.of)
    return _stands_for(entry, session, key)


def _stands_for(entry: Principal, session: Session, key: str) -> bool:
    """Say whether one entry means the key, and nothing but that."""
    if not isinstance(entry, str):
        return False
    if entry == _CREATOR:
        return _is_creator(session, key)
    if entry.startswith("-----BEGIN"):
        return hash_of_certificate(entry.encode()) == key
    return is_key_hash(entry) and entry == key


def _is_creator(session: Session, key: str) -> bool:
    return isinstance(session.creator, str) and hash_of_certificate(session.creator.encode()) == key
