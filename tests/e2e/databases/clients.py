"""Clients of three databases. Each row is written by a transaction that also counts it in another place."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import pymysql

from .ledger import text

PATIENCE = 60.0
Rows = Mapping[str, Sequence[int]]
"""By writer, the numbers of its rows in the order in which the database has them."""


class Refused(Exception):
    """The database answered with an error."""


class Client(Protocol):
    """One connection."""

    socket: socket.socket

    def prepare(self) -> None:
        """Make the tables if they are not there."""

    def write(self, writer: str, number: int) -> None:
        """Store a row; returns when it is acknowledged. Raises `OSError` or `Refused`."""

    def rows(self) -> Rows:
        """Return what is there. Fails if the counts are not those of the rows, or if the database is not intact."""


@dataclass(frozen=True)
class Place:
    """Tables, and how many clients write to them at the same time."""

    client: Callable[[socket.socket], Client]
    writers: int = 1


@dataclass(frozen=True)
class Database:
    """A database, and how it is run."""

    name: str
    native: str
    path: str
    port: int
    places: tuple[Place, ...]
    command: str = ""
    complaints: str = "never"
    """What no line of its log must match."""

    def connect(self, address: str, place: Place) -> Client:
        """Connect to a running one. Raises `OSError` or `Refused` while it is not ready."""
        connection = socket.create_connection((address, self.port), timeout=PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            return place.client(connection)
        except BaseException:
            connection.close()
            raise


class Told:
    """A connection to the program of the image `volumes`, which does what it is told."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._file = connection.makefile("rb")

    def do(self, code: str) -> Any:
        """Run code there; return what it has as `result`."""
        self.socket.sendall(json.dumps(code).encode() + b"\n")
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the program is gone")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]


class SqliteClient(Told):
    """SQLite in that program, with one file in a directory for each kind of journal."""

    def __init__(self, connection: socket.socket, folder: str, journal: str) -> None:
        super().__init__(connection)
        self.do(
            "import sqlite3\n"
            f"db = sqlite3.connect('{folder}/{journal}.db', isolation_level=None, timeout=60)\n"
            f"db.execute('PRAGMA journal_mode={journal}')\n"
            "db.execute('PRAGMA synchronous=EXTRA')\n"  # else the end of a rollback journal is not synced
        )

    def prepare(self) -> None:
        self.do(
            "db.execute('CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, writer, number, text)')\n"
            "db.execute('CREATE TABLE IF NOT EXISTS counts (writer PRIMARY KEY, count)')\n"
        )

    def write(self, writer: str, number: int) -> None:
        self.do(
            "db.execute('BEGIN IMMEDIATE')\n"
            "db.execute('INSERT INTO rows (writer, number, text) VALUES (?, ?, ?)', "
            f"{(writer, number, text(writer, number))!r})\n"
            "db.execute('INSERT INTO counts VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1', "
            f"{(writer,)!r})\n"
            "db.execute('COMMIT')\n"
        )

    def rows(self) -> Rows:
        verdict, rows, counts = self.do(
            "result = [db.execute('PRAGMA integrity_check').fetchall(),\n"
            "          db.execute('SELECT writer, number, text FROM rows ORDER BY id').fetchall(),\n"
            "          db.execute('SELECT writer, count FROM counts').fetchall()]"
        )
        assert verdict == [["ok"]], verdict
        return sorted_out(rows, dict(counts))


class MariaClient:
    """MariaDB with InnoDB."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._link = pymysql.connect(
            user="app", password="app", defer_connect=True, autocommit=False, read_timeout=PATIENCE,
            write_timeout=PATIENCE,
        )  # fmt: skip
        with _pymysql_errors():
            self._link.connect(sock=connection)

    def _query(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with _pymysql_errors(), self._link.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def prepare(self) -> None:
        self._query("CREATE DATABASE IF NOT EXISTS ledger")
        self._query(
            "CREATE TABLE IF NOT EXISTS ledger.entries "
            "(id BIGINT AUTO_INCREMENT PRIMARY KEY, writer VARCHAR(20), number INT, text TEXT, UNIQUE (writer, number))"
        )
        self._query("CREATE TABLE IF NOT EXISTS ledger.counts (writer VARCHAR(20) PRIMARY KEY, count INT)")

    def write(self, writer: str, number: int) -> None:
        self._query(
            "INSERT INTO ledger.entries (writer, number, text) VALUES (%s, %s, %s)",
            (writer, number, text(writer, number)),
        )
        self._query("INSERT INTO ledger.counts VALUES (%s, 1) ON DUPLICATE KEY UPDATE count = count + 1", (writer,))
        with _pymysql_errors():
            self._link.commit()

    def rows(self) -> Rows:
        for table in ("entries", "counts"):
            [(_, _, kind, verdict)] = self._query(f"CHECK TABLE ledger.{table} EXTENDED")
            assert (kind, verdict) == ("status", "OK"), verdict
        rows = self._query("SELECT writer, number, text FROM ledger.entries ORDER BY id")
        return sorted_out(rows, dict(self._query("SELECT writer, count FROM ledger.counts")))


class _pymysql_errors:
    """Turns what PyMySQL raises into `ConnectionError` for a connection that is gone, else `Refused`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, pymysql.err.Error):
            gone = isinstance(error, pymysql.err.InterfaceError) or error.args[0] in (0, 2003, 2006, 2013, 2055)
            raise (ConnectionResetError(str(error)) if gone else Refused(str(error))) from error


class RedisClient:
    """redis, by hand."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._file = connection.makefile("rb")
        self._call("PING")

    def _call(self, *words: str | int) -> Any:
        self._send(words)
        return self._answer()

    def _send(self, *commands: Sequence[str | int]) -> None:
        data = b""
        for command in commands:
            parts = [str(word).encode() for word in command]
            data += b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self.socket.sendall(data)

    def _answer(self) -> Any:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the server is gone")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise Refused(rest.decode())
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        if kind == b"$" and int(rest) >= 0:
            data = self._file.read(int(rest) + 2)
            if len(data) != int(rest) + 2:
                raise ConnectionResetError("the server is gone")
            return data[:-2].decode()
        return int(rest) if kind == b":" else rest.decode()

    def prepare(self) -> None:
        """Nothing is to be made."""

    def write(self, writer: str, number: int) -> None:
        row = json.dumps([writer, number, text(writer, number)])
        self._send(("MULTI",), ("RPUSH", "rows", row), ("HINCRBY", "counts", writer, 1), ("EXEC",))
        answers = [self._answer() for _ in range(4)]
        assert answers[:3] == ["OK", "QUEUED", "QUEUED"] and len(answers[3]) == 2, answers

    def rows(self) -> Rows:
        counts = iter(self._call("HGETALL", "counts"))
        rows = [json.loads(row) for row in self._call("LRANGE", "rows", 0, -1)]
        return sorted_out(rows, {writer: int(count) for writer, count in zip(counts, counts, strict=True)})


def sorted_out(rows: Sequence[Sequence[Any]], counts: Mapping[str, int]) -> Rows:
    """Return the rows by writer. Fails unless each has its text and its count."""
    found: dict[str, list[int]] = {}
    for writer, number, content in rows:
        assert content == text(writer, number), f"the text of row {number} of {writer} is another one"
        found.setdefault(writer, []).append(number)
    assert {writer: len(numbers) for writer, numbers in found.items()} == counts, "rows and counts of different states"
    return found


IMAGE = "sconectl-test-image"
JOURNALS = ("wal", "delete")
SQLITE = Database(
    "sqlite", f"{IMAGE}/volumes", "/data", 7000,
    tuple(Place(partial(SqliteClient, folder=folder, journal=journal))
          for folder in ("/data", "/bounded") for journal in JOURNALS),
)  # fmt: skip
MARIADB = Database(
    "mariadb", f"{IMAGE}/mariadb", "/var/lib/mysql", 3306, (Place(MariaClient, writers=2),),
    complaints=r"\[ERROR\]|orrupt|marked as crashed",
)  # fmt: skip
REDIS = Database(
    "redis", f"{IMAGE}/redis", "/data", 6379, (Place(RedisClient, writers=2),),
    command="redis-server --bind 0.0.0.0 --protected-mode no --dir /data --save '' --appendonly yes "
    "--appendfsync always --auto-aof-rewrite-min-size 200kb",
    complaints="Bad file format|Fatal",
)  # fmt: skip
