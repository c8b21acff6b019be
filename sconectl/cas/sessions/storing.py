"""Stores a session: checks whether it may be stored, and makes the values of its secrets.

In: an upload that is valid. Out: the new version in the store, with the values of its secrets. What takes long is done
before the transaction that writes, so that nobody waits for it. Raises `CasRefusal`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sconectl.cas.attest.volumes import volume_secrets
from sconectl.cas.bounds.lanes import customer, still_wanted
from sconectl.cas.bounds.limits import Limits
from sconectl.cas.bounds.refusal import Busy, CasRefusal
from sconectl.cas.secrets.session_secrets import Stored, Value, secrets_for
from sconectl.cas.sessions import session_limits
from sconectl.cas.sessions.access import Client, grants, is_creator
from sconectl.cas.sessions.authorization import may_know_hash, record, require
from sconectl.cas.sessions.sharing import Sharing
from sconectl.cas.sessions.uploads import NOT_FOR_SIGNERS, Upload, is_for_signers
from sconectl.cas.store import namespaces
from sconectl.cas.store.quota import Quota
from sconectl.cas.store.store import Store, Transaction
from sconectl.cas.store.versions import Version
from sconectl.key_hash import normal_certificate
from sconectl.policy.reading import Secret, Session, Signer
from sconectl.policy.serialized.canonical import read_back, same_content
from sconectl.text.yaml_tree import MAX_BYTES

_ATTEMPTS = 5


@dataclass(frozen=True)
class Uploaded:
    """The result of an upload: the hash of the active version, and warnings for the uploader."""

    hash: str
    outcome: Literal["created", "updated", "unchanged"]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Prepared:
    """An upload that may be stored, with its rows, and with the state of the store that they were made from.

    `replaces` and `namespace` are hashes; there is a namespace only for a new session.
    """

    session: Session
    version: Version
    replaces: str | None
    namespace: str | None
    previous: Mapping[str, Stored]
    imports: Mapping[str, Value]
    secrets: Mapping[str, Stored]


class Storing:
    """Stores uploads in `store`."""

    def __init__(
        self, store: Store, sharing: Sharing, limits: Limits, clock: Callable[[], datetime], quota: Quota
    ) -> None:
        self._quota = quota
        self._store = store
        self._sharing = sharing
        self._limits = limits
        self._clock = clock

    def store(self, upload: Upload) -> Uploaded:
        """Store a session. What takes long (keys, certificates) is made first, while others can write.

        If the store has changed in between, they are made again.
        """
        if not session_limits.is_costly(upload.session):
            with self._store.writing() as transaction:
                unchanged = self._unchanged(transaction, upload)
                return unchanged or self._stored(transaction, upload, self._prepared(transaction, upload))
        for _ in range(_ATTEMPTS):
            with self._store.reading() as transaction:
                if unchanged := self._unchanged(transaction, upload):
                    return unchanged
                prepared = self._prepared(transaction, upload)
            still_wanted()
            with self._store.writing() as transaction:
                if self._is_as_seen(transaction, upload.session, prepared):
                    return self._stored(transaction, upload, prepared)
        raise Busy("The sessions that it depends on change all the time")

    def _unchanged(self, transaction: Transaction, upload: Upload) -> Uploaded | None:
        """Return the active version if the upload says the same, and its client may know that; nothing is written.

        The upload names no predecessor, the one that the active version has, or the active version itself. It names no
        creator, or the same, wherever the policy depends on it: another one is a change of who may do what.
        """
        current = transaction.session(upload.session.name)
        if current is None:
            return None
        active = current.session()
        if upload.session.predecessor not in (None, active.predecessor, current.hash):
            return None
        if active.mentions_creator() and upload.session.creator not in (None, active.creator):
            return None
        if not self._may_compare(transaction, active, upload.client) or not same_content(upload.session, active):
            return None
        return Uploaded(current.hash, "unchanged", upload.warnings)

    def _may_compare(self, transaction: Transaction, active: Session, client: Client) -> bool:
        """Say whether a client may learn that a session says what it sent: else it could guess, and try.

        Whoever may read knows it anyway. Whoever may only update is told if the document carries the signatures that
        allow it, or if the session is its own.
        """
        resolve = self._sharing.resolver(transaction, active)
        if grants(active, "read", client, resolve).allowed:
            return True
        own = active.creator is not None and is_creator(active.creator, client)
        return bool(own or client.signers) and grants(active, "update", client, resolve).allowed

    def _prepared(self, transaction: Transaction, upload: Upload) -> _Prepared:
        """Check whether `upload` may be stored, and make the values of its secrets."""
        session, client = upload.session, upload.client
        current = transaction.session(session.name)
        active = current.session() if current else None
        namespace = None
        if current is None or active is None:
            namespace = self._may_create(transaction, session, client)
        else:
            self._may_update(transaction, session, current, active, client)
        session = _with_creator(session, active, client)
        version = namespaces.version_of(session)
        if _is_too_long(version, session):
            raise CasRefusal(413, f"The session has more than {MAX_BYTES} bytes when its aliases are written out")
        previous = transaction.stored(session.name)
        imports: dict[str, Value] = {}
        imported = self._sharing.imported(transaction, session)

        def noted(secret: Secret) -> Value:
            imports[secret.name] = imported(secret)
            return imports[secret.name]

        secrets = secrets_for(session, previous, active, noted, self._clock())
        secrets |= volume_secrets(session, previous)
        return _Prepared(session, version, current.hash if current else None, namespace, previous, imports, secrets)

    def _is_as_seen(self, transaction: Transaction, session: Session, prepared: _Prepared) -> bool:
        """Say whether the store still has the state that `prepared` was made from."""
        if transaction.active_hash(session.name) != prepared.replaces:
            return False
        if prepared.namespace is not None:
            if transaction.active_hash(namespaces.parent(session.name)) != prepared.namespace:
                return False
        if transaction.stored(session.name) != prepared.previous:
            return False
        imported = self._sharing.imported(transaction, prepared.session)
        secrets = {secret.name: secret for secret in prepared.session.secrets}
        return all(imported(secrets[name]) == value for name, value in prepared.imports.items())

    def _stored(self, transaction: Transaction, upload: Upload, prepared: _Prepared) -> Uploaded:
        session, version = prepared.session, prepared.version
        self._quota.upload(customer().address, version.document, prepared.secrets)
        created = prepared.replaces is None
        if created:
            namespaces.seal_root(transaction)
        transaction.append(session.name, version)
        transaction.replace_stored(session.name, prepared.secrets)
        if session.salt is not None:
            transaction.mark_salted(session.name)
        event = "session_created" if created else "session_updated"
        record(transaction, event, session.name, version.hash, upload.client)
        return Uploaded(version.hash, "created" if created else "updated", upload.warnings)

    def _may_create(self, transaction: Transaction, session: Session, client: Client) -> str:
        """Return the hash of the namespace that allows it; raises `CasRefusal`."""
        if session.predecessor is not None:
            raise CasRefusal(
                404,
                f"Session not found: there is no session {session.name} to update",
                "The session names a predecessor",
            )
        head = f"Creating session {session.name} failed"
        namespace = namespaces.parent(session.name)
        version = transaction.session(namespace)
        if version is None:
            raise CasRefusal(404, head, f"Namespace not found: create session {namespace} first")
        require(transaction, self._sharing, version.session(), "create_sessions", client, head)
        if session.namespace_hash is not None and not may_know_hash(
            transaction, self._sharing, version.session(), client
        ):
            raise CasRefusal(403, head, f"namespace_hash needs the right to read {namespace}, or a salt in it")
        if session.namespace_hash not in (None, version.hash):
            raise CasRefusal(409, head, f"The namespace {namespace} has another hash than namespace_hash says")
        return version.hash

    def _may_update(
        self, transaction: Transaction, session: Session, current: Version, active: Session, client: Client
    ) -> None:
        head = f"Updating session {session.name} failed"
        require(transaction, self._sharing, active, "update", client, head)
        if session.predecessor is None:
            raise CasRefusal(409, head, "Session already exists, please specify predecessor hash")
        if session.predecessor != current.hash:
            known = may_know_hash(transaction, self._sharing, active, client)
            if known and transaction.session(session.name, session.predecessor) is None:
                raise CasRefusal(404, head, "Session not found: it has no version with the predecessor's hash")
            raise CasRefusal(409, head, "The predecessor is not the active version of the session (stale predecessor)")


def _with_creator(session: Session, active: Session | None, client: Client) -> Session:
    """Set the creator: the uploader of the first version stays it, unless an update names its own uploader.

    So nobody loses what CREATOR may do because somebody else, who may, updates the session. A policy that never
    mentions CREATOR has none, so that its hash is known before the upload; then the next uploader is the first. The
    creator of a signed session was checked against its signatures when it was read.
    """
    if client.signers:
        return session
    if client.principal is None:
        raise CasRefusal(401, "This needs a TLS client certificate")
    known = active.creator if active is not None else None
    creator: str | Signer = client.principal.certificate_pem
    if session.creator is None:
        creator = known or creator
    elif not is_creator(session.creator, client):
        if not isinstance(known, str) or normal_certificate(known) != session.creator:
            raise CasRefusal(
                403, "The session names somebody else as its creator", "Remove creator; the CAS knows who it is"
            )
        creator = known
    if not session.mentions_creator():
        return session.model_copy(update={"creator": None})
    if isinstance(creator, Signer) and not is_for_signers(session):
        raise CasRefusal(400, "Updating a signed session failed", NOT_FOR_SIGNERS)
    return session.model_copy(update={"creator": creator})


def _is_too_long(version: Version, session: Session) -> bool:
    """Say whether the text for readers, in which aliases are written out, would be too long to be read again."""
    return len(version.document or "") > MAX_BYTES // 8 and len(read_back(session).encode()) > MAX_BYTES
