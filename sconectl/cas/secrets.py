"""Secrets: making them up, keeping them over an update, and finding the value behind a name.

In: sessions and the generated values that are stored. Out: values. Follows imports only where the other session
exports the secret to this one.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from sconectl.cas.refusal import CasRefusal
from sconectl.cas.store import Generated, Transaction
from sconectl.policy.model import Secret, Session
from sconectl.policy.names import is_within

# Printable ASCII without blanks: a password with a leading or trailing blank is a trap.
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))


@dataclass(frozen=True)
class Value:
    """The value of a secret with its kind."""

    kind: str
    content: bytes = field(repr=False)


def generate(kind: str, size: int) -> bytes:
    """Return a random value: printable characters for `ascii`, bytes for `binary`."""
    if kind == "binary":
        return secrets.token_bytes(size)
    return "".join(secrets.choice(_PRINTABLE) for _ in range(size)).encode()


def generated_for(session: Session, old: dict[str, Generated]) -> dict[str, Generated]:
    """Return the generated values of `session`; those in `old` stay where name, kind and size are unchanged."""
    values: dict[str, Generated] = {}
    for secret in session.secrets:
        if not secret.generated or secret.kind is None:
            continue
        kept = old.get(secret.name)
        if kept is None or (kept.kind, kept.size) != (secret.kind, secret.size):
            kept = Generated(secret.kind, secret.size, generate(secret.kind, secret.size))
        values[secret.name] = kept
    return values


def value_of(transaction: Transaction, session: Session, name: str) -> Value:
    """Return the value of a secret of `session`; raises `CasRefusal` if an import is not granted."""
    secret = session.secret(name)
    if secret is None:
        raise CasRefusal(403, f"The secret {name} is not defined in session {session.name}")
    if secret.import_ is None:
        return _own_value(transaction, session, secret)
    value = _imported(transaction, session, secret)
    if secret.kind not in (None, value.kind):
        raise CasRefusal(
            403, f"The imported secret {name} is of kind {value.kind}, but session {session.name} expects {secret.kind}"
        )
    return value


def _own_value(transaction: Transaction, session: Session, secret: Secret) -> Value:
    kind = secret.kind or "ascii"
    if secret.value is not None:
        return Value(kind, bytes.fromhex(secret.value) if kind == "binary" else secret.value.encode())
    stored = transaction.generated(session.name).get(secret.name)
    if stored is None:
        raise CasRefusal(500, f"The value of secret {secret.name} of session {session.name} is missing")
    return Value(stored.kind, stored.value)


def _imported(transaction: Transaction, session: Session, secret: Secret) -> Value:
    assert secret.import_ is not None  # noqa: S101  # the caller's branch
    source, name = secret.import_.session, secret.import_.secret
    version = transaction.session(source)
    exporter = version.session() if version else None
    exported = exporter.secret(name) if exporter else None
    # One text for all of these: an importer must not learn what a foreign session contains.
    if exporter is None or exported is None or exported.import_ is not None or not exports_to(exported, session.name):
        raise CasRefusal(
            403,
            f"Importing secret {secret.name} into session {session.name} failed",
            f"Session {source} does not exist, or does not export a secret {name} to session {session.name}",
        )
    return _own_value(transaction, exporter, exported)


def exports_to(secret: Secret, importer: str) -> bool:
    """Say whether `secret` is exported to the session `importer`, by name or by a namespace around it."""
    return any(
        export.session == importer or (export.namespace is not None and is_within(importer, export.namespace))
        for export in secret.export
    )
