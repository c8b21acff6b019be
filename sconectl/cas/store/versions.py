"""One version of a session as it is stored.

In: its text or document, and its hash. Out: the session, or `CasError` if this version of sconectl does not take it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sconectl.cas.store.session_cache import SessionCache
from sconectl.errors import CasError, InvalidInput
from sconectl.policy.reading import Session, parse_session
from sconectl.policy.serialized.canonical import from_json, read_back, session_hash


@dataclass(frozen=True)
class Version:
    """One version of a session: `canonical.to_json` of it (only its text in old stores), its hash and number."""

    written: str | None = field(repr=False)
    document: str | None = field(repr=False)
    hash: str
    number: int = 0
    cache: SessionCache | None = field(default=None, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The session as YAML, as readers get it."""
        return self.written if self.written is not None else read_back(self.session())

    def session(self) -> Session:
        """Return the session; raises `CasError` if this version of sconectl does not take it any more."""
        text = self.written or ""
        if self.cache is None:
            return _session(self.hash, self.document, text)
        return self.cache.get(self.hash, self.document or text, lambda: _session(self.hash, self.document, text))


def _session(hash_: str, document: str | None, text: str) -> Session:
    try:
        if document is None:
            return parse_session(text)
        session = from_json(document)
        if session_hash(session) != hash_:
            raise ValueError("there is something in it that is not in the language of this version")
        return session
    except (InvalidInput, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CasError(
            f"a stored session (hash {hash_}) cannot be enforced by this version of sconectl",
            hint="use the version that stored it, or a newer one",
        ) from error
