"""A store of the first schema becomes one of the present schema in place, once, and keeps every value."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sconectl.cas.secrets.session_secrets import Stored
from sconectl.cas.store import schema
from sconectl.errors import CasError
from sconectl.policy.reading import parse_session
from sconectl.policy.serialized.canonical import read_back, session_hash

from .store_world import StoreWorld

# The statements and the sealing of the first version, as it had them.
V1 = (
    "CREATE TABLE sessions (name TEXT NOT NULL, hash TEXT NOT NULL, number INTEGER NOT NULL, sealed BLOB NOT NULL,"
    " PRIMARY KEY (name, number), UNIQUE (name, hash)) STRICT",
    "CREATE TABLE secrets (session TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, size INTEGER NOT NULL,"
    " sealed BLOB NOT NULL, PRIMARY KEY (session, name)) STRICT",
    "PRAGMA user_version = 1",
)
POLICY = """name: acme
version: "0.3.11"
secrets:
  - {name: password, kind: ascii, size: 12}
  - {name: key, kind: binary}
  - {name: given, kind: ascii, value: explicit-value, export_public: true}
  - {name: mine, import: {session: other, secret: x}}
"""


class OldStore:
    """What the first version has left in a directory."""

    def __init__(self, world: StoreWorld) -> None:
        self._cipher = AESGCM(world.keys.sealing)
        self._path = world.directory / "cas.db"
        self.session = parse_session(POLICY)
        self.hash = session_hash(self.session)

    def _sealed(self, value: bytes, *place: str | int) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, value, json.dumps(place).encode())

    def write(self, text: str | None = None) -> None:
        hash_ = self.hash
        with sqlite3.connect(self._path) as old:
            for statement in V1:
                old.execute(statement)
            for number, (name, found) in enumerate({"first": "f" * 64, "acme": hash_}.items(), 1):
                content = (text or read_back(self.session)).encode()
                sealed = self._sealed(content, "session", "acme", found)
                assert name
                old.execute("INSERT INTO sessions VALUES ('acme', ?, ?, ?)", (found, number, sealed))
            for name, kind, size, value in (
                ("password", "ascii", 12, b"abcdefghijkl"),
                ("key", "binary", 20, b"\0" * 20),
            ):
                sealed = self._sealed(value, "secret", "acme", name, kind, size)
                old.execute("INSERT INTO secrets VALUES ('acme', ?, ?, ?, ?)", (name, kind, size, sealed))
        old.close()


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


def test_everything_is_taken_over(world: StoreWorld) -> None:
    old = OldStore(world)
    old.write()
    expected = {
        "password": Stored("ascii", '{"size":12}', b"abcdefghijkl", False, None, None),
        "key": Stored("binary", '{"size":20}', b"\0" * 20, False, None, None),
        "given": Stored("ascii", "explicit", b"explicit-value", True, None, None),
    }
    for _ in range(2):
        with world.opened() as store, store.reading() as transaction:
            found = transaction.session("acme")
            assert found
            assert (found.hash, found.number, found.document) == (old.hash, 2, None)
            assert found.session() == old.session
            assert transaction.versions("acme") == [(1, "f" * 64), (2, old.hash)]
            assert transaction.children("/") == [("acme", old.hash)]
            assert transaction.stored("acme") == expected
    with sqlite3.connect(world.directory / "cas.db") as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"sessions_1", "secrets_1"}.isdisjoint(tables)
        assert database.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)


def test_a_session_that_is_not_understood_keeps_its_values(world: StoreWorld) -> None:
    old = OldStore(world)
    old.write(text="name: acme\nversion: '9.9'\n")
    with world.opened() as store, store.reading() as transaction:
        found = transaction.session("acme")
        assert found
        with pytest.raises(CasError, match="cannot be enforced"):
            found.session()
        assert set(transaction.stored("acme")) == {"password", "key"}


def test_a_migration_that_fails_changes_nothing(world: StoreWorld) -> None:
    OldStore(world).write()
    database = world.directory / "cas.db"
    with sqlite3.connect(database) as outside:
        outside.execute("UPDATE secrets SET sealed = zeroblob(60) WHERE name = 'key'")
    outside.close()
    with pytest.raises(CasError, match="was changed"), world.opened():
        pass
    with sqlite3.connect(database) as outside:
        assert outside.execute("PRAGMA user_version").fetchone() == (1,)
        assert outside.execute("SELECT count(*) FROM secrets").fetchone() == (2,)
        assert outside.execute("SELECT count(*) FROM sqlite_master WHERE name = 'audit'").fetchone() == (0,)
    outside.close()
