"""Whether a store is the newest one: it must have what the freshness anchor remembers.

In: the database within a transaction, the directory of the CAS, and what was read from the anchor before. Out: what to
tell the user; `Refused` for an older copy. Tags of volumes move too often for an entry of the log each, so between two
entries they are counted: the count is a fact of the store (`MOVES`), as "<number of the entry> <tags moved since>".
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sconectl.cas.audit import database_table
from sconectl.cas.audit.anchor import Anchor
from sconectl.cas.audit.entries import EMPTY, AuditError, Head, check_signature, parse
from sconectl.cas.store import audit_segments
from sconectl.errors import Refused

MOVES = "moves"
_HINT = (
    "put the newest directory back; to go on with an older state deliberately, make it with"
    " `sconectl cas backup` and `sconectl cas restore FILE --replace`"
)


def moves_since(head: Head, fact: str | None) -> int:
    """Return how many tags were moved on since the entry `head`; `fact` is what the store has as `MOVES`."""
    sequence, _, moves = (fact or "0 0").partition(" ")
    return int(moves) if int(sequence) == head.sequence else 0


def check_fresh(
    connection: sqlite3.Connection,
    directory: Path,
    remembered: Head | None,
    anchor: Anchor,
    key: Ed25519PublicKey,
    moves: str | None,
) -> str:
    """Check the store against `remembered`, which was read from `anchor` before; return what to tell the user, or "".

    The store may have newer entries, committed and never acknowledged. Raises `Refused` if it is older or another one.
    """
    head = remembered or EMPTY
    if remembered is not None and audit_segments.signature_of(connection, directory, head.sequence) != head.signature:
        raise Refused(
            "the store is not the newest: an older copy of the CAS's directory was put back"
            f" (its audit log lacks entry {head.sequence}, which {anchor.path} remembers)",
            hint=_HINT,
        )
    newest = database_table.newest(connection)
    if remembered is not None and newest == head and moves_since(newest, moves) < head.moves:
        raise Refused(
            "the store is not the newest: an older copy of the CAS's directory was put back"
            f" (tags were moved on {head.moves - moves_since(newest, moves)} times since, as {anchor.path} remembers)",
            hint=_HINT,
        )
    if remembered is None:
        if newest == EMPTY:
            return ""
        return (
            f"there was no freshness anchor at {anchor.path}: it is made now,"
            " and whether the store is an older copy cannot be told this time"
        )
    try:
        for line in audit_segments.lines(connection, directory, after=head.sequence):
            entry = parse(line)
            check_signature(entry, key)
            if (entry.sequence, entry.previous) != (head.sequence + 1, head.signature):
                raise database_table.damaged()
            head = entry.head
    except AuditError as error:
        raise database_table.damaged() from error
    return ""
