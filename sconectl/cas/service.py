"""The embedded CAS itself, without any transport.

In: session texts, names, quotes, and the principal whose key the transport has verified. Out: hashes, stored
sessions, configurations. Raises `CasRefusal` for everything it does not grant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sconectl.cas import attestation
from sconectl.cas.access import Principal, is_creator, permits
from sconectl.cas.configuration import configuration
from sconectl.cas.keys import CasKeys, load_or_create
from sconectl.cas.refusal import CasRefusal
from sconectl.cas.secrets import generated_for, value_of
from sconectl.cas.store import Store, Transaction, Version
from sconectl.errors import CasError, InvalidInput
from sconectl.key_hash import normal_certificate
from sconectl.policy import names
from sconectl.policy.canonical import read_back, session_hash
from sconectl.policy.model import Secret, Session, parse_session
from sconectl.ports import StoredSession


class EmbeddedCas:
    """A CAS whose whole state is one directory; made on first use."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.keys: CasKeys = load_or_create(directory)
        self._store = Store(directory, self.keys.sealing)

    def put(self, text: str | bytes, principal: Principal) -> str:
        """Create or update the session in `text` for `principal` and return its hash."""
        session = _parsed(text)
        with self._store.writing() as transaction:
            current = transaction.session(session.name)
            if current is None:
                self._may_create(transaction, session, principal)
                active = None
            else:
                active = current.session()
                self._may_update(session, current, active, principal)
            session = _with_creator(session, active, principal)
            version = _version_of(session)
            transaction.append(session.name, version)
            old = transaction.generated(session.name)
            transaction.replace_generated(session.name, generated_for(session, old))
        return version.hash

    def read(self, name: str, principal: Principal, hash_: str | None = None) -> StoredSession:
        """Return the active version of a session, or an older one by hash; the active policy decides."""
        with self._store.reading() as transaction:
            current = transaction.session(name)
            if current is None:
                raise _unknown(name)
            if not permits(current.session(), "read", principal):
                raise CasRefusal(
                    403,
                    f"Reading session {name} failed",
                    f"Its access policy does not grant read to {principal.key_hash}",
                )
            wanted = current if hash_ is None else transaction.session(name, hash_)
        if wanted is None:
            raise CasRefusal(404, f"Session not found: session {name} has no version with this hash")
        return StoredSession(wanted.text, wanted.hash)

    def public_value(self, name: str, secret_name: str) -> dict[str, Any]:
        """Return one public secret of a session as a value object."""
        with self._store.reading() as transaction:
            session = self._public_session(transaction, name)
            secret = session.secret(secret_name)
            if secret is None or not secret.export_public:
                raise CasRefusal(
                    404,
                    f"Reading value {secret_name} of /session={name} failed for a public client",
                    "There is no such secret, or it is not public",
                )
            return _value_object(transaction, session, secret)

    def public_values(self, name: str) -> dict[str, dict[str, Any]]:
        """Return all public secrets of a session as value objects."""
        with self._store.reading() as transaction:
            session = self._public_session(transaction, name)
            public = (secret for secret in session.secrets if secret.export_public)
            return {secret.name: _value_object(transaction, session, secret) for secret in public}

    def quote(self, report: Any) -> dict[str, Any]:
        """Sign a report with the quoting key of this simulated machine."""
        return attestation.sign_quote(report, self.keys.quoting)

    def attest(self, config_id: str, quote: Any, channel_certificate_der: bytes) -> dict[str, Any]:
        """Return the configuration `config_id` (session/service) for the program behind `quote` and the channel."""
        session_name, slash, service_name = config_id.rpartition("/")
        if not slash or not session_name or not service_name:
            raise CasRefusal(400, "The configuration id is malformed", "Expected <session>/<service>")
        try:
            return self._attest(session_name, service_name, quote, channel_certificate_der)
        except CasRefusal as refusal:
            head = f"CAS refused to attest service {service_name} of session {session_name}"
            raise CasRefusal(refusal.status, head, *refusal.causes) from refusal

    def _attest(self, name: str, service_name: str, quote: Any, certificate_der: bytes) -> dict[str, Any]:
        with self._store.reading() as transaction:
            version = transaction.session(name)
            if version is None:
                raise _unknown(name)
            session = version.session()
            service = session.service(service_name)
            if service is None:
                raise CasRefusal(404, f"Service not found: session {name} has no service {service_name}")
            checked = attestation.read_quote(quote)
            attestation.check_channel(checked, certificate_der)
            if session.security.attestation.mode != "none":
                attestation.check_signature(checked, self.keys.quoting.public_key())
                attestation.check_requirements(checked, session, service)
            return configuration(transaction, session, version.hash, service)

    @staticmethod
    def _may_create(transaction: Transaction, session: Session, principal: Principal) -> None:
        if session.predecessor is not None:
            raise CasRefusal(
                404,
                f"Session not found: there is no session {session.name} to update",
                "The session names a predecessor",
            )
        namespace = names.parent(session.name)
        if namespace is None:
            return
        head = f"Creating session {session.name} failed"
        version = transaction.session(namespace)
        if version is None:
            raise CasRefusal(404, head, f"Namespace not found: create session {namespace} first")
        if not permits(version.session(), "create_sessions", principal):
            raise CasRefusal(
                403, head, f"The access policy of {namespace} does not grant create_sessions to {principal.key_hash}"
            )

    @staticmethod
    def _may_update(session: Session, current: Version, active: Session, principal: Principal) -> None:
        head = f"Updating session {session.name} failed"
        if not permits(active, "update", principal):
            raise CasRefusal(403, head, f"Its access policy does not grant update to {principal.key_hash}")
        if session.predecessor is None:
            raise CasRefusal(409, head, "Session already exists, please specify predecessor hash")
        if session.predecessor != current.hash:
            raise CasRefusal(409, head, "The predecessor is not the active version of the session (stale predecessor)")

    @staticmethod
    def _public_session(transaction: Transaction, name: str) -> Session:
        version = transaction.session(name)
        if version is None:
            raise _unknown(name)
        return version.session()


def _parsed(text: str | bytes) -> Session:
    try:
        return parse_session(text)
    except InvalidInput as error:
        causes = (
            f"{finding.position.line}:{finding.position.column}: {finding.code} {finding.path}: {finding.message}"
            for finding in error.findings
        )
        raise CasRefusal(400, "The session is invalid", *causes) from error


def _with_creator(session: Session, active: Session | None, principal: Principal) -> Session:
    """Set the creator: the uploader, unless an update states that the creator stays who it was.

    A policy that never mentions CREATOR has none, so that its hash is known before the upload.
    """
    creator = principal.certificate_pem
    if session.creator is not None and not is_creator(session.creator, principal):
        if active is None or active.creator is None or normal_certificate(active.creator) != session.creator:
            raise CasRefusal(
                403, "The session names somebody else as its creator", "Remove creator; the CAS sets it to the uploader"
            )
        creator = active.creator
    if not session.access_policy.mentions_creator():
        return session.model_copy(update={"creator": None})
    return session.model_copy(update={"creator": creator})


def _version_of(session: Session) -> Version:
    """Return what is stored; reading it must give the same session, or the CAS would enforce something else."""
    text, hash_ = read_back(session), session_hash(session)
    if session_hash(_parsed(text)) != hash_:
        raise CasError(f"session {session.name} cannot be stored without a change", hint="this is a bug; report it")
    return Version(text, hash_)


def _unknown(name: str) -> CasRefusal:
    return CasRefusal(404, f"Session not found: there is no session {name}")


def _value_object(transaction: Transaction, session: Session, secret: Secret) -> dict[str, Any]:
    value = value_of(transaction, session, secret.name)
    if value.kind == "binary":
        return {"kind": "binary", "value": value.content.hex(), "expires": None, "renew": None}
    return {"kind": "string", "value": value.content.decode(), "expires": None, "renew": None}
