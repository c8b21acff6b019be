"""The canonical form of a session: its hash, comparing two of them, and keeping one as text that is fast to read.

In: a validated session. Out: text or a hash that does not depend on how the session was spelled.
"""

from __future__ import annotations

import hashlib
import json

from sconectl.policy.model.session import Session
from sconectl.policy.serialized.canonical_reader import from_json
from sconectl.policy.serialized.yaml_writer import read_back

__all__ = ["from_json", "hash_of_json", "read_back", "same_content", "session_hash", "to_json"]


def session_hash(session: Session) -> str:
    """Return the hash of the session (64 hex digits); predecessor and creator are part of it."""
    return hash_of_json(to_json(session))


def hash_of_json(document: str) -> str:
    """Return the hash of the session whose `to_json` is `document`."""
    return hashlib.sha256(document.encode()).hexdigest()


def same_content(first: Session, second: Session) -> bool:
    """Say whether two sessions are the same but for predecessor and creator."""
    return _content(first) == _content(second)


def _content(session: Session) -> str:
    return to_json(session.model_copy(update={"predecessor": None, "creator": None}))


def to_json(session: Session) -> str:
    """Return the session as the JSON text that is hashed; `from_json` gives the session back exactly."""
    # Defaults are left out, so that spelling them out makes no difference and a later version of the language
    # can add fields without changing the hash of a session that does not use them.
    document = session.model_dump(by_alias=True, exclude_defaults=True)
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
