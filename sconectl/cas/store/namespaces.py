"""Namespaces: every session lives in the one above it, and all in the root session `/`.

In: session names and the transaction that holds them. Out: the namespace a new session would live in. A CAS ships
with a root session that anybody may update and thus claim; creating any other session first seals it for good
(language §3).
"""

from __future__ import annotations

from functools import cache

from sconectl.cas.store.store import Transaction
from sconectl.cas.store.versions import Version
from sconectl.policy.forms import names
from sconectl.policy.reading import AccessPolicy, Session
from sconectl.policy.serialized.canonical import hash_of_json, session_hash, to_json

ROOT = "/"

_UNCLAIMED = Session(
    name=ROOT,
    version="0.3.12",
    access_policy=AccessPolicy.model_validate({"read": "ANY", "update": "ANY", "list_sessions": "NONE"}),
)


@cache
def _unclaimed_hash() -> str:
    return session_hash(_UNCLAIMED)


def version_of(session: Session) -> Version:
    """Return `session` as it is stored."""
    document = to_json(session)
    return Version(written=None, document=document, hash=hash_of_json(document))


def parent(name: str) -> str:
    """Return the namespace that `name` lies in; `/` at the top level."""
    return names.parent(name) or ROOT


def ship_root(transaction: Transaction) -> None:
    """Store the unclaimed root session, if there is none yet; seal it in a store that has sessions already."""
    if transaction.active_hash(ROOT) is None:
        transaction.append(ROOT, version_of(_UNCLAIMED))
        if transaction.count() > 1:
            seal_root(transaction)


def seal_root(transaction: Transaction) -> None:
    """Make the root session immutable if nobody has claimed it; called when the first other session is created."""
    unclaimed = _unclaimed_hash()
    if transaction.active_hash(ROOT) == unclaimed:
        nobody = {"update": "NONE", "list_sessions": "NONE"}
        policy = AccessPolicy.model_validate({"read": "ANY", "create_sessions": "ANY", **nobody})
        sealed = _UNCLAIMED.model_copy(update={"predecessor": unclaimed, "access_policy": policy})
        transaction.append(ROOT, version_of(sealed))
        transaction.record("root_sealed", session=ROOT)
