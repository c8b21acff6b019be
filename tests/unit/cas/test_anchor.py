"""The freshness anchor: an older copy of the store is noticed, a torn write does no harm, only its CAS writes it."""

from __future__ import annotations

import base64
import hmac
import os
import shutil
import struct
import threading
from pathlib import Path

import pytest

from sconectl.cas.audit.anchor import Anchor, default_anchor
from sconectl.cas.audit.entries import Head
from sconectl.errors import CasError, Refused

from .store_world import StoreWorld, put


def head(sequence: int) -> Head:
    return Head(sequence, base64.b64encode(bytes([sequence % 256]) * 64).decode())


@pytest.fixture
def anchor(tmp_path: Path) -> Anchor:
    return Anchor(tmp_path / "deep" / "anchor", b"k" * 32)


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


def test_it_moves_forward_only(anchor: Anchor) -> None:
    assert anchor.read() is None
    anchor.advance(head(3))
    assert anchor.path.stat().st_mode & 0o777 == 0o600
    for number in range(4, 20):
        anchor.advance(head(number))
        assert anchor.read() == head(number)
    anchor.advance(head(7))
    assert anchor.read() == head(19)
    anchor.replace(head(7))
    assert anchor.read() == head(7)


@pytest.mark.parametrize("bytes_written", [0, 1, 40, 100, 119])
def test_a_torn_write_leaves_the_one_before(
    anchor: Anchor, monkeypatch: pytest.MonkeyPatch, bytes_written: int
) -> None:
    for number in range(1, 6):
        anchor.advance(head(number))

    def torn(descriptor: int, data: bytes, offset: int) -> int:
        real(descriptor, data[:bytes_written], offset)
        raise OSError(5, "the power went off")

    real = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", torn)
        with pytest.raises(CasError, match="cannot be used"):
            anchor.advance(head(6))
    assert anchor.read() == head(5)
    for number in range(7, 10):
        anchor.advance(head(number))
        assert anchor.read() == head(number)


def test_it_counts_the_tags_that_moved_since_an_entry(anchor: Anchor) -> None:
    for reached in (Head(3, head(3).signature), *(Head(3, head(3).signature, moves) for moves in (1, 2, 300))):
        anchor.advance(reached)
        found = anchor.read()
        assert found is not None and found.age == reached.age
    for older in (Head(3, head(3).signature, 299), Head(2, head(2).signature, 1000)):
        anchor.advance(older)
        found = anchor.read()
        assert found is not None and found.age == (3, 300)
    anchor.advance(head(4))
    found = anchor.read()
    assert found is not None and found.age == (4, 0)


def test_an_anchor_of_an_older_version(anchor: Anchor) -> None:
    """It had no count, and shorter slots."""
    slots = bytearray(8192)
    for number, offset in ((8, 0), (9, 4096)):
        body = struct.pack(">8sQ64s", b"sconanc1", number, base64.b64decode(head(number).signature))
        slots[offset : offset + 112] = body + hmac.digest(anchor._key, body, "sha256")
    anchor.path.parent.mkdir()
    anchor.path.write_bytes(slots)
    assert anchor.read() == head(9)
    anchor.advance(Head(9, head(9).signature, 1))
    found = anchor.read()
    assert found is not None and found.age == (9, 1)


def test_both_slots_damaged_or_of_another_cas(anchor: Anchor) -> None:
    anchor.advance(head(1))
    with pytest.raises(CasError, match="another CAS") as caught:
        Anchor(anchor.path, b"l" * 32).read()
    assert "remove the file" in caught.value.hint
    raw = bytearray(anchor.path.read_bytes())
    for content in (b"", b"x" * 5000, raw[:50], raw.replace(b"\1", b"\2")):
        anchor.path.write_bytes(content)
        for use in (anchor.read, lambda: anchor.advance(head(2))):
            with pytest.raises(CasError, match="damaged"):
                use()
    anchor.replace(head(2))
    assert anchor.read() == head(2)


def test_several_writers(anchor: Anchor) -> None:
    anchor.advance(head(1))

    def advance(part: int) -> None:
        for number in range(part, 200, 8):
            anchor.advance(head(number))

    threads = [threading.Thread(target=advance, args=(part,)) for part in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert anchor.read() == head(199)


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_anchor("KEY") == Path("/state/sconectl/anchors/KEY")
    for ignored in ("relative/path", ""):
        monkeypatch.setenv("XDG_STATE_HOME", ignored)
        assert default_anchor("KEY") == Path("/home/user/.local/state/sconectl/anchors/KEY")
    monkeypatch.setenv("SCONECTL_CAS_ANCHOR", "/elsewhere/file")
    assert default_anchor("KEY") == Path("/elsewhere/file")


def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CasError, match="cannot be used") as caught:
        Anchor(tmp_path / "file" / "anchor", b"k" * 32).replace(head(1))
    assert "SCONECTL_CAS_ANCHOR" in caught.value.hint


# The anchor and the store.


def test_the_anchor_follows_each_recorded_commit(world: StoreWorld) -> None:
    with world.opened() as store:
        assert store.notices == ()
        anchor = world.anchor
        found = anchor.read()
        assert found
        assert found.sequence == 1
        put(store)
        after = anchor.read()
        assert after
        assert after.sequence == 2
        with store.writing() as transaction:
            transaction.set_meta("k", "v")
        assert anchor.read() == after


def test_an_older_copy_is_refused(world: StoreWorld, tmp_path: Path) -> None:
    with world.opened() as store:
        put(store)
    shutil.copytree(world.directory, tmp_path / "older")
    with world.opened() as store:
        put(store, hash_="h2")
    shutil.move(world.directory, tmp_path / "newest")
    shutil.copytree(tmp_path / "older", world.directory)
    for _ in range(2):
        with pytest.raises(Refused, match="older copy") as caught, world.opened():
            pass
        assert "cas restore" in caught.value.hint
    shutil.rmtree(world.directory)
    shutil.copytree(tmp_path / "newest", world.directory)
    with world.opened() as store:
        assert store.notices == ()
    for name in ("cas.db", "cas.db-wal", "cas.db-shm"):
        (world.directory / name).unlink(missing_ok=True)
    with pytest.raises(Refused, match="older copy"), world.opened():
        pass


def test_another_history_of_the_same_length_is_refused(world: StoreWorld, tmp_path: Path) -> None:
    with world.opened() as store:
        put(store)
    shutil.copytree(world.directory, tmp_path / "older")
    kept = world.anchor_path.read_bytes()
    with world.opened(starting=False) as store:
        put(store, hash_="h2")
        put(store, hash_="h3")
    newest = world.anchor_path.read_bytes()
    shutil.rmtree(world.directory)
    shutil.copytree(tmp_path / "older", world.directory)
    world.anchor_path.write_bytes(kept)
    with world.opened(starting=False) as store:
        for number in range(4):
            put(store, hash_=f"other{number}")
    world.anchor_path.write_bytes(newest)
    with pytest.raises(Refused, match="older copy"), world.opened():
        pass


def test_commits_that_the_anchor_missed_are_fine(world: StoreWorld) -> None:
    with world.opened() as store:
        put(store)
        before = world.anchor_path.read_bytes()
        put(store, hash_="h2")
        put(store, hash_="h3")
    world.anchor_path.write_bytes(before)  # as if killed between commit and anchor
    with world.opened() as store, store.reading() as transaction:
        assert store.notices == ()
        assert transaction.active_hash("acme") == "h3"
    found = world.anchor.read()
    assert found
    assert found.sequence == 5


def test_what_follows_the_anchor_must_be_our_own(world: StoreWorld) -> None:
    import sqlite3

    with world.opened() as store:
        put(store)
        before = world.anchor_path.read_bytes()
        put(store, hash_="h2")
    world.anchor_path.write_bytes(before)
    with sqlite3.connect(world.directory / "cas.db") as outside:
        outside.execute("UPDATE audit SET entry = replace(entry, 'acme', 'acmf') WHERE sequence = 3")
    outside.close()
    with pytest.raises(CasError, match="log of the store was changed"), world.opened():
        pass


def test_first_contact_is_said(world: StoreWorld) -> None:
    with world.opened() as store:
        put(store)
    world.anchor_path.unlink()
    with world.opened() as store:
        assert [str(world.anchor_path) in notice for notice in store.notices] == [True]
    with world.opened() as store:
        assert store.notices == ()


def test_a_write_that_the_anchor_does_not_take_is_not_acknowledged(
    world: StoreWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.opened() as store:
        put(store)
        monkeypatch.setattr(os, "fdatasync", lambda _descriptor: (_ for _ in ()).throw(OSError(5, "broken")))
        with pytest.raises(CasError, match=r"anchor .* cannot be used: broken"):
            put(store, hash_="h2")
