"""The embedded CAS on this machine (`cas_url: local`), for one client identity.

In: the directory of the CAS and the client's cas-config. Out: a `SessionStore`. One process writes to a directory at a
time: if a server runs on it, requests go there; otherwise each operation holds the lock that a server would hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from sconectl.cas import daemon
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.client.http_cas import HttpCas, volume_states
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.client.refusal_hints import refused
from sconectl.cas.disk.directory_lock import writer
from sconectl.cas.keys.cas_keys import load_or_create
from sconectl.cas.sessions.access import Principal
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.errors import CasRefused
from sconectl.ports import ListedSession, Receipt, StoredSession, VolumeState

ADDRESS = "local"
_PATIENCE = 30.0
_Result = TypeVar("_Result")


class LocalCas:
    """A `SessionStore` on the embedded CAS of this machine."""

    def __init__(self, directory: Path, config: CasConfig, *, notify: Callable[[str], None] | None = None) -> None:
        self._directory = directory
        self._config = config
        self._notify = notify or (lambda _: None)
        self._keys = load_or_create(directory)
        self._principal = Principal.of(config.identity().certificate_pem.encode())
        self._servers: dict[str, HttpCas] = {}

    @property
    def address(self) -> str:
        """The name of this CAS in messages."""
        return ADDRESS

    @property
    def cas_key(self) -> str:
        """The key hash that names this CAS."""
        return self._keys.cas_key_hash

    @property
    def chain_pem(self) -> str:
        """The issuers of the certificate that its server shows, root last."""
        return self._keys.chain_pem

    def read(self, name: str, hash_: str | None = None) -> StoredSession | None:
        """Return the active session, or the version with this hash, or None; raises `CasRefused`."""
        try:
            return self._do(lambda cas: cas.read(name, self._principal, hash_), lambda server: server.read(name, hash_))
        except CasRefused as error:
            if error.status == 404:
                return None
            raise

    def list_sessions(self, namespace: str = "/") -> tuple[ListedSession, ...]:
        """Return the sessions right in a namespace, `/` for the top level, sorted by name; raises `CasRefused`."""
        return self._do(
            lambda cas: tuple(ListedSession(**listed) for listed in cas.list_sessions(namespace, self._principal)),
            lambda server: server.list_sessions(namespace),
        )

    def hash_of(self, name: str) -> str | None:
        """Return the hash of the active session, or None; raises `CasRefused` if it may not be known."""
        try:
            return self._do(lambda cas: cas.hash_of(name, self._principal), lambda server: server.hash_of(name))
        except CasRefused as error:
            if error.status == 404:
                return None
            raise

    def put(self, text: str) -> str:
        """Create or update the session in `text` and return its hash; raises `CasRefused`."""
        return self.upload(text).hash

    def upload(self, text: str) -> Receipt:
        """Do what `put` does, and tell what that was."""
        return self._do(lambda cas: self._uploaded(cas, text), lambda server: server.upload(text))

    def _uploaded(self, cas: EmbeddedCas, text: str) -> Receipt:
        taken = cas.put(text, self._principal)
        for warning in taken.warnings:
            self._notify(f"warning: the CAS {ADDRESS} says: {warning}")
        return Receipt(taken.hash, taken.outcome)

    def volumes(self, session: str) -> tuple[VolumeState, ...]:
        """Return the states of the volumes that a session owns; raises `CasRefused`."""
        return self._do(
            lambda cas: volume_states(cas.volumes.listed(session, self._principal), ADDRESS),
            lambda server: server.volumes(session),
        )

    def accept(self, session: str, volume: str, old: str | None, new: str | None) -> None:
        """Make `new` the tag of a volume instead of `old`; raises `CasRefused`."""
        self._do(
            lambda cas: cas.volumes.accept(session, volume, old, new, self._principal),
            lambda server: server.accept(session, volume, old, new),
        )

    def encryption_key(self) -> str:
        """Return the public key (64 hex digits) to which sessions for this CAS are encrypted."""
        return self._keys.encryption_key_hex

    @cached_property
    def _cas(self) -> EmbeddedCas:
        opened = EmbeddedCas(self._directory)
        for notice in opened.notices:
            self._notify(f"warning: {notice}")
        return opened

    def _do(self, here: Callable[[EmbeddedCas], _Result], there: Callable[[HttpCas], _Result]) -> _Result:
        if (running := daemon.status(self._directory)) is not None:
            return there(self._server(running.address))
        with writer(self._directory, _PATIENCE):
            try:
                return here(self._cas)
            except CasRefusal as refusal:
                raise refused(ADDRESS, refusal.status, (*refusal.causes, *refusal.details)) from refusal

    def _server(self, address: str) -> HttpCas:
        if address not in self._servers:
            self._servers[address] = HttpCas(
                daemon.reachable(address), self._config, cas_key=self.cas_key, notify=self._notify
            )
        return self._servers[address]
