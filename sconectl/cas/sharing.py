"""What a session may know of others: the values behind its imports, if the exporting session grants them.

In: sessions and the transaction that holds them, or another CAS by address and key. Out: values. Every refusal to
import has the same text, because an importer must not learn what a foreign session contains (language §10).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from sconectl.cas.formats import write
from sconectl.cas.refusal import CasRefusal
from sconectl.cas.renewal import is_due, renewed
from sconectl.cas.store import Transaction
from sconectl.cas.values import ImportedValue, Value, value_in
from sconectl.policy.canonical import session_hash
from sconectl.policy.fragments import FragmentError, Resolve
from sconectl.policy.model import Export, Import, Secret, Session
from sconectl.policy.names import is_within
from sconectl.policy.placeholders import Placeholder, PlaceholderError, check

_log = logging.getLogger(__name__)

MAX_STEPS = 16
"""How many sessions a value may be handed on through; more is taken for a circle."""

MAX_REMOTE = 64
"""How many values of other CASes one operation may need."""

_FRAGMENT = "config-fragment"

Importer = tuple[str, str]
"""Name and hash of the session that wants a secret."""

Remote = Callable[[Import, Importer], Value]
"""Fetches a value from another CAS; raises `CasRefusal`."""

_Result = TypeVar("_Result")
_Fetched = dict[tuple[Import, Importer], Value | CasRefusal]
_fetched: ContextVar[_Fetched] = ContextVar("fetched")


class _RemoteNeeded(Exception):
    """A value of another CAS is needed; nobody waits for another machine while holding a transaction."""

    def __init__(self, wanted: Import, importer: Importer) -> None:
        super().__init__("a value of another CAS is needed")
        self.key = (wanted, importer)


class Sharing:
    """Finds the value behind any secret of any session."""

    def __init__(self, clock: Callable[[], datetime], remote: Remote) -> None:
        self._clock = clock
        self._remote = remote

    def retrying(self, operation: Callable[[], _Result]) -> _Result:
        """Run `operation`, which opens transactions, again after fetching each remote value that it asks for.

        What cannot be fetched is refused where it is needed, like any import that is not granted.
        """
        fetched: _Fetched = {}
        token = _fetched.set(fetched)
        try:
            for _ in range(MAX_REMOTE):
                try:
                    return operation()
                except _RemoteNeeded as needed:
                    try:
                        fetched[needed.key] = self._remote(*needed.key)
                    except CasRefusal as refusal:
                        fetched[needed.key] = refusal
        finally:
            _fetched.reset(token)
        raise CasRefusal(403, f"The session imports more than {MAX_REMOTE} secrets from other CASes")

    def value(
        self, transaction: Transaction, session: Session, name: str, *, software_identity: str | None = None
    ) -> Value:
        """Return the value of a secret of `session`; raises `CasRefusal` if an import is not granted."""
        return self._value(transaction, session, name, 0, software_identity)

    def imported(self, transaction: Transaction, session: Session, steps: int = 0) -> ImportedValue:
        """Return what gives the values behind the imported secrets of `session`."""
        return lambda secret: self._imported(transaction, session, secret, steps)

    def resolver(self, transaction: Transaction, session: Session) -> Resolve:
        """Return what gives plain values for the references in the sections of `session` (language §8)."""

        def resolve(placeholder: Placeholder) -> Any:
            kinds: dict[str, str | None] = {secret.name: secret.kind for secret in session.secrets}
            try:
                value = self.value(transaction, session, placeholder.name)
                if value.kind == _FRAGMENT:
                    return json.loads(value.content)
                target = check(placeholder, kinds | {placeholder.name: value.kind}, text_only=True)
                return write(value, target.format).decode()
            except CasRefusal as refusal:
                raise FragmentError(": ".join(refusal.causes)) from refusal
            except PlaceholderError as error:
                raise FragmentError(error.message) from error

        return resolve

    def refresh(self, transaction: Transaction, session: Session) -> None:
        """Issue certificates anew whose time has come: those of `session`, and of the sessions it imports from.

        One that cannot be issued stays as it is, which the log says. Needs a writing transaction.
        """
        sources = {
            secret.import_.session for secret in session.secrets if secret.import_ and not secret.import_.cas_url
        }
        for name in sorted(sources - {session.name}):
            if (version := transaction.session(name)) is not None:
                self._refresh(transaction, version.session())
        self._refresh(transaction, session)

    def _refresh(self, transaction: Transaction, session: Session) -> None:
        stored, now = transaction.stored(session.name), self._clock()
        if not any(is_due(row, now) for row in stored.values()):
            return
        try:
            issued = renewed(session, stored, self.imported(transaction, session), now)
        except CasRefusal as refusal:
            _log.error("certificates of session %s cannot be renewed: %s", session.name, refusal)
            return
        for name, row in issued.items():
            transaction.put_stored(session.name, name, row)
        transaction.record("certificates_renewed", session=session.name, secrets=sorted(issued))

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
        stored = transaction.stored(session.name)
        return value_in(session, stored, name, imported, self._clock(), software_identity=software_identity)

    def _imported(self, transaction: Transaction, session: Session, secret: Secret, steps: int) -> Value:
        wanted = secret.import_
        if wanted is None:
            raise CasRefusal(501, f"The secret {secret.name} is imported from a key vault: not available here")
        if steps >= MAX_STEPS:
            raise CasRefusal(403, f"Importing secret {secret.name} failed", "The imports go in a circle")
        head = f"Importing secret {secret.name} into session {session.name} failed"
        importer = (session.name, session_hash(session))
        if wanted.cas_url is not None:
            value = _fetched_value(wanted, importer)
        else:
            target = _local(*importer)
            try:
                value = self._exported(
                    transaction, wanted.session, wanted.session_hash, wanted.secret, target, steps + 1
                )
            except CasRefusal as refusal:
                raise CasRefusal(refusal.status, head, *refusal.causes) from refusal
        if secret.kind not in (None, value.kind):
            raise CasRefusal(403, head, f"It is of kind {value.kind}, but the session expects {secret.kind}")
        return value

    def _exported(
        self, transaction: Transaction, session_name: str, pin: str | None, name: str, target: Target, steps: int
    ) -> Value:
        version = transaction.session(session_name)
        exporter = version.session() if version and pin in (None, version.hash) else None
        secret = exporter.secret(name) if exporter else None
        if exporter is None or secret is None or not _granted(secret, target):
            pinned = " with the expected hash" if pin else ""
            raise CasRefusal(
                403,
                f"Session {session_name}{pinned} does not exist, or does not export a secret {name} to this session",
            )
        value = self._value(transaction, exporter, name, steps)
        key = exporter.secret(secret.private_key) if secret.private_key and secret.import_ is None else None
        if key is None or not _granted(key, target):
            value = replace(value, private_key=None)
        return value


def _fetched_value(wanted: Import, importer: Importer) -> Value:
    found = _fetched.get({}).get((wanted, importer))
    if found is None:
        raise _RemoteNeeded(wanted, importer)
    if isinstance(found, CasRefusal):
        raise CasRefusal(found.status, *found.causes)
    return found


Target = Callable[[Export], bool]
"""Says whether an export is meant for the one who asks."""


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
