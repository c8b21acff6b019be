"""The newest part of the audit log, as it lies in the database of the store; older ones are in `audit_segments`.

In: a connection within a transaction. Out: entries in order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from sconectl.cas.audit.entries import EMPTY, AuditError, Entry, Head, parse
from sconectl.errors import CasError

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


def oldest(connection: sqlite3.Connection) -> int | None:
    """Return the number of the oldest entry that is in the database, None without any."""
    (number,) = connection.execute("SELECT min(sequence) FROM audit").fetchone()
    return None if number is None else int(number)


def signature_of(connection: sqlite3.Connection, sequence: int) -> str | None:
    """Return the signature of the entry with this number, or None."""
    row = connection.execute("SELECT entry FROM audit WHERE sequence = ?", (sequence,)).fetchone()
    return None if row is None else _parsed(row[0]).signature


def _parsed(line: str) -> Entry:
    try:
        return parse(line)
    except AuditError as error:
        raise damaged() from error


def damaged() -> CasError:
    """Return the error for a log that was changed."""
    return CasError("the audit log of the store was changed", hint="restore the directory from a backup")
