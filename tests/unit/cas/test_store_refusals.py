"""A backup is checked before it is called one, works where the disk is full, and is nothing where the store is bad."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.maintenance.backup import backup, restore
from sconectl.cas.store import store
from sconectl.cas.store.faults import DAMAGED, FULL, LOCKED, READ_ONLY, UNUSABLE, condition, explained
from sconectl.errors import CasError

from .store_world import StoreWorld, put


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    found = StoreWorld(tmp_path)
    with found.opened() as opened:
        put(opened)
        for number in range(60):
            put(opened, name=f"s{number}", hash_=f"{number:064x}")
    return found


def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def damaged_page(content: bytes) -> bytes:
    """Damage the header of the last page of a tree that holds sessions."""
    size = int.from_bytes(content[16:18])
    pages = [place for place in range(size, len(content), size) if content[place] == 13]
    return content[: pages[-1]] + bytes(size) + content[pages[-1] + size :]


def damaged_text(content: bytes) -> bytes:
    """Damage a sealed value and no structure of the database."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(content[:18] + b"\1\1" + content[20:])  # a database in memory has no log beside it
        [(sealed,)] = connection.execute("SELECT document FROM sessions WHERE name = 's7'").fetchall()
    return content.replace(sealed, flip(sealed, 20))


def changed_entry(content: bytes) -> bytes:
    return content.replace(b'"session": "s7"', b'"session": "x7"')


@pytest.mark.parametrize("damage", [damaged_page, damaged_text, changed_entry])
def test_what_restore_would_refuse_is_no_backup(
    world: StoreWorld, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / "backups" / "cas.tar"
    file.parent.mkdir()
    backup(world.directory, file, anchor=world.anchor_path)
    good = file.read_bytes()
    database = world.directory / store.FILE
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = database.read_bytes()
    database.write_bytes(damage(before))
    assert database.read_bytes() != before
    with pytest.raises(CasError, match=r"cannot be (backed up|used)"):
        backup(world.directory, file, anchor=world.anchor_path)
    assert file.read_bytes() == good, "the last good backup is still there"
    assert [path.name for path in file.parent.iterdir()] == ["cas.tar"]
    restore(file, tmp_path / "again" / "cas", anchor=tmp_path / "anchor2")


def test_without_room_for_an_entry_there_is_a_backup_all_the_same(
    world: StoreWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise CasRefusal(507, "The CAS cannot store this: its disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(store.Transaction, "record", full)
        made = backup(world.directory, tmp_path / "cas.tar", anchor=world.anchor_path)
    assert not made.recorded
    done = restore(tmp_path / "cas.tar", tmp_path / "again" / "cas", anchor=tmp_path / "anchor2")
    assert done.head.sequence == made.head.sequence + 1


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_FULL, FULL),
        (sqlite3.SQLITE_READONLY | 8 << 8, READ_ONLY),
        (sqlite3.SQLITE_BUSY, LOCKED),
        (sqlite3.SQLITE_CORRUPT | 1 << 8, DAMAGED),
        (sqlite3.SQLITE_NOTADB, DAMAGED),
        (sqlite3.SQLITE_CANTOPEN, UNUSABLE),
        (None, UNUSABLE),
    ],
)
def test_conditions_name_no_place(tmp_path: Path, code: int | None, expected: str) -> None:
    error = sqlite3.OperationalError("some text")
    if code is not None:
        error.sqlite_errorcode = code
    try:
        raise explained(error, tmp_path / "cas.db") from error
    except (CasError, CasRefusal) as found:
        assert condition(found) == expected
    assert str(tmp_path) not in expected
