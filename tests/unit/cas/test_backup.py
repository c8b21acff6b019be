"""Backup and restore: a complete copy of a running store, and a deliberate way back that is all or nothing."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sconectl.cas.audit import database_table
from sconectl.cas.audit.verification import Verdict
from sconectl.cas.disk.directory_lock import writer
from sconectl.cas.maintenance import audit_check
from sconectl.cas.maintenance.backup import backup, restore
from sconectl.errors import CasError, Refused, SconectlError

from .store_world import StoreWorld, put, row

Members = dict[str, bytes]


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.tar"


def back_up(world: StoreWorld, file: Path) -> None:
    backup(world.directory, file, anchor=world.anchor_path)


def events(world: StoreWorld) -> list[str]:
    with audit_check.opened(world.directory) as connection:
        return [json.loads(line)["event"] for line in database_table.lines(connection)]


def members(file: Path) -> Members:
    with tarfile.open(file) as tar:
        found = {member.name: tar.extractfile(member) for member in tar}
        return {name: stream.read() for name, stream in found.items() if stream is not None}


def archive(file: Path, contents: Members) -> None:
    with tarfile.open(file, "w") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def state(directory: Path) -> dict[str, bytes]:
    """Return what lies in a directory that is not in use."""
    return {path.name: path.read_bytes() for path in directory.iterdir()} if directory.exists() else {}


def test_there_and_back(world: StoreWorld, file: Path) -> None:
    with world.opened() as store:
        put(store)
        back_up(world, file)  # while it is open
        put(store, hash_="h2")
    keys = world.keys
    assert file.stat().st_mode & 0o777 == 0o600
    assert set(members(file)) == {"backup.json", "cas.db", "keys.json", "master.key"}
    with pytest.raises(Refused, match="something in"):
        restore(file, world.directory, anchor=world.anchor_path)
    done = restore(file, world.directory, replace=True, anchor=world.anchor_path)
    assert done.cas_key_hash == keys.cas_key_hash == world.keys.cas_key_hash
    assert done.aside == world.directory.with_name("cas.replaced-1")
    assert world.directory.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in world.directory.iterdir())
    assert events(world) == ["cas_started", "session_created", "backup_made", "store_restored"]
    assert world.anchor.read() == done.head
    assert audit_check.verify_directory(world.directory, anchor=world.anchor_path).verdict is Verdict.CORRECT
    with world.opened() as store, store.reading() as transaction:
        assert store.notices == ()
        assert transaction.versions("acme") == [(1, "h1")]
        assert transaction.stored("acme") == {"password": row()}
    assert not [path for path in world.directory.parent.iterdir() if ".restore-" in path.name]


def test_what_was_undone_is_in_the_log_and_the_former_directory_is_refused(world: StoreWorld, file: Path) -> None:
    with world.opened() as store:
        put(store)
        back_up(world, file)
        put(store, hash_="h2")
        put(store, hash_="h3")
    log = file.with_name("log")
    with audit_check.opened(world.directory) as connection:
        log.write_text("\n".join(database_table.lines(connection)))
    done = restore(file, world.directory, replace=True, anchor=world.anchor_path)
    with audit_check.opened(world.directory) as connection:
        last = json.loads(list(database_table.lines(connection))[-1])
    assert (last["backup"], last["newest_before"]) == (3, 5)
    report = audit_check.verify_file(log, directory=world.directory)
    assert report.verdict is Verdict.ROLLED_BACK  # who has an older export sees it
    assert done.aside
    shutil.rmtree(world.directory)
    done.aside.rename(world.directory)
    with pytest.raises(Refused, match="older copy"), world.opened():
        pass


def test_a_backup_is_consistent_under_load(world: StoreWorld, file: Path) -> None:
    stop = threading.Event()

    def work(number: int) -> None:
        turn = 0
        while not stop.is_set():
            put(store, f"s{number}", f"h{turn}")
            turn += 1

    with world.opened() as store:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            for number in range(5):
                back_up(world, file.with_name(f"{number}.tar"))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    for number in range(5):
        target = StoreWorld(world.directory.parent / f"to{number}")
        restore(file.with_name(f"{number}.tar"), target.directory, anchor=target.anchor_path)
        with target.opened() as restored, restored.reading() as transaction:
            assert all(transaction.stored(name) == {"password": row()} for name in transaction.names())


def test_into_a_new_directory(world: StoreWorld, file: Path, tmp_path: Path) -> None:
    with world.opened() as store:
        put(store)
    (world.directory / "platform.json").write_text("{}")
    back_up(world, file)
    target = StoreWorld(tmp_path / "new machine")
    done = restore(file, target.directory, anchor=target.anchor_path)
    assert done.aside is None
    assert (target.directory / "platform.json").read_text() == "{}"
    with target.opened() as store, store.reading() as transaction:
        assert transaction.active_hash("acme") == "h1"
    with pytest.raises(Refused, match=r"--replace|something"):
        restore(file, target.directory, anchor=target.anchor_path)


def test_a_directory_that_is_in_use(world: StoreWorld, file: Path) -> None:
    with world.opened() as store:
        put(store)
    back_up(world, file)
    before = state(world.directory)
    with writer(world.directory) as own:
        own.describe("127.0.0.1:5")
        with pytest.raises(CasError, match="already running at"):
            restore(file, world.directory, replace=True, anchor=world.anchor_path)
    after = state(world.directory)
    assert {**before, "server.json": b""} == {**after, "server.json": b""}
    with world.opened() as store:
        put(store, hash_="h2")
        restore(file, world.directory, replace=True, anchor=world.anchor_path)
        with pytest.raises(CasError, match="replaced"):  # who had the former one open does not go on with it
            put(store, hash_="h3")


def test_the_master_key_from_elsewhere_is_not_in_the_file(
    world: StoreWorld, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCONECTL_CAS_KEY", f"hex:{'ab' * 32}")
    with world.opened() as store:
        put(store)
    back_up(world, file)
    assert "master.key" not in members(file)
    assert b"ab" * 32 not in file.read_bytes()
    target = tmp_path / "new" / "cas"
    for setting in (f"hex:{'cd' * 32}", ""):
        monkeypatch.setenv("SCONECTL_CAS_KEY", setting)
        with pytest.raises(CasError) as caught:
            restore(file, target, anchor=tmp_path / "a")
        assert "SCONECTL_CAS_KEY" in caught.value.hint
    assert state(target).keys() <= {"server.json"}
    monkeypatch.setenv("SCONECTL_CAS_KEY", f"hex:{'ab' * 32}")
    restore(file, target, anchor=tmp_path / "a")


def test_a_backup_without_its_master_key(world: StoreWorld, file: Path, tmp_path: Path) -> None:
    with world.opened() as store:
        put(store)
    back_up(world, file)
    contents = members(file)
    del contents["master.key"]
    manifest = json.loads(contents["backup.json"])
    del manifest["members"]["master.key"]
    archive(file, contents | {"backup.json": json.dumps(manifest).encode()})
    with pytest.raises(CasError, match="does not hold the master key"):
        restore(file, tmp_path / "new" / "cas")


def with_database(change: str) -> Callable[[Members], Members]:
    """Change the database, with everything in the manifest corrected for it."""

    def apply(contents: Members) -> Members:
        import hashlib
        import tempfile

        with tempfile.NamedTemporaryFile() as place:
            place.write(contents["cas.db"])
            place.flush()
            database = sqlite3.connect(place.name)
            database.execute("PRAGMA journal_mode = DELETE")
            database.executescript(change)
            database.close()
            changed = Path(place.name).read_bytes()
        manifest = json.loads(contents["backup.json"])
        manifest["members"]["cas.db"] = {"size": len(changed), "sha256": hashlib.sha256(changed).hexdigest()}
        return contents | {"cas.db": changed, "backup.json": json.dumps(manifest).encode()}

    return apply


def with_manifest(**change: object) -> Callable[[Members], Members]:
    def apply(contents: Members) -> Members:
        manifest = json.loads(contents["backup.json"]) | change
        return contents | {"backup.json": json.dumps(manifest).encode()}

    return apply


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda all_: {**all_, "cas.db": all_["cas.db"][:-1]}, "members are not those"),
        (lambda all_: {name: all_[name] for name in all_ if name != "keys.json"}, "members are not those"),
        (lambda all_: {name: all_[name] for name in all_ if name != "backup.json"}, "no description"),
        (lambda all_: {**all_, "../evil": b"x"}, "not expected"),
        (lambda all_: {**all_, "/etc/evil": b"x"}, "not expected"),
        (lambda all_: {**all_, "server.json": b"x"}, "not expected"),
        (lambda all_: {**all_, "keys.json": b" " * (2 << 20)}, "too large"),
        (lambda all_: {**all_, "backup.json": b"{"}, "damaged"),
        (lambda all_: {**all_, "backup.json": b"[]"}, "damaged"),
        (lambda all_: {**all_, "backup.json": b"{}"}, "damaged"),
        (with_manifest(format=2), "another version"),
        (with_manifest(cas_key="other"), "another CAS"),
        (with_manifest(audit={"sequence": 9, "signature": "x"}), "audit log does not verify"),
        (with_database("DELETE FROM audit WHERE sequence = 2"), "audit log does not verify"),
        (with_database("DELETE FROM audit WHERE sequence = 3"), "audit log does not verify"),
        (with_database("UPDATE audit SET entry = replace(entry, 'acme', 'acmf')"), "audit log does not verify"),
        (with_database("PRAGMA user_version = 1"), "another version"),
        (with_database("CREATE TRIGGER t AFTER INSERT ON audit BEGIN DELETE FROM secrets; END"), "another version"),
        (with_database("CREATE VIEW v AS SELECT 1"), "another version"),
        (with_database("UPDATE secrets SET sealed = zeroblob(60)"), "was changed"),
        (with_database("UPDATE sessions SET document = zeroblob(60)"), "was changed"),
    ],
)
def test_a_bad_backup_changes_nothing(
    world: StoreWorld, file: Path, change: Callable[[Members], Members], reason: str
) -> None:
    with world.opened() as store:
        put(store)
    back_up(world, file)
    archive(file, change(members(file)))
    before, anchor = state(world.directory), world.anchor_path.read_bytes()
    with pytest.raises(CasError, match=reason):
        restore(file, world.directory, replace=True, anchor=world.anchor_path)
    assert {**state(world.directory), "server.json": b""} == {**before, "server.json": b""}
    assert world.anchor_path.read_bytes() == anchor
    assert not [path for path in world.directory.parent.iterdir() if ".restore-" in path.name]
    with world.opened() as store:
        put(store, hash_="h2")


def test_members_that_are_no_files(world: StoreWorld, file: Path) -> None:
    with world.opened() as store:
        put(store)
    back_up(world, file)
    contents = members(file)
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE, tarfile.CHRTYPE):
        archive(file, {name: content for name, content in contents.items() if name != "keys.json"})
        with tarfile.open(file, "a") as tar:
            member = tarfile.TarInfo("keys.json")
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        with pytest.raises(CasError, match=r"not expected|damaged"):
            restore(file, world.directory, replace=True, anchor=world.anchor_path)
    with tarfile.open(file, "w") as tar:
        for name, content in [*contents.items(), ("keys.json", contents["keys.json"])]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with pytest.raises(CasError, match="not expected"):
        restore(file, world.directory, replace=True, anchor=world.anchor_path)


@pytest.mark.parametrize("content", [None, b"", b"rubbish" * 1000, b"\x1f\x8b" + b"x" * 5000])
def test_files_that_are_no_backup(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(CasError, match="cannot be restored"):
        restore(tmp_path / "file", tmp_path / "new" / "cas")


def test_a_backup_that_cannot_be_made(world: StoreWorld, tmp_path: Path) -> None:
    with pytest.raises(CasError, match="no CAS"):
        backup(tmp_path / "none", tmp_path / "file")
    assert not (tmp_path / "none").exists()
    with world.opened() as store:
        put(store)
    with pytest.raises(CasError, match="cannot write"):
        back_up(world, tmp_path / "no directory" / "file")
    (tmp_path / "kept").write_text("kept")
    shutil.rmtree(tmp_path / "no directory", ignore_errors=True)
    (tmp_path / "a directory").mkdir()
    with pytest.raises(SconectlError):
        back_up(world, tmp_path / "a directory")
    assert not list((tmp_path / "a directory").iterdir())
