"""The durable memory of the embedded CAS: sessions with their history, values, tags, and the audit log, in SQLite.

In: texts and values. Out: the same, after a crash too. What is confidential is sealed before it reaches the database.
A transaction is taken whole or not at all; its audit entries are part of it, and the freshness anchor follows it
before anybody is told that it happened. Writers exclude each other.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sconectl import __version__
from sconectl.cas.audit import database_table
from sconectl.cas.audit.anchor import Anchor
from sconectl.cas.audit.entries import STARTED, AuditKey, Head, entry
from sconectl.cas.bounds.lanes import is_urgent
from sconectl.cas.bounds.write_turns import Turns
from sconectl.cas.disk.private_files import private_directory
from sconectl.cas.disk.sealing import SealBroken, Sealer
from sconectl.cas.secrets.session_secrets import Reading, Stored
from sconectl.cas.store import faults, freshness, schema
from sconectl.cas.store.session_cache import SessionCache
from sconectl.cas.store.versions import Version
from sconectl.errors import CasError, LocalFault, Refused

FILE = "cas.db"
_BUSY_SECONDS = 30
_LONG_WAL = 8 << 20
_SPARE_CONNECTIONS = 32
_ROW = "SELECT name, kind, public, expires, renew, sealed FROM secrets WHERE session = ?"

Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class Store:
    """The database in one directory; safe to use from several threads and processes at once.

    `notices` are sentences that the user should see. Raises `Refused` if the directory is an older copy, `CasError` if
    it is unusable. Each transaction may raise `CasError`, and a writing one `CasRefusal` 507 if the disk is full.
    """

    def __init__(
        self,
        directory: Path,
        sealing: bytes,
        *,
        audit_key: AuditKey,
        anchor: Anchor,
        clock: Clock = _now,
        starting: bool = True,
        cache: SessionCache | None = None,
    ) -> None:
        """Open or make the store; unless `starting` is false, that is an event of the audit log."""
        self._path = private_directory(directory) / FILE
        if anchor.path.resolve().is_relative_to(directory.resolve()):
            raise Refused(
                f"the freshness anchor {anchor.path} lies in the directory that it is to watch over",
                hint="choose a path outside of it",
            )
        self._sealer = Sealer(sealing)
        self._audit_key = audit_key
        self._anchor = anchor
        self._clock = clock
        self._spare: list[sqlite3.Connection] = []
        self._cache = cache or SessionCache()
        self._writers = Turns()
        self._closed = False
        self.notices: tuple[str, ...] = ()
        anchor.claim(directory)
        try:
            self._open(anchor, starting)
        except BaseException:
            self.close()
            raise

    def _open(self, anchor: Anchor, starting: bool) -> None:
        try:
            # SQLite gives its -wal and -shm files the permissions of the database.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._path.chmod(0o600)
        except OSError as error:
            raise LocalFault(
                f"the database {self._path} cannot be used: {error.strerror}", hint="check its owner, and free space"
            ) from error
        self._identity = self._found()
        remembered = anchor.read()
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            schema.prepare(connection, self._sealer, self._clock())
            connection.execute("COMMIT")
            connection.execute("BEGIN")
            key = self._audit_key.private.public_key()
            moves = Transaction(connection, self._sealer, self._audit_key, self._clock).meta(freshness.MOVES)
            notice = freshness.check_fresh(connection, self._path.parent, remembered, anchor, key, moves)
        self.notices = (notice,) if notice else ()
        if starting:
            with self.writing() as transaction:
                transaction.record(STARTED, simulation=True, version=__version__, **self._audit_key.binding)

    def close(self) -> None:
        """Let go of the database and the anchor."""
        self._closed = True
        self._anchor.release()
        while self._spare:
            self._spare.pop().close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Give a view of one moment of the store."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            yield Transaction(connection, self._sealer, self._audit_key, self._clock, self._cache)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Transaction]:
        """Give an exclusive transaction; it commits at the end, and rolls back if an exception leaves it.

        When this returns, the changes are durable, and so are their audit entries in the anchor.
        """
        # The lock makes threads wait in line; SQLite's own lock makes processes poll.
        with self._writers.turn(urgent=is_urgent()), self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            transaction = Transaction(connection, self._sealer, self._audit_key, self._clock, self._cache)
            yield transaction
            connection.execute("COMMIT")
        if transaction.recorded is not None:
            self._anchor.advance(transaction.recorded)

    def shrink(self) -> None:
        """Move written pages into the database file, so that the log of SQLite beside it does not grow for long."""
        with contextlib.suppress(OSError):
            if self._path.with_name(f"{FILE}-wal").stat().st_size < _LONG_WAL:
                return
        with self._writers.turn(urgent=False), self._connection() as connection:
            connection.execute("PRAGMA busy_timeout = 200")
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # it says if readers were in the way
            finally:
                connection.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that is used by nobody else; an open transaction is rolled back at the end."""
        if self._found() != self._identity or self._closed:
            raise CasError(f"{self._path} was closed or replaced by another store", hint="start again")
        try:
            connection = self._spare.pop() if self._spare else self._connect()
        except IndexError:  # another thread was faster
            connection = self._connect()
        usable = True
        try:
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            usable = False
            raise faults.explained(error, self._path) from error
        except SealBroken as error:
            raise _changed() from error
        finally:
            if usable and not self._closed and len(self._spare) < _SPARE_CONNECTIONS:
                self._spare.append(connection)
            else:
                connection.close()

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            raise faults.explained(error, self._path) from error
        return connection

    def _found(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0)
        return (found.st_dev, found.st_ino)


def _changed() -> CasError:
    return CasError("a stored value was changed or belongs to another CAS", hint="restore the directory from a backup")


class Transaction:
    """Everything that can be read and written within one transaction; usable only while it is open."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        sealer: Sealer,
        audit_key: AuditKey,
        clock: Clock,
        cache: SessionCache | None = None,
    ) -> None:
        self._connection = connection
        self._cache = cache
        self._sealer = sealer
        self._audit_key = audit_key
        self._clock = clock
        self._secrets: dict[str, dict[str, Stored]] = {}  # rows that were read: a session asks for each of its secrets
        self.readings: dict[object, Reading] = {}
        """The readers of the values of sessions in this transaction; they are dropped when a value changes."""
        self.recorded: Head | None = None
        """What the freshness anchor has to remember of this transaction: its last entry of the audit log, or move."""

    def session(self, name: str, hash_: str | None = None) -> Version | None:
        """Return the active version of a session, or the one with the given hash."""
        query = "SELECT number, hash, text, document FROM sessions WHERE name = ?"
        if hash_ is None:
            row = self._one(f"{query} ORDER BY number DESC LIMIT 1", name)
        else:
            row = self._one(f"{query} AND hash = ?", name, hash_)
        if row is None:
            return None
        number, found, text, document = row
        place = (name, number, found)
        plain = None if document is None else self._sealer.open(document, "document", *place).decode()
        written = None if text is None else self._sealer.open(text, "text", *place).decode()
        return Version(written, plain, found, number, self._cache)

    def active_hash(self, name: str) -> str | None:
        """Return the hash of the active version of a session, or None without a session."""
        row = self._one("SELECT hash FROM sessions WHERE name = ? ORDER BY number DESC LIMIT 1", name)
        return None if row is None else str(row[0])

    def names(self) -> list[str]:
        """Return the names of all sessions."""
        return [str(name) for (name,) in self._all("SELECT DISTINCT name FROM sessions ORDER BY name")]

    def versions(self, name: str) -> list[tuple[int, str]]:
        """Return number and hash of all versions of a session, oldest first."""
        return self._all("SELECT number, hash FROM sessions WHERE name = ? ORDER BY number", name)

    def append(self, name: str, version: Version) -> None:
        """Make `version` the active one of its session; its number is the next one."""
        row = self._one("SELECT coalesce(max(number), 0) + 1 FROM sessions WHERE name = ?", name)
        schema.insert_session(
            self._connection, self._sealer, name, row[0], version.hash, version.written, version.document
        )

    def children(self, namespace: str) -> list[tuple[str, str]]:
        """Return name and active hash of the sessions right in `namespace`; the root session is not in it."""
        query = "SELECT name, hash FROM (SELECT name, hash, max(number) FROM sessions WHERE parent = ? GROUP BY name)"
        return self._all(f"{query} ORDER BY 1", namespace)

    def count(self) -> int:
        """Return the number of sessions."""
        row = self._one("SELECT count(DISTINCT name) FROM sessions")
        return int(row[0])

    def stored(self, session: str) -> dict[str, Stored]:
        """Return the rows of the secrets of the active version of a session."""
        if session not in self._secrets:
            rows = self._all(_ROW, session)
            self._secrets[session] = {row[0]: schema.read_secret(self._sealer, session, row) for row in rows}
        return dict(self._secrets[session])

    def stored_secret(self, session: str, name: str, most: int = sys.maxsize) -> Stored | None:
        """Return the row of one secret, or None; also if it takes more than `most` bytes."""
        row = self._one(f"{_ROW} AND name = ? AND length(sealed) <= ?", session, name, most)
        return None if row is None else schema.read_secret(self._sealer, session, row)

    def replace_stored(self, session: str, rows: Mapping[str, Stored]) -> None:
        """Make `rows` the secrets of a session."""
        self._forget(session)
        self._connection.execute("DELETE FROM secrets WHERE session = ?", (session,))
        for name, item in rows.items():
            self.put_stored(session, name, item)

    def put_stored(self, session: str, name: str, item: Stored) -> None:
        """Insert or replace the row of one secret."""
        self._forget(session)
        schema.write_secret(self._connection, self._sealer, session, name, item)

    def _forget(self, session: str) -> None:
        self._secrets.pop(session, None)
        self.readings.clear()

    def due(self, now: int) -> list[str]:
        """Return the sessions with a certificate whose time to be renewed has come; `now` in unix seconds."""
        query = "SELECT DISTINCT session FROM secrets WHERE renew IS NOT NULL AND renew <= ? ORDER BY session"
        return [str(session) for (session,) in self._connection.execute(query, (now,))]

    def certificates(self) -> Iterator[tuple[str, Stored]]:
        """Yield the rows of all certificates, each with its session."""
        query = (
            "SELECT session, name, kind, public, expires, renew, sealed FROM secrets WHERE kind IN ('x509', 'x509-ca')"
        )
        for session, *rest in self._connection.execute(query):
            yield str(session), schema.read_secret(self._sealer, session, tuple(rest))

    def tag(self, session: str, subject: str) -> str | None:
        """Return the tag of a volume or file system, or None if none was set."""
        row = self._one("SELECT sealed FROM tags WHERE session = ? AND subject = ?", session, subject)
        return None if row is None else self._sealer.open(row[0], "tag", session, subject).decode()

    def set_tag(self, session: str, subject: str, tag: str) -> None:
        """Set the tag of a volume or file system."""
        sealed = self._sealer.seal(tag.encode(), "tag", session, subject)
        self._connection.execute("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", (session, subject, sealed))

    def count_move(self) -> None:
        """Count that a tag was moved on, for the freshness anchor, instead of an entry of the audit log."""
        head = self.recorded or database_table.newest(self._connection)
        moves = freshness.moves_since(head, self.meta(freshness.MOVES)) + 1
        self.set_meta(freshness.MOVES, f"{head.sequence} {moves}")
        self.recorded = replace(head, moves=moves)

    def meta(self, key: str) -> str | None:
        """Return a fact about the store, or None."""
        row = self._one("SELECT sealed FROM meta WHERE key = ?", key)
        return None if row is None else self._sealer.open(row[0], "meta", key).decode()

    def set_meta(self, key: str, value: str) -> None:
        """Set a fact about the store."""
        sealed = self._sealer.seal(value.encode(), "meta", key)
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, sealed))

    def mark_salted(self, session: str) -> None:
        """Remember that a version of a session had a salt, which makes its hash public (LANG §4)."""
        self.set_meta(f"salted:{session}", "yes")

    def is_salted(self, session: str) -> bool:
        """Say whether any version of a session had a salt."""
        return self.meta(f"salted:{session}") is not None

    def open_everything(self) -> None:
        """Open every sealed value; raises `SealBroken` if one was changed or belongs to another CAS."""
        for name in self.names():
            for _, hash_ in self.versions(name):
                self.session(name, hash_)
        for session, *rest in self._all("SELECT session, name, kind, public, expires, renew, sealed FROM secrets"):
            schema.read_secret(self._sealer, session, tuple(rest))
        for session, subject in self._all("SELECT session, subject FROM tags"):
            self.tag(session, subject)
        for (key,) in self._all("SELECT key FROM meta"):
            self.meta(key)

    def record(self, event: str, **fields: Any) -> None:
        """Add an entry to the audit log; `fields` are JSON values without fractions, and never secret values."""
        head = self.recorded or database_table.newest(self._connection)
        time = self._clock().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        added = entry(head, time, event, fields, self._audit_key.private)
        database_table.add(self._connection, added)
        self.recorded = added.head

    def audit_bytes(self) -> int:
        """Return the size of the part of the audit log that is in the database."""
        return int(self._one("SELECT coalesce(sum(length(entry)), 0) FROM audit")[0])

    def audit_lines(self) -> Iterator[str]:
        """Yield the lines of that part, oldest first."""
        return database_table.lines(self._connection)

    def forget_audit(self, last: int) -> None:
        """Take the entries up to `last` out of the database; they are in a segment now."""
        self._connection.execute("DELETE FROM audit WHERE sequence <= ?", (last,))

    def _one(self, query: str, *values: object) -> Any:
        return self._connection.execute(query, values).fetchone()

    def _all(self, query: str, *values: object) -> list[Any]:
        return self._connection.execute(query, values).fetchall()
