"""The embedded CAS itself, without any transport.

In: session texts, names, and the principal whose key the transport has verified. Out: hashes, stored sessions, public
values. Raises `CasRefusal` for everything it does not grant. What concerns running programs is in `enclaves`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sconectl import __version__
from sconectl.cas.attest.enclaves import Enclaves
from sconectl.cas.audit.anchor import Anchor, default_anchor
from sconectl.cas.audit.entries import AuditError
from sconectl.cas.bounds.lanes import customer, leave_place
from sconectl.cas.bounds.limits import DEFAULT, Limits
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.client import trust
from sconectl.cas.keys.cas_keys import CasKeys, load_or_create
from sconectl.cas.keys.simulated_machine import load_machine
from sconectl.cas.secrets.renewal import is_due
from sconectl.cas.secrets.session_secrets import Stored, value_object
from sconectl.cas.sessions import session_limits
from sconectl.cas.sessions.access import Client, Principal, grants
from sconectl.cas.sessions.authorization import fields_of, require
from sconectl.cas.sessions.import_targets import ImportTargets
from sconectl.cas.sessions.other_cases import OtherCases, export_request, proved_keys
from sconectl.cas.sessions.sharing import Importer, Sharing, Target, remote_target
from sconectl.cas.sessions.storing import Storing, Uploaded
from sconectl.cas.sessions.uploads import read_upload
from sconectl.cas.sessions.volume_states import VolumeStates
from sconectl.cas.store import audit_rotation, namespaces
from sconectl.cas.store.audit_folding import Folding
from sconectl.cas.store.health import Health
from sconectl.cas.store.quota import Quota, Room
from sconectl.cas.store.session_cache import SessionCache
from sconectl.cas.store.store import Store, Transaction
from sconectl.cas.store.versions import Version
from sconectl.errors import CasError
from sconectl.policy.reading import parse_session
from sconectl.policy.serialized.canonical import session_hash
from sconectl.ports import StoredSession

_log = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class EmbeddedCas:
    """A CAS whose whole state is one directory (and the freshness anchor outside of it); made on first use."""

    def __init__(
        self, directory: Path, *, anchor: Path | None = None, clock: Any = _now, limits: Limits = DEFAULT
    ) -> None:
        self.directory = directory
        self.keys: CasKeys = load_or_create(directory)
        self._clock = clock
        self._limits = limits
        self._store = Store(
            directory,
            self.keys.sealing,
            audit_key=self.keys.audit,
            anchor=Anchor(anchor or default_anchor(self.keys.cas_key_hash), self.keys.sealing),
            cache=SessionCache(limits.cache_bytes),
        )
        self.machine = load_machine(directory)
        self._others = OtherCases(self.keys, limits, ImportTargets(self.machine.import_from))
        self._sharing = Sharing(clock, self._others.fetch, limits)
        self.room = Room(directory, limits)
        self._quota = Quota(limits, self.room)
        self._folding = Folding(self._store, limits, clock, self.room.is_there)
        self._storing = Storing(self._store, self._sharing, limits, clock, self._quota)
        self.enclaves = Enclaves(
            self._store, self.keys, self.machine, self._sharing, clock, self._quota, self._folding, limits
        )
        self.volumes = VolumeStates(self._store, self._sharing, clock)
        self._health = Health(self._store)
        with self._store.writing() as transaction:
            namespaces.ship_root(transaction)
        self._rotate()

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences about the opened store that the user should see."""
        return self._store.notices

    def close(self) -> None:
        """Write folded events into the audit log, and close the database."""
        self._folding.flush(everything=True)
        self._store.close()

    def put(self, body: str | bytes, principal: Principal | None) -> Uploaded:
        """Create or update the session in `body` (YAML, signed or encrypted) for `principal`."""
        raw = body.encode() if isinstance(body, str) else body
        self._quota.expect_upload(customer().address, len(raw))
        allowed = self.machine.accept_hardware_policies
        upload = read_upload(raw, principal, self.keys.encryption, self._limits, hardware_allowed=allowed)
        if len(raw) <= _QUICK and not session_limits.is_costly(upload.session):
            leave_place()  # another upload is read while this one is written
        return self._sharing.retrying(lambda: self._storing.store(upload))

    def read(self, name: str, principal: Principal | None, hash_: str | None = None) -> StoredSession:
        """Return the active version of a session, or an older one by hash; the active policy decides."""
        if principal is None:
            raise CasRefusal(401, "This needs a TLS client certificate")
        return self._sharing.retrying(lambda: self._read(name, principal, hash_))

    def _read(self, name: str, principal: Principal, hash_: str | None) -> StoredSession:
        client = Client(principal)
        with self._store.reading() as transaction:
            current = _active(transaction, name)
            require(transaction, self._sharing, current.session(), "read", client, f"Reading session {name} failed")
            wanted = current if hash_ is None else transaction.session(name, hash_)
            if wanted is None:
                raise CasRefusal(404, f"Session not found: session {name} has no version with this hash")
            fields = fields_of(transaction, name, wanted.hash, client)
        self._folding.granted("session_read", fields, {"address": customer().address})
        text = wanted.text
        _check_text(text, wanted.hash)
        return StoredSession(text, wanted.hash)

    def hash_of(self, name: str, principal: Principal | None) -> str:
        """Return the hash of the active version; anybody may ask for it if the session was ever salted."""
        return self._sharing.retrying(lambda: self._hash_of(name, principal))

    def _hash_of(self, name: str, principal: Principal | None) -> str:
        with self._store.reading() as transaction:
            current = _active(transaction, name)
            if not transaction.is_salted(name):
                head = f"Reading the hash of session {name} failed"
                require(transaction, self._sharing, current.session(), "read", Client(principal), head)
        return current.hash

    def list_sessions(self, namespace: str, principal: Principal | None) -> list[dict[str, str]]:
        """Return the sessions right in `namespace`, for holders of list_ or create_sessions.

        Each has its name, and its hash if that is public. Any other hash would help to guess secret values, or show
        that they changed, so a client has to ask for it, and to have the right to read the session.
        """
        return self._sharing.retrying(lambda: self._list_sessions(namespace, principal))

    def _list_sessions(self, namespace: str, principal: Principal | None) -> list[dict[str, str]]:
        client = Client(principal)
        with self._store.reading() as transaction:
            session = _active(transaction, namespace).session()
            resolve = self._sharing.resolver(transaction, session)
            if not grants(session, "create_sessions", client, resolve).allowed:
                head = f"Listing the sessions in {namespace} failed"
                require(transaction, self._sharing, session, "list_sessions", client, head)
            children = transaction.children(namespace)
            if len(children) > self._limits.listed_sessions:
                raise CasRefusal(413, f"More than {self._limits.listed_sessions} sessions are in {namespace}")
            return [
                {"name": name, "hash": hash_} if transaction.is_salted(name) else {"name": name}
                for name, hash_ in children
                if name != namespaces.ROOT
            ]

    def quick_value(self, name: str, secret_name: str) -> dict[str, Any] | None:
        """Return the value of `public_value` if it is in one row and up to date, else None; never waits."""
        with self._store.reading() as transaction:
            stored = transaction.stored_secret(name, secret_name, _QUICK)
        if stored is None or not stored.public or self._due(stored):
            return None
        return value_object(stored.kind, stored.content, stored.expires, stored.renew)

    def public_value(self, name: str, secret_name: str) -> dict[str, Any]:
        """Return one public secret of a session as a value object; a certificate that is due is renewed first."""
        quick = self.quick_value(name, secret_name)
        return quick or self._sharing.retrying(lambda: self._public_value(name, secret_name))

    def public_values(self, name: str) -> dict[str, dict[str, Any]]:
        """Return all public secrets of a session as value objects."""
        with self._store.reading() as transaction:
            session = _active(transaction, name).session()
        public = (secret.name for secret in session.secrets if secret.export_public)
        return {secret: self.public_value(name, secret) for secret in public}

    def _public_value(self, name: str, secret_name: str) -> dict[str, Any]:
        with self._store.reading() as transaction:
            session = _active(transaction, name).session()
        secret = session.secret(secret_name)
        if secret is None or not secret.export_public:
            raise CasRefusal(
                404,
                f"Reading value {secret_name} of /session={name} failed for a public client",
                "There is no such secret, or it is not public",
            )
        self._sharing.refresh(self._store, session)
        with self._store.reading() as transaction:
            stored = transaction.stored_secret(name, secret_name)
            if stored is not None:
                return value_object(stored.kind, stored.content, stored.expires, stored.renew)
            value = self._sharing.value(transaction, session, secret_name)
        return value_object(value.kind, value.content, None, None)

    def report(self, nonce: str) -> dict[str, Any]:
        """Return the attestation report of this CAS, bound to `nonce` (hex)."""
        return trust.make_report(self.keys, nonce, __version__, self._clock())

    def export(self, request: Any, peer_chain: Sequence[bytes]) -> dict[str, Any]:
        """Return a secret that a session exports to a session in the CAS that presents `peer_chain`."""
        session_name, pin, name, importer = export_request(request)
        target = remote_target(*importer, *proved_keys(peer_chain))
        return self._sharing.retrying(lambda: self._export(session_name, pin, name, importer, target))

    def _export(
        self, session_name: str, pin: str | None, name: str, importer: Importer, target: Target
    ) -> dict[str, Any]:
        with self._store.reading() as transaction:
            value = self._sharing.exported(transaction, session_name, name, target, pin)
        fields = {"session": session_name, "secret": name, "importer": importer[0]}
        self._folding.granted("secret_exported", fields, {"address": customer().address})
        return {"value": value.to_dict()}

    def renew(self) -> int:
        """Renew the certificates that are due; return the number of sessions concerned."""
        with self._store.reading() as transaction:
            due = set(transaction.due(int(self._clock().timestamp())))
            due |= {session for session, row in transaction.certificates() if session not in due and self._due(row)}
        for name in sorted(due):
            self._sharing.retrying(lambda name=name: self._renew_session(name))  # type: ignore[misc]
        return len(due)

    def _renew_session(self, name: str) -> None:
        with self._store.reading() as transaction:
            session = _active(transaction, name).session()
        self._sharing.refresh(self._store, session)

    def check(self) -> None:
        """Raise `CasRefusal` 503 if nothing can be written, with the condition of the store."""
        self._health.check()

    def tend(self) -> None:
        """Do the periodic work: write folded events, close a segment of the audit log, free disk."""
        self._folding.flush()
        self._rotate()
        self._store.shrink()

    def _rotate(self) -> None:
        try:
            audit_rotation.rotate(self._store, self.directory, self._limits.audit_segment_bytes)
        except (AuditError, CasError, CasRefusal, OSError) as error:
            _log.warning("no segment of the audit log was closed: %s", error)

    def _due(self, stored: Stored) -> bool:
        return is_due(stored, self._clock())


def _active(transaction: Transaction, name: str) -> Version:
    version = transaction.session(name)
    if version is None:
        raise CasRefusal(404, f"Session not found: there is no session {name}")
    return version


_QUICK = 1 << 14  # bytes; a larger value is read in a lane
_checked: dict[bytes, None] = {}  # digests only, so that the texts of strangers take little memory
_MAX_CHECKED = 4096


def _check_text(text: str, hash_: str) -> None:
    """Raise `CasError` if the text for readers is not the session that is enforced: reviewers decide on this text."""
    digest = hashlib.sha256(f"{hash_} {text}".encode()).digest()
    if digest in _checked:
        return
    if session_hash(parse_session(text)) != hash_:
        raise CasError(f"the text of the session with hash {hash_} differs from it", hint="this is a bug; report it")
    if len(_checked) >= _MAX_CHECKED:
        _checked.clear()
    _checked[digest] = None
