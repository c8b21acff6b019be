"""The outside world as the pure stages see it: one narrow Protocol for each foreign system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class StoredSession:
    """A session as a CAS holds it: its YAML text (read-back form) and its hash (64 hex digits)."""

    text: str
    hash: str


class SessionStore(Protocol):
    """A CAS, remote or embedded, as the owner of one client identity sees it."""

    @property
    def address(self) -> str:
        """What messages call this CAS, like `127.0.0.1:8081` or `local`."""

    def read(self, name: str) -> StoredSession | None:
        """Return the active session called `name`, or None if there is none.

        Raises `CasRefused` if the identity may not read it, and other `CasError`s.
        """

    def put(self, text: str) -> str:
        """Create the session in `text`, or update it if `predecessor` names the active version; return its hash.

        The CAS either takes the session whole or leaves everything as it was. Raises `CasRefused` (invalid,
        not permitted, name taken, stale predecessor) and other `CasError`s.
        """
