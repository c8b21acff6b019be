"""The tables of the store, and how older ones become the present ones, in place and in one transaction.

In: a connection, the sealing key, and the time. Out: a database of the present version; `CasError` for any other.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import NoReturn

from sconectl.cas.audit import database_table
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.disk.sealing import Sealer
from sconectl.cas.secrets.secret_value import written
from sconectl.cas.secrets.session_secrets import Stored, secrets_for
from sconectl.errors import CasError, InvalidInput
from sconectl.policy.forms import names
from sconectl.policy.reading import Secret, parse_session

VERSION = 2
_PARAMETERS_END = b"\0"  # no JSON text contains it

# Names, hashes and times lie open so that they can be searched; all else is sealed for the place where it lies.
_TABLES = (
    "CREATE TABLE sessions (name TEXT NOT NULL, number INTEGER NOT NULL, hash TEXT NOT NULL, parent TEXT NOT NULL,"
    " text BLOB, document BLOB, PRIMARY KEY (name, number), UNIQUE (name, hash),"
    " CHECK (text IS NOT NULL OR document IS NOT NULL)) STRICT",
    "CREATE INDEX sessions_by_parent ON sessions (parent, name, number, hash)",
    "CREATE TABLE secrets (session TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, public INTEGER NOT NULL,"
    " expires INTEGER, renew INTEGER, sealed BLOB NOT NULL, PRIMARY KEY (session, name)) STRICT",
    "CREATE INDEX secrets_by_renewal ON secrets (renew, session) WHERE renew IS NOT NULL",
    "CREATE TABLE tags (session TEXT NOT NULL, subject TEXT NOT NULL, sealed BLOB NOT NULL,"
    " PRIMARY KEY (session, subject)) STRICT",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, sealed BLOB NOT NULL) STRICT",
    "CREATE TABLE used (kind TEXT NOT NULL, key TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (kind, key)) STRICT",
    "CREATE INDEX used_by_age ON used (kind, at)",
    database_table.SCHEMA,
)


def prepare(connection: sqlite3.Connection, sealer: Sealer, now: datetime) -> None:
    """Make or migrate the tables; to be called within a write transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return
    if version not in (0, 1):
        raise CasError(
            f"the store was written by another version of sconectl (schema {version})",
            hint="use that version, or another directory",
        )
    if version == 1:
        connection.execute("ALTER TABLE sessions RENAME TO sessions_1")
        connection.execute("ALTER TABLE secrets RENAME TO secrets_1")
    create(connection)
    if version == 1:
        _migrate(connection, sealer, now)


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of the present version in a database that has none of them."""
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def parent_of(name: str) -> str:
    """Return the namespace in which `children` lists a session; the root session itself lies in none."""
    return "" if name == names.ROOT else names.parent(name) or names.ROOT


def insert_session(
    connection: sqlite3.Connection,
    sealer: Sealer,
    name: str,
    number: int,
    hash_: str,
    text: str | None,
    document: str | None,
) -> None:
    """Insert one version of a session."""
    place = (name, number, hash_)
    sealed = None if text is None else sealer.seal(text.encode(), "text", *place)
    parsed = None if document is None else sealer.seal(document.encode(), "document", *place)
    connection.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)", (*place, parent_of(name), sealed, parsed))


def write_secret(connection: sqlite3.Connection, sealer: Sealer, session: str, name: str, item: Stored) -> None:
    """Insert or replace the row of a secret."""
    place = (item.kind, int(item.public), item.expires, item.renew)
    content = item.parameters.encode() + _PARAMETERS_END + item.content
    sealed = sealer.seal(content, "secret", session, name, *place)
    connection.execute("INSERT OR REPLACE INTO secrets VALUES (?, ?, ?, ?, ?, ?, ?)", (session, name, *place, sealed))


def read_secret(sealer: Sealer, session: str, row: tuple[str, str, int, int | None, int | None, bytes]) -> Stored:
    """Return the secret in a row of `secrets` without its session; raises `SealBroken`."""
    name, kind, public, expires, renew, sealed = row
    plain = sealer.open(sealed, "secret", session, name, kind, public, expires, renew)
    parameters, _, content = plain.partition(_PARAMETERS_END)
    return Stored(kind, parameters.decode(), content, bool(public), expires, renew)


def _migrate(connection: sqlite3.Connection, sealer: Sealer, now: datetime) -> None:
    """Take over the first schema, which had no rows for explicit values and no parsed sessions."""
    active: dict[str, str] = {}
    query = "SELECT name, number, hash, sealed FROM sessions_1 ORDER BY name, number"
    for name, number, hash_, sealed in connection.execute(query).fetchall():
        text = sealer.open(sealed, "session", name, hash_).decode()
        insert_session(connection, sealer, name, number, hash_, text, None)
        active[name] = text
    rows: dict[str, dict[str, Stored]] = {name: {} for name in active}
    query = "SELECT session, name, kind, size, sealed FROM secrets_1"
    for session, name, kind, size, sealed in connection.execute(query):
        content = sealer.open(sealed, "secret", session, name, kind, size)
        rows.setdefault(session, {})[name] = Stored(kind, written({"size": size}), content, False, None, None)
    for session, generated in rows.items():
        for name, item in _completed(active.get(session), generated, now).items():
            write_secret(connection, sealer, session, name, item)
    connection.execute("DROP TABLE sessions_1")
    connection.execute("DROP TABLE secrets_1")


def _completed(text: str | None, generated: dict[str, Stored], now: datetime) -> dict[str, Stored]:
    try:
        if text is not None:
            return secrets_for(parse_session(text), generated, None, _not_imported, now)
    except (InvalidInput, CasRefusal):
        pass  # this version does not enforce the session; its values stay for one that does
    return generated


def _not_imported(secret: Secret) -> NoReturn:
    raise CasRefusal(500, f"the imported secret {secret.name} is not needed for this")
