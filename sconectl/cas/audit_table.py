"""The audit log as it lies in the database of the store, and whether that database is the newest one.

In: a connection within a transaction. Out: entries in order, and what to tell about the freshness of the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sconectl.cas.anchor import Anchor
from sconectl.cas.audit import EMPTY, AuditError, Entry, Head, check_signature, parse
from sconectl.errors import CasError, Refused

SCHEMA = "CREATE TABLE audit (sequence INTEGER PRIMARY KEY, entry TEXT NOT NULL) STRICT"


def newest(connection: sqlite3.Connection) -> Head:
    """Return the newest entry of the log, `EMPTY` if there is none."""
    row = connection.execute("SELECT entry FROM audit ORDER BY sequence DESC LIMIT 1").fetchone()
    return EMPTY if row is None else _parsed(row[0]).head


def add(connection: sqlite3.Connection, entry: Entry) -> None:
    """Append an entry."""
    connection.execute("INSERT INTO audit VALUES (?, ?)", (entry.sequence, entry.line))


def lines(connection: sqlite3.Connection, after: int = 0) -> Iterator[str]:
    """Yield the lines of the log behind entry `after`, oldest first."""
    query = "SELECT entry FROM audit WHERE sequence > ? ORDER BY sequence"
    for (line,) in connection.execute(query, (after,)):
        yield line


def signature_of(connection: sqlite3.Connection, sequence: int) -> str | None:
    """Return the signature of the entry with this number, or None."""
    row = connection.execute("SELECT entry FROM audit WHERE sequence = ?", (sequence,)).fetchone()
    return None if row is None else _parsed(row[0]).signature


def check_fresh(connection: sqlite3.Connection, remembered: Head | None, anchor: Anchor, key: Ed25519PublicKey) -> str:
    """Check the store against `remembered`, which was read from `anchor` before; return what to tell the user, or "".

    The store may be ahead by what was committed and never acknowledged. Raises `Refused` if it is behind or another.
    """
    head = remembered or EMPTY
    if remembered is not None and signature_of(connection, head.sequence) != head.signature:
        raise Refused(
            "the store is not the newest: an older copy of the CAS's directory was put back"
            f" (its audit log lacks entry {head.sequence}, which {anchor.path} remembers)",
            hint="put the newest directory back; to go on with an older state deliberately, make it with"
            " `sconectl cas backup` and `sconectl cas restore FILE --replace`",
        )
    if remembered is None:
        if newest(connection) == EMPTY:
            return ""
        return (
            f"there was no freshness anchor at {anchor.path}: it is made now,"
            " and whether the store is an older copy cannot be told this time"
        )
    for line in lines(connection, after=head.sequence):
        entry = _parsed(line)
        try:
            check_signature(entry, key)
        except AuditError as error:
            raise _damaged() from error
        if (entry.sequence, entry.previous) != (head.sequence + 1, head.signature):
            raise _damaged()
        head = entry.head
    return ""


def _parsed(line: str) -> Entry:
    try:
        return parse(line)
    except AuditError as error:
        raise _damaged() from error


def _damaged() -> CasError:
    return CasError("the audit log of the store was changed", hint="restore the directory from a backup")
