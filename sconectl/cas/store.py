"""The durable memory of the embedded CAS: sessions with their whole history, and generated secrets, in SQLite.

In: texts and values. Out: the same, after a crash too. Everything confidential is sealed with AES-256-GCM before it
reaches the database. A transaction is taken whole or not at all; writers exclude each other.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sconectl.cas.private_files import private_directory
from sconectl.errors import CasError, InvalidInput
from sconectl.policy.model import Session, parse_session

FILE = "cas.db"
SCHEMA_VERSION = 1
_NONCE = 12
_BUSY_SECONDS = 30
_SCHEMA = (
    "CREATE TABLE sessions (name TEXT NOT NULL, hash TEXT NOT NULL, number INTEGER NOT NULL, sealed BLOB NOT NULL,"
    " PRIMARY KEY (name, number), UNIQUE (name, hash)) STRICT",
    "CREATE TABLE secrets (session TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, size INTEGER NOT NULL,"
    " sealed BLOB NOT NULL, PRIMARY KEY (session, name)) STRICT",
)


@dataclass(frozen=True)
class Version:
    """One stored version of a session."""

    text: str = field(repr=False)
    hash: str

    def session(self) -> Session:
        """Return the session in `text`; raises `CasError` if this version of sconectl does not take it any more."""
        try:
            return parse_session(self.text)
        except InvalidInput as error:
            raise CasError(
                f"a stored session (hash {self.hash}) cannot be enforced by this version of sconectl",
                hint="use the version that stored it, or a newer one",
            ) from error


@dataclass(frozen=True)
class Generated:
    """A generated secret with the parameters it was generated for."""

    kind: str
    size: int
    value: bytes = field(repr=False)


class Store:
    """The database in one directory; safe to use from several threads and processes at once."""

    def __init__(self, directory: Path, sealing_key: bytes) -> None:
        self._path = private_directory(directory) / FILE
        self._cipher = AESGCM(sealing_key)
        # SQLite gives its -wal and -shm files the permissions of the database.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._path.chmod(0o600)
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            self._prepare(connection)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA_VERSION):
                raise CasError(
                    f"{self._path} was written by another version of sconectl (schema {version})",
                    hint="use that version, or another directory",
                )
            if version == 0:
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            with contextlib.closing(connection):
                connection.execute("PRAGMA synchronous = FULL")
                yield connection
        except sqlite3.Error as error:
            raise CasError(f"the database {self._path} cannot be used: {error}") from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Give a view of one moment of the store."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            yield Transaction(connection, self._cipher)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Transaction]:
        """Give an exclusive transaction; it commits at the end, and rolls back if an exception leaves it."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield Transaction(connection, self._cipher)
            # An exception closes the connection before this line, and with it rolls back.
            connection.execute("COMMIT")


class Transaction:
    """What can be read and written within one transaction."""

    def __init__(self, connection: sqlite3.Connection, cipher: AESGCM) -> None:
        self._connection = connection
        self._cipher = cipher

    def session(self, name: str, hash_: str | None = None) -> Version | None:
        """Return the active version of a session, or the one with the given hash."""
        if hash_ is None:
            query = "SELECT hash, sealed FROM sessions WHERE name = ? ORDER BY number DESC LIMIT 1"
            row = self._connection.execute(query, (name,)).fetchone()
        else:
            query = "SELECT hash, sealed FROM sessions WHERE name = ? AND hash = ?"
            row = self._connection.execute(query, (name, hash_)).fetchone()
        if row is None:
            return None
        text = self._open(row[1], "session", name, row[0]).decode()
        return Version(text, row[0])

    def append(self, name: str, version: Version) -> None:
        """Make `version` the active one of its session."""
        query = "SELECT coalesce(max(number), 0) + 1 FROM sessions WHERE name = ?"
        (number,) = self._connection.execute(query, (name,)).fetchone()
        sealed = self._seal(version.text.encode(), "session", name, version.hash)
        self._connection.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", (name, version.hash, number, sealed))

    def generated(self, session: str) -> dict[str, Generated]:
        """Return the generated secrets of the active version of a session."""
        query = "SELECT name, kind, size, sealed FROM secrets WHERE session = ?"
        return {
            name: Generated(kind, size, self._open(sealed, "secret", session, name, kind, size))
            for name, kind, size, sealed in self._connection.execute(query, (session,))
        }

    def replace_generated(self, session: str, values: dict[str, Generated]) -> None:
        """Make `values` the generated secrets of a session."""
        self._connection.execute("DELETE FROM secrets WHERE session = ?", (session,))
        self._connection.executemany(
            "INSERT INTO secrets VALUES (?, ?, ?, ?, ?)",
            [
                (
                    session,
                    name,
                    item.kind,
                    item.size,
                    self._seal(item.value, "secret", session, name, item.kind, item.size),
                )
                for name, item in values.items()
            ],
        )

    def _seal(self, value: bytes, *bound_to: str | int) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, value, json.dumps(bound_to).encode())

    def _open(self, sealed: bytes, *bound_to: str | int) -> bytes:
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], json.dumps(bound_to).encode())
        except InvalidTag as error:
            raise CasError(
                "a stored value was changed or belongs to another CAS", hint="restore the directory from a backup"
            ) from error
