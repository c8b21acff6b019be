"""The store: what is written is there, whole or not at all, sealed, and found as fast among many as among few."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sconectl.cas.audit.anchor import Anchor
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.disk.sealing import SealBroken, Sealer, derived_key
from sconectl.cas.store import versions
from sconectl.cas.store.namespaces import version_of
from sconectl.cas.store.store import Store
from sconectl.cas.store.versions import Version
from sconectl.errors import CasError, Refused
from sconectl.policy.reading import parse_session

from .store_world import SECRET, StoreWorld, put, row, version


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


@pytest.fixture
def store(world: StoreWorld) -> Iterator[Store]:
    with world.opened() as opened:
        yield opened


def test_versions_and_the_active_one(store: Store) -> None:
    for hash_ in ("h1", "h2"):
        put(store, hash_=hash_)
    with store.reading() as transaction:
        active, first = transaction.session("acme"), transaction.session("acme", "h1")
        assert active
        assert first
        assert (active.hash, active.number, first.hash, first.number) == ("h2", 2, "h1", 1)
        assert transaction.active_hash("acme") == "h2"
        assert transaction.versions("acme") == [(1, "h1"), (2, "h2")]
        assert transaction.session("acme", "h3") is transaction.session("other") is None
        assert transaction.active_hash("x") is None


def test_children_and_count(store: Store) -> None:
    for name in ("acme", "acme/web", "acme/web/deep", "acme2", "ACME", "acme.x", "/"):
        put(store, name)
    put(store, "acme/web", "h2")
    with store.reading() as transaction:
        top = [("ACME", "h1"), ("acme", "h1"), ("acme.x", "h1"), ("acme2", "h1")]
        assert transaction.children("/") == top
        assert transaction.children("acme") == [("acme/web", "h2")]
        assert transaction.count() == len(transaction.names()) == 7


def test_secrets_tags_and_facts(store: Store) -> None:
    with store.writing() as transaction:
        transaction.replace_stored("acme", {"a": row(), "b": row(b"\0\xff", public=True, renew=5)})
        transaction.put_stored("acme", "c", row(b"", renew=9))
        transaction.set_tag("acme", "volume:v", "aa")
        transaction.set_tag("acme", "volume:v", "bb")
        transaction.set_meta("k", "v")
    with store.reading() as transaction:
        assert transaction.stored("acme") == {
            "a": row(),
            "b": row(b"\0\xff", public=True, renew=5),
            "c": row(b"", renew=9),
        }
        assert transaction.stored_secret("acme", "b") == row(b"\0\xff", public=True, renew=5)
        assert transaction.stored_secret("acme", "d") is transaction.stored_secret("other", "a") is None
        assert [transaction.due(now) for now in (4, 5, 9)] == [[], ["acme"], ["acme"]]
        assert (transaction.tag("acme", "volume:v"), transaction.tag("acme", "x")) == ("bb", None)
        assert (transaction.meta("k"), transaction.meta("x")) == ("v", None)
    with store.writing() as transaction:
        transaction.replace_stored("acme", {"a": row(b"new")})
    with store.reading() as transaction:
        assert transaction.stored("acme") == {"a": row(b"new")}


def test_an_exception_takes_everything_back_and_the_store_goes_on(store: Store) -> None:
    for error in (CasRefusal(403, "no"), KeyboardInterrupt()):
        with pytest.raises(type(error)), store.writing() as transaction:
            transaction.append("acme", version())
            transaction.record("session_created")
            raise error
    put(store)
    with store.reading() as transaction:
        assert transaction.versions("acme") == [(1, "h1")]


def test_a_reader_sees_one_moment(store: Store) -> None:
    put(store)
    with store.reading() as before:
        assert before.active_hash("acme") == "h1"
        put(store, hash_="h2")
        assert before.active_hash("acme") == "h1"
        with store.reading() as after:  # nesting is fine: each has its own connection
            assert after.active_hash("acme") == "h2"


def test_threads_do_not_disturb_each_other(store: Store) -> None:
    def work(number: int) -> None:
        for turn in range(10):
            put(store, f"s{number}", f"h{turn}")
            with store.reading() as transaction:
                assert transaction.active_hash(f"s{number}") == f"h{turn}"
                assert transaction.stored(f"s{number}") == {"password": row()}

    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with store.reading() as transaction:
        assert transaction.count() == 8


def test_connections_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store)
    monkeypatch.setattr(sqlite3, "connect", lambda *_args, **_more: pytest.fail("opened a connection"))
    put(store, hash_="h2")
    with store.reading() as transaction:
        transaction.session("acme")


def test_a_commit_is_durable_and_a_write_ahead_log_is_used(world: StoreWorld, store: Store) -> None:
    with store.reading() as transaction:
        (level,) = transaction._connection.execute("PRAGMA synchronous").fetchone()
        (mode,) = transaction._connection.execute("PRAGMA journal_mode").fetchone()
    assert (level, mode) == (2, "wal")
    assert (world.directory / "cas.db-wal").stat().st_mode & 0o077 == 0


def test_nothing_confidential_lies_open(world: StoreWorld, store: Store) -> None:
    put(store)
    with store.writing() as transaction:
        transaction.set_tag("acme", "volume:v", "feedbeef")
    raw = b"".join(path.read_bytes() for path in world.directory.iterdir() if path.name.startswith("cas.db"))
    for word in (SECRET, b"confidential", b"feedbeef", b'"size":20'):
        assert word not in raw
    assert b"acme" in raw  # the test reads what it should


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE secrets SET name = 'other'",
        "UPDATE secrets SET session = 'other'",
        "UPDATE secrets SET public = 1",
        "UPDATE secrets SET renew = 1",
        "UPDATE secrets SET sealed = zeroblob(40)",
        "UPDATE secrets SET sealed = x''",
    ],
)
def test_a_moved_or_changed_secret_does_not_open(world: StoreWorld, store: Store, change: str) -> None:
    put(store)
    with sqlite3.connect(world.directory / "cas.db") as outside:
        outside.execute(change)
    session, name = ("other", "password") if "session" in change else ("acme", "password")
    name = "other" if "name" in change else name
    with pytest.raises(CasError, match="was changed"), store.reading() as transaction:
        transaction.stored_secret(session, name)


@pytest.mark.parametrize("change", ["number = 3 - number", "hash = hash || 'x'", "text = document", "name = 'other'"])
def test_a_moved_or_changed_session_does_not_open(world: StoreWorld, store: Store, change: str) -> None:
    put(store)
    with sqlite3.connect(world.directory / "cas.db") as outside:
        outside.execute(f"UPDATE sessions SET {change}")
    with pytest.raises(CasError, match="was changed"), store.reading() as transaction:
        transaction.session("other" if "name" in change else "acme")


def test_sealing_needs_key_and_place() -> None:
    sealer = Sealer(b"k" * 32)
    sealed = sealer.seal(b"value", "a", 1)
    assert sealer.open(sealed, "a", 1) == b"value"
    assert sealer.seal(b"value", "a", 1) != sealed
    for key, place in ((b"k" * 32, ("a", 2)), (b"k" * 32, ("a", "1")), (b"l" * 32, ("a", 1))):
        with pytest.raises(SealBroken):
            Sealer(key).open(sealed, *place)
    assert len({derived_key(b"k" * 32, purpose) for purpose in ("a", "b")}) == 2


def test_sessions_are_parsed_once(world: StoreWorld, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    session = parse_session('name: acme\nversion: "0.3.11"\n')
    with store.writing() as transaction:
        transaction.append("acme", version_of(session))

    def read() -> object:
        with store.reading() as transaction:
            found = transaction.session("acme")
            assert found
            return found.session()

    assert read() == session
    monkeypatch.setattr(versions, "from_json", lambda _text: pytest.fail("parsed again"))
    assert read() is read()
    assert "confidential" not in repr(version())


@pytest.mark.parametrize(
    "change", [',"newer_feature":true', ',"services":[{"name":"a","newer":1}]', ',"services":5', "}"]
)
def test_a_session_that_this_version_does_not_know_entirely_is_not_enforced(change: str) -> None:
    good = version_of(parse_session('name: acme\nversion: "0.3.11"\n'))
    assert good.document
    document = good.document[:-1] + change + "}"
    newer = Version(good.text, document, hashlib.sha256(document.encode()).hexdigest())
    with pytest.raises(CasError, match="cannot be enforced"):
        newer.session()
    assert good.session().name == "acme"


def test_another_schema_another_key_and_rubbish(world: StoreWorld) -> None:
    with world.opened() as store:
        put(store)
    with pytest.raises(CasError, match="belongs to another CAS"):
        Anchor(world.anchor_path, b"x" * 32).read()
    keys = world.keys
    other = Anchor(world.anchor_path.with_name("other"), b"x" * 32)
    foreign = Store(world.directory, b"x" * 32, audit_key=keys.audit, anchor=other, starting=False)
    with pytest.raises(CasError, match="belongs to another CAS"), foreign.reading() as transaction:
        transaction.session("acme")
    foreign.close()
    with sqlite3.connect(world.directory / "cas.db") as outside:
        outside.execute("PRAGMA user_version = 99")
    with pytest.raises(CasError, match="schema 99"), world.opened():
        pass
    for name in ("cas.db-wal", "cas.db-shm"):
        (world.directory / name).unlink(missing_ok=True)
    (world.directory / "cas.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(CasError, match="cannot be used"), world.opened():
        pass


def test_a_closed_or_replaced_store_is_not_used(world: StoreWorld) -> None:
    with world.opened() as store:
        put(store)
        world.directory.rename(world.directory.with_name("aside"))
        with pytest.raises(CasError, match="replaced"):
            put(store, hash_="h2")
        shutil.copytree(world.directory.with_name("aside"), world.directory)
        with pytest.raises(CasError, match="replaced"):
            put(store, hash_="h2")
    with pytest.raises(CasError, match="closed"), store.reading():
        pass


def test_the_anchor_may_not_lie_in_the_directory(world: StoreWorld) -> None:
    world.anchor_path = world.directory / "anchor"
    with pytest.raises(Refused, match="lies in the directory"), world.opened():
        pass


def test_a_read_costs_the_same_with_many_sessions(store: Store) -> None:
    """Each query that a read makes goes through an index, so that it does not grow with the number of sessions."""
    queries: list[str] = []
    with store.writing() as transaction:
        transaction._connection.set_trace_callback(queries.append)
        transaction.session("acme")
        transaction.session("acme", "h1")
        transaction.active_hash("acme")
        transaction.versions("acme")
        transaction.append("acme", version())
        transaction.stored("acme")
        transaction.stored_secret("acme", "s")
        transaction.tag("acme", "s")
        transaction.meta("s")
        transaction.children("acme")
        transaction.due(5)
        transaction.record("session_read")
        transaction._connection.set_trace_callback(None)
        plans = {
            query: [row[3] for row in transaction._connection.execute(f"EXPLAIN QUERY PLAN {query}")]
            for query in queries
        }
    assert len(plans) > 12
    scans = {
        query: plan for query, plan in plans.items() if any("SCAN" in step and "(subquery" not in step for step in plan)
    }
    # the newest audit entry: the last one of the table, which is not a search but one step
    assert all("ORDER BY sequence DESC LIMIT 1" in query for query in scans), scans


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("this system does not let us mount a small file system")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_a_refusal_and_nothing_is_lost(small_disk: Path, tmp_path: Path) -> None:
    world = StoreWorld(small_disk)
    world.anchor_path = tmp_path / "anchor"
    written = 0
    with world.opened() as store:
        with pytest.raises(CasRefusal, match="disk is full") as caught:
            while True:
                put(store, f"s{written}")
                written += 1
        assert caught.value.status == 507
        assert "Make room" in caught.value.causes[1]
        (small_disk / "cas" / "keys.json").stat()
        with store.reading() as transaction:
            assert transaction.count() == written
    with world.opened(starting=False) as store, store.reading() as transaction:
        assert transaction.count() == written > 10
        assert all(transaction.stored(name) == {"password": row()} for name in transaction.names())
