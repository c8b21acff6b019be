"""The whole audit log: sealed segments in files that never change, and behind them what lies in the database.

In: the directory of a CAS, and a connection to its database within a transaction. Out: lines, oldest first. A segment
is `audit/FIRST-LAST.jsonl.gz` (mode 0600), named by the numbers of its entries. It is written before its entries leave
the database, in the transaction that records its name and digest (`log_segment_closed`); so a file whose entries are
still in the database too is a leftover of a crash, and nobody reads it.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sconectl.cas.audit import database_table
from sconectl.cas.audit.entries import AuditError, parse

FOLDER = "audit"
CLOSED = "log_segment_closed"
NAME = re.compile(r"(\d{12})-(\d{12})\.jsonl\.gz")
_LONGEST_LINE = 1 << 20
_LEVEL = 6


@dataclass(frozen=True)
class Segment:
    """A file with the entries from `first` to `last`."""

    path: Path
    first: int
    last: int


def sealed(connection: sqlite3.Connection, *directories: Path) -> list[Segment]:
    """Return the segments of the log, oldest first; those that are in none of the `directories` are left out.

    A directory is that of a CAS, or any other one that holds segments.
    """
    first = database_table.oldest(connection)
    found: dict[str, Segment] = {}
    for directory in directories:
        for path in (*directory.glob("*.jsonl.gz"), *(directory / FOLDER).glob("*.jsonl.gz")):
            name = NAME.fullmatch(path.name)
            if name is not None and (first is None or int(name[2]) < first):
                found.setdefault(path.name, Segment(path, int(name[1]), int(name[2])))
    return sorted(found.values(), key=lambda segment: segment.first)


def lines(connection: sqlite3.Connection, *directories: Path, after: int = 0) -> Iterator[str]:
    """Yield the lines of the log behind entry `after`; raises `AuditError` at a segment that cannot be read."""
    for segment in sealed(connection, *directories):
        if segment.last > after:
            for line in content(segment):
                if segment.first > after or parse(line).sequence > after:
                    yield line
    yield from database_table.lines(connection, after)


def content(segment: Segment) -> Iterator[str]:
    """Yield the lines of a segment; raises `AuditError` if it cannot be read or holds other entries than it says."""
    number = segment.first
    last = ""
    for line in read(segment.path):
        if number == segment.first and parse(line).sequence != number:
            break
        number, last = number + 1, line
        yield line
    if number != segment.last + 1 or parse(last).sequence != segment.last:
        raise AuditError(f"the segment {segment.path.name} does not hold the entries that its name says")


def read(path: Path) -> Iterator[str]:
    """Yield the lines of a compressed log; raises `AuditError` if it cannot be read."""
    try:
        with gzip.open(path, "rb") as stream:
            while line := stream.readline(_LONGEST_LINE):
                yield line.decode().rstrip("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise AuditError(f"the segment {path.name} is damaged") from error


def signature_of(connection: sqlite3.Connection, directory: Path, sequence: int) -> str | None:
    """Return the signature of the entry with this number, or None if it is not there."""
    found = database_table.signature_of(connection, sequence)
    if found is not None:
        return found
    with suppress(AuditError):
        for segment in sealed(connection, directory):
            if segment.first <= sequence <= segment.last:
                for line in content(segment):
                    if (entry := parse(line)).sequence == sequence:
                        return entry.signature
    return None


def digest(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
