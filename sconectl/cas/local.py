"""The embedded CAS in this process (`cas_url: local`), for one client identity.

In: the directory of the CAS and the identity. Out: a `SessionStore`. A server on the same directory may run beside it.
"""

from __future__ import annotations

from pathlib import Path

from sconectl.cas.access import Principal
from sconectl.cas.explained import refused
from sconectl.cas.identity import ClientIdentity
from sconectl.cas.refusal import CasRefusal
from sconectl.cas.service import EmbeddedCas
from sconectl.ports import StoredSession

ADDRESS = "local"


class LocalCas:
    """A `SessionStore` on the embedded CAS, without a network."""

    def __init__(self, directory: Path, identity: ClientIdentity) -> None:
        self._cas = EmbeddedCas(directory)
        self._principal = Principal.of(identity.certificate_pem.encode())

    @property
    def address(self) -> str:
        """What messages call this CAS."""
        return ADDRESS

    @property
    def cas_key(self) -> str:
        """The key hash that names this CAS."""
        return self._cas.keys.cas_key_hash

    def read(self, name: str) -> StoredSession | None:
        """Return the active session, or None; raises `CasRefused` if it may not be read."""
        try:
            return self._cas.read(name, self._principal)
        except CasRefusal as refusal:
            if refusal.status == 404:
                return None
            raise refused(ADDRESS, refusal.status, refusal.causes) from refusal

    def put(self, text: str) -> str:
        """Create or update the session in `text` and return its hash; raises `CasRefused`."""
        try:
            return self._cas.put(text, self._principal)
        except CasRefusal as refusal:
            raise refused(ADDRESS, refusal.status, refusal.causes) from refusal
