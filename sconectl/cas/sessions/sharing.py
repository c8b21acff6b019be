"""What a session may know of others: the values behind its imports, if the exporting session grants them.

In: sessions and the transaction that holds them, or another CAS by address and key. Out: values. Every refusal to
import has the same text, because an importer must not learn what a foreign session contains (language §10).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from sconectl.cas.bounds.limits import DEFAULT, Limits
from sconectl.cas.bounds.refusal import Busy, CasRefusal
from sconectl.cas.secrets.placeholder_formats import write
from sconectl.cas.secrets.renewal import is_due, renewed
from sconectl.cas.secrets.session_secrets import ImportedValue, Reading, Stored, Value
from sconectl.cas.store.store import Store, Transaction
from sconectl.policy.forms.names import is_within
from sconectl.policy.forms.placeholders import PlaceholderError, check
from sconectl.policy.reading import Export, Import, Secret, Session
from sconectl.policy.resolved_sections import FragmentError, Resolve
from sconectl.policy.serialized.canonical import session_hash
from sconectl.text.secret_placeholders import Placeholder

_log = logging.getLogger(__name__)

MAX_STEPS = 16
"""How many sessions a value may be handed on through; more is taken for a circle."""

_FRAGMENT = "config-fragment"

Importer = tuple[str, str]
"""Name and hash of the session that wants a secret."""

Remote = Callable[[Import, Importer, float], Value]
"""Fetches a value from another CAS until a time (`time.monotonic`); raises `CasRefusal`."""

_Result = TypeVar("_Result")


@dataclass
class _Scope:
    """Results that one operation keeps when it starts again: values of other CASes, hashes of sessions."""

    fetched: dict[tuple[Import, Importer], Value | CasRefusal] = field(default_factory=dict)
    hashes: dict[int, tuple[Session, str]] = field(default_factory=dict)


_scope: ContextVar[_Scope] = ContextVar("scope")


class _RemoteNeeded(Exception):
    """A value of another CAS is needed; nobody waits for another machine while holding a transaction."""

    def __init__(self, wanted: Import, importer: Importer) -> None:
        super().__init__("a value of another CAS is needed")
        self.key = (wanted, importer)


class Sharing:
    """Finds the value behind any secret of any session."""

    def __init__(self, clock: Callable[[], datetime], remote: Remote, limits: Limits = DEFAULT) -> None:
        self._clock = clock
        self._remote = remote
        self._limits = limits

    def retrying(self, operation: Callable[[], _Result]) -> _Result:
        """Run `operation`, which opens transactions, again after fetching each remote value that it asks for.

        A value that cannot be fetched is refused where it is needed, like any import that is not granted. All requests
        together have one time limit, and nothing is fetched for a client that has hung up.
        """
        scope = _Scope()
        deadline = time.monotonic() + self._limits.remote_seconds
        token = _scope.set(scope)
        try:
            for _ in range(self._limits.remote_values):
                try:
                    return operation()
                except _RemoteNeeded as needed:
                    try:
                        scope.fetched[needed.key] = self._remote(*needed.key, deadline)
                    except CasRefusal as refusal:
                        scope.fetched[needed.key] = refusal
        finally:
            _scope.reset(token)
        raise CasRefusal(403, f"More than {self._limits.remote_values} secrets of other CASes are needed")

    def value(
        self, transaction: Transaction, session: Session, name: str, *, software_identity: str | None = None
    ) -> Value:
        """Return the value of a secret of `session`; raises `CasRefusal` if an import is not granted."""
        return self._value(transaction, session, name, 0, software_identity)

    def imported(self, transaction: Transaction, session: Session, steps: int = 0) -> ImportedValue:
        """Return the function that gives the values of the imported secrets of `session`."""
        return lambda secret: self._imported(transaction, session, secret, steps)

    def resolver(self, transaction: Transaction, session: Session) -> Resolve:
        """Return the function that gives plain values for the references in sections of `session` (language §8)."""
        kinds: dict[str, str | None] = {secret.name: secret.kind for secret in session.secrets}
        left = [self._limits.references, self._limits.references_bytes]

        def resolve(placeholder: Placeholder) -> Any:
            try:
                value = self.value(transaction, session, placeholder.name)
                left[0] -= 1
                left[1] -= len(value.content)
                if min(left) < 0:
                    raise FragmentError("the policy has too many references, or their values are too large")
                if value.kind == _FRAGMENT:
                    return json.loads(value.content)
                target = check(placeholder, kinds | {placeholder.name: value.kind}, text_only=True)
                return write(value, target.format).decode()
            except CasRefusal as refusal:
                raise FragmentError(": ".join((*refusal.causes, *refusal.details))) from refusal
            except PlaceholderError as error:
                raise FragmentError(error.message) from error

        return resolve

    def is_due(self, transaction: Transaction, session: Session) -> bool:
        """Say whether `refresh` has something to do."""
        now = self._clock()
        rows = (row for name in _concerned(session) for row in transaction.stored(name).values())
        return any(is_due(row, now) for row in rows)

    def refresh(self, store: Store, session: Session) -> None:
        """Renew the certificates that are due: those of `session`, and of the sessions it imports from.

        One that cannot be issued stays as it is, and the log says so. Certificates are made outside of the transaction
        that stores them; if another request was faster, its certificates stay.
        """
        for name in _concerned(session):
            with store.reading() as transaction:
                version = transaction.session(name)
                stored = transaction.stored(name)
                issued = self._issued(transaction, version.session(), stored) if version else {}
            if version is None or not issued:
                continue
            with store.writing() as transaction:
                if (transaction.active_hash(name), transaction.stored(name)) == (version.hash, stored):
                    for secret, row in issued.items():
                        transaction.put_stored(name, secret, row)
                    transaction.record("certificates_renewed", session=name, secrets=sorted(issued))

    def _issued(self, transaction: Transaction, session: Session, stored: Mapping[str, Stored]) -> Mapping[str, Stored]:
        """Return the rows that replace those that are due, or nothing if they cannot be issued."""
        now = self._clock()
        if not any(is_due(row, now) for row in stored.values()):
            return {}
        try:
            return renewed(session, stored, self.imported(transaction, session), now)
        except CasRefusal as refusal:
            _log.error("certificates of session %s cannot be renewed: %s", session.name, refusal)
            return {}

    def exported(
        self, transaction: Transaction, session_name: str, name: str, target: Target, pin: str | None = None
    ) -> Value:
        """Return a secret for `target`, with the private key of a certificate only if that is exported, too.

        Raises `CasRefusal` with one text for everything that is not granted.
        """
        return self._exported(transaction, session_name, pin, name, target, 0)

    def _value(
        self, transaction: Transaction, session: Session, name: str, steps: int, software_identity: str | None = None
    ) -> Value:
        secret = session.secret(name)
        if secret is None:
            raise CasRefusal(403, f"The secret {name} is not defined in session {session.name}")
        imported = self.imported(transaction, session, steps)
        if secret.import_ is not None:
            return imported(secret)
        return self._reading(transaction, session, imported, steps, software_identity).value(name)

    def _reading(
        self,
        transaction: Transaction,
        session: Session,
        imported: ImportedValue,
        steps: int,
        software_identity: str | None,
    ) -> Reading:
        """Return the reader of a session's values: one for each transaction, so that nothing is made twice."""
        key = (session.name, steps, software_identity)
        found = transaction.readings.get(key)
        if found is None:
            stored = transaction.stored(session.name)
            found = Reading(session, stored, imported, self._clock(), software_identity, self._limits.token_bytes)
            transaction.readings[key] = found
        return found

    def _imported(self, transaction: Transaction, session: Session, secret: Secret, steps: int) -> Value:
        wanted = secret.import_
        if wanted is None:
            raise CasRefusal(501, f"The secret {secret.name} is imported from a key vault: not available here")
        if steps >= MAX_STEPS:
            raise CasRefusal(403, f"Importing secret {secret.name} failed", "The imports go in a circle")
        head = f"Importing secret {secret.name} into session {session.name} failed"
        importer = (session.name, _hash_of(session))
        try:
            if wanted.cas_url is not None:
                value = _fetched_value(wanted, importer)
            else:
                target = _local(*importer)
                value = self._exported(
                    transaction, wanted.session, wanted.session_hash, wanted.secret, target, steps + 1
                )
        except Busy:
            raise
        except CasRefusal as refusal:
            raise CasRefusal(403, head, *refusal.causes, details=refusal.details) from refusal
        if secret.kind not in (None, value.kind):
            raise CasRefusal(403, head, f"It is of kind {value.kind}, but the session expects {secret.kind}")
        return value

    def _exported(
        self, transaction: Transaction, session_name: str, pin: str | None, name: str, target: Target, steps: int
    ) -> Value:
        version = transaction.session(session_name)
        exporter = version.session() if version and pin in (None, version.hash) else None
        secret = exporter.secret(name) if exporter else None
        pinned = " with the expected hash" if pin else ""
        told = f"Session {session_name}{pinned} does not exist, or does not export a secret {name} to this session"
        if exporter is None or secret is None or not _granted(secret, target):
            raise CasRefusal(403, told)
        try:
            value = self._value(transaction, exporter, name, steps)
        except Busy:
            raise
        except CasRefusal as refusal:  # its text tells more about the exporting session than an importer may know
            raise CasRefusal(403, told, details=(*refusal.causes, *refusal.details)) from refusal
        key = exporter.secret(secret.private_key) if secret.private_key and secret.import_ is None else None
        if key is None or not _granted(key, target):
            value = replace(value, private_key=None)
        return value


def _concerned(session: Session) -> list[str]:
    """Return the sessions of this CAS whose certificates `session` uses, its own last."""
    sources = {secret.import_.session for secret in session.secrets if secret.import_ and not secret.import_.cas_url}
    return [*sorted(sources - {session.name}), session.name]


def _hash_of(session: Session) -> str:
    """Return the hash of a session, computed once for each operation: that takes long for a large one."""
    hashes = _scope.get(_Scope()).hashes
    if id(session) not in hashes:
        hashes[id(session)] = (session, session_hash(session))  # kept, so that its id stands for it
    return hashes[id(session)][1]


def _fetched_value(wanted: Import, importer: Importer) -> Value:
    found = _scope.get(_Scope()).fetched.get((wanted, importer))
    if found is None:
        raise _RemoteNeeded(wanted, importer)
    if isinstance(found, Busy):
        raise Busy(*found.causes[1:])
    if isinstance(found, CasRefusal):
        pinned = " with the expected hash" if wanted.session_hash else ""
        raise CasRefusal(
            403,
            f"The CAS {wanted.cas_url} cannot be asked, or its session {wanted.session}{pinned} does not export "
            f"a secret {wanted.secret} to this session",
            details=(*found.causes, *found.details),
        )
    return found


Target = Callable[[Export], bool]
"""Says whether an export is meant for the session that asks."""


def _local(name: str, hash_: str) -> Target:
    return lambda export: export.cas_url is None and _names(export, name, hash_)


def remote_target(name: str, hash_: str, cas_key: str, cas_software_key: str) -> Target:
    """Return the target that stands for a session in another CAS, which has proved both its keys."""

    def meant(export: Export) -> bool:
        keys = (export.cas_key, export.cas_software_key)
        proved = keys == (cas_key, None) or keys == (None, cas_software_key)
        return export.cas_url is not None and proved and _names(export, name, hash_)

    return meant


def _names(export: Export, name: str, hash_: str) -> bool:
    if export.namespace is not None:
        return is_within(name, export.namespace)
    return export.session == name and export.session_hash in (None, hash_)


def _granted(secret: Secret, target: Target) -> bool:
    return any(target(export) for export in secret.export)
