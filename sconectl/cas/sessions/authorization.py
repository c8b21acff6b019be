"""Requires that a client may do something with a session, and records what it did in the audit log.

In: a transaction, a session in it, and the client. Out: nothing, or `CasRefusal`; entries of the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.sessions.access import Client, grants
from sconectl.policy.reading import Session

if TYPE_CHECKING:
    from sconectl.cas.sessions.sharing import Sharing
    from sconectl.cas.store.store import Transaction


_UNUSABLE = "The policy also refers to secrets that cannot be used here; the log of the CAS says which"


def require(
    transaction: Transaction, sharing: Sharing, session: Session, operation: str, client: Client, head: str
) -> None:
    """Raise `CasRefusal` (401, 403) with the outermost cause `head` unless `session` grants `operation` to `client`."""
    grant = grants(session, operation, client, sharing.resolver(transaction, session))
    if grant.allowed:
        return
    status = 401 if client == Client() else 403
    reason = f"The access policy of {session.name} does not grant {operation} to {client}"
    unusable = (_UNUSABLE,) if grant.ignored else ()
    raise CasRefusal(status, head, reason, *unusable, details=grant.ignored)


def may_know_hash(transaction: Transaction, sharing: Sharing, session: Session, client: Client) -> bool:
    """Say whether `client` may learn the hash of a session, or have a guess of it confirmed."""
    if transaction.is_salted(session.name):
        return True
    return grants(session, "read", client, sharing.resolver(transaction, session)).allowed


def record(transaction: Transaction, event: str, name: str, hash_: str, client: Client) -> None:
    """Add an entry about the session `name`; its hash is in it if that is public."""
    signers = {"signers": sorted(client.signers)} if client.signers else {}
    transaction.record(event, **fields_of(transaction, name, hash_, client), **signers)


def fields_of(transaction: Transaction, name: str, hash_: str, client: Client) -> dict[str, str]:
    """Return the fields of an entry about a session and the TLS client that made the request."""
    fields = {"session": name}
    if client.principal is not None:
        fields["client"] = client.principal.key_hash
    if transaction.is_salted(name):
        fields["hash"] = hash_
    return fields
