"""The interface that the REST server needs from a CAS.

In: nothing. Out: protocols that the embedded CAS fulfils, so that the server can be run and tested on anything that
has these methods. All methods block and raise `CasRefusal` for what they do not grant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sconectl.cas.keys.cas_keys import CasKeys
from sconectl.cas.sessions.access import Principal
from sconectl.ports import StoredSession


class Taken(Protocol):
    """The result of an upload."""

    @property
    def hash(self) -> str:
        """The hash of the stored version (64 hex digits)."""

    @property
    def warnings(self) -> Sequence[str]:
        """Sentences for the uploader, without secret values."""


class ServedEnclaves(Protocol):
    """The part for programs that attest themselves."""

    def nonce(self) -> dict[str, Any]:
        """Return `{"nonce": hex}`, fresh and good for one attestation."""

    def quote(self, report: Any) -> dict[str, Any]:
        """Return `{"quote": …}`, the report signed by the simulated machine."""

    def attest(self, config_id: str, quote: Any, channel_der: bytes, access_token: str | None) -> dict[str, Any]:
        """Return `{"config": …}` for the program behind the quote and the TLS channel."""

    def fill(self, channel_der: bytes, files: Any) -> dict[str, Any]:
        """Return `{"files": …}` with the placeholders of an attested program's own files filled in."""

    def update_tag(self, channel_der: bytes, subject: str, old: str | None, new: str) -> dict[str, Any]:
        """Return `{"tag": …}` after moving the tag of a volume or file system on."""


class ServedCas(Protocol):
    """A CAS as the REST interface sees it."""

    @property
    def keys(self) -> CasKeys:
        """The keys of the CAS."""

    @property
    def enclaves(self) -> ServedEnclaves:
        """The part for programs that attest themselves."""

    def put(self, body: bytes, principal: Principal | None) -> Taken:
        """Create or update the session in `body`."""

    def read(self, name: str, principal: Principal | None, hash_: str | None = None) -> StoredSession:
        """Return the active version of a session, or the one with this hash."""

    def list_sessions(self, namespace: str, principal: Principal | None) -> list[dict[str, str]]:
        """Return the sessions in a namespace, with their hash if it is public; `/` is the top level."""

    def hash_of(self, name: str, principal: Principal | None) -> str:
        """Return the hash of the active version."""

    def quick_value(self, name: str, secret_name: str) -> dict[str, Any] | None:
        """Return the value of `public_value` if that takes no waiting, else None."""

    def public_value(self, name: str, secret: str) -> Mapping[str, Any]:
        """Return one public secret as a value object."""

    def public_values(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """Return all public secrets of a session as value objects."""

    def report(self, nonce: str) -> dict[str, Any]:
        """Return the attestation report of the CAS, bound to `nonce` (hex, may be empty)."""

    def export(self, request: dict[str, Any], peer_chain: list[bytes]) -> dict[str, Any]:
        """Return an exported secret to the CAS that owns the first certificate (DER) of `peer_chain`."""

    def check(self) -> None:
        """Raise if the CAS cannot serve requests now."""

    def tend(self) -> None:
        """Do the periodic work."""

    def renew(self) -> Any:
        """Renew the certificates that are due."""
