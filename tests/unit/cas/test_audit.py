"""The audit log: part of what it reports, chained and signed, and verified by its CAS's key alone."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sconectl.cas.audit import database_table
from sconectl.cas.audit.entries import (
    EMPTY,
    AuditError,
    AuditKey,
    Head,
    OtherCas,
    audit_key_in,
    bind,
    bound_key,
    entry,
    parse,
)
from sconectl.cas.audit.verification import AuditReport, Verdict, verify
from sconectl.cas.keys import certificates
from sconectl.cas.maintenance import audit_check
from sconectl.errors import CasError, UsageError
from sconectl.key_hash import key_hash

from .store_world import SECRET, StoreWorld, put

ROOT = certificates.new_key()
CAS = key_hash(ROOT.public_key())
KEY = bind(Ed25519PrivateKey.generate(), ROOT)
PUBLIC = KEY.private.public_key()


def log(count: int, *, start: Head = EMPTY, key: AuditKey = KEY, word: str = "x") -> Iterator[str]:
    """Yield a valid log."""
    head = start
    for number in range(count):
        started = head == EMPTY
        fields: dict[str, Any] = dict(key.binding) if started else {"session": f"{word}{number}"}
        made = entry(head, "2026-01-01T00:00:00Z", "cas_started" if started else "session_read", fields, key.private)
        yield made.line
        head = made.head


def head_of(lines: list[str]) -> Head:
    return parse(lines[-1]).head


def verdict(lines: list[str], latest: Head | None = None, **more: Any) -> Verdict:
    return verify(lines, PUBLIC, CAS, latest or head_of(lines), **more).verdict


def test_a_good_log() -> None:
    lines = list(log(5))
    report = verify(lines, PUBLIC, CAS, head_of(lines))
    assert (report.verdict, report.entries, report.first, report.last) == (Verdict.CORRECT, 5, 1, head_of(lines))
    assert report.faults == []
    assert audit_key_in(lines, CAS).public_bytes_raw() == PUBLIC.public_bytes_raw()
    content = json.loads(lines[1])
    assert list(content) == ["sequence", "time", "event", "session", "previous", "signature"]
    assert content["previous"] == json.loads(lines[0])["signature"]


def test_spelling_does_not_matter() -> None:
    lines = [json.dumps(json.loads(line), indent=None, separators=(",", ":"), sort_keys=True) for line in log(3)]
    assert verdict(lines) is Verdict.CORRECT


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace("session_read", "session_reed"),
        lambda line: line.replace("2026", "2027"),
        lambda line: line.replace('"session"', '"sessiom"'),
        lambda line: line[:-1],
        lambda line: line.replace('{"sequence": 2', '{"sequence": 2, "sequence": 2'),
        lambda line: line.replace('"sequence": 2', '"sequence": 2.0'),
        lambda line: line.replace('"sequence": 2', '"sequence": true'),
        lambda line: line.replace('"sequence": 2', '"sequence": "2"'),
        lambda line: line.replace('"previous"', '"x": NaN, "previous"'),
        lambda line: line.replace('"previous"', '"x": ' + "[" * 100_000 + '"previous"'),
        lambda line: line.replace('"previous"', '"x": "\\ud800", "previous"'),
        lambda line: f"[{line}]",
        lambda line: line + "x" * 2_000_000,
        lambda line: line.encode("utf-16"),
        lambda line: b"\xff\xfe" + line.encode(),
        lambda _line: "rubbish",
    ],
)
def test_a_changed_entry_is_forged(change: Any) -> None:
    lines = list(log(3))
    latest = head_of(lines)
    lines[1] = change(lines[1])
    assert verdict(lines, latest) is Verdict.FORGED


def test_an_entry_signed_by_another_key_is_forged() -> None:
    lines = list(log(3))
    other = bind(Ed25519PrivateKey.generate(), ROOT)
    forged = [*lines[:2], *log(1, start=parse(lines[1]).head, key=other)]
    assert verdict(forged) is Verdict.FORGED


def test_a_log_of_another_cas() -> None:
    root = certificates.new_key()
    lines = list(log(2, key=bind(KEY.private, root)))
    assert verdict(lines) is Verdict.OTHER_CAS
    with pytest.raises(OtherCas):
        audit_key_in(lines, CAS)


def test_a_key_that_the_cas_has_not_signed_for() -> None:
    other = bind(Ed25519PrivateKey.generate(), certificates.new_key()).binding
    for change in ({"statement": other["statement"]}, {"audit_key": other["audit_key"]}, {"cas_public_key": "!"}):
        with pytest.raises(AuditError):
            bound_key({**KEY.binding, **change}, CAS)
    with pytest.raises(OtherCas):
        bound_key({**other, "cas_key": CAS}, CAS)  # names this one, and shows another one's key


def test_missing_entries() -> None:
    lines = list(log(6))
    latest = head_of(lines)
    assert verdict(lines[:4], latest) is Verdict.NEWEST_MISSING
    assert verdict(lines[2:], latest) is Verdict.OLDEST_MISSING
    assert verdict(lines[:2] + lines[4:], latest) is Verdict.MISSING
    assert verdict([], latest) is Verdict.NEWEST_MISSING
    assert verdict(lines[2:4], latest) is Verdict.OLDEST_MISSING  # the more severe one
    assert verdict(lines[2:], latest, predecessor=parse(lines[1]).signature) is Verdict.CORRECT
    assert verdict(lines[2:], latest, predecessor=parse(lines[0]).signature) is Verdict.OLDEST_MISSING


def test_rollbacks() -> None:
    lines = list(log(6))
    latest = head_of(lines)
    fork = [*lines[:3], *log(3, start=parse(lines[2]).head, word="y")]
    assert verdict(fork) is Verdict.CORRECT  # nothing is wrong with it by itself
    assert verdict(fork, latest) is Verdict.ROLLED_BACK
    assert verdict(lines, parse(lines[3]).head) is Verdict.ROLLED_BACK
    assert verdict([*lines, *fork[3:]], latest) is Verdict.ROLLED_BACK
    assert verdict([*lines[:4], *fork[4:]], latest) is Verdict.ROLLED_BACK
    assert verdict([*lines[:4], *fork[4:]]) is Verdict.ROLLED_BACK  # entry 5 follows another entry 4
    known = dict(enumerate((parse(line).signature for line in lines), 1))
    assert verdict(fork[:5], latest) is Verdict.NEWEST_MISSING  # all that can be said
    assert verdict(fork[:5], latest, known=known.get) is Verdict.ROLLED_BACK
    assert verdict(lines[:5], latest, known=known.get) is Verdict.NEWEST_MISSING
    assert verify(lines, PUBLIC, CAS, None).verdict is Verdict.NOT_EXCLUDED


def test_fields_that_are_taken_and_values_without_one_spelling() -> None:
    with pytest.raises(ValueError, match="taken"):
        entry(EMPTY, "t", "e", {"signature": "x"}, KEY.private)
    with pytest.raises(ValueError, match="JSON"):
        entry(EMPTY, "t", "e", {"x": float("nan")}, KEY.private)


def test_a_long_log_is_not_held_in_memory() -> None:
    many = 3000
    tracemalloc.start()
    try:
        report = verify(log(many), PUBLIC, CAS, Head(many + 1, ""))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.entries == many
    assert peak < 500_000


# The log in the store.


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


def lines_of(world: StoreWorld) -> list[str]:
    with audit_check.opened(world.directory) as connection:
        return list(database_table.lines(connection))


def check(world: StoreWorld, file: Path | None = None, **more: Any) -> AuditReport:
    if file is None:
        return audit_check.verify_directory(world.directory, anchor=world.anchor_path, **more)
    return audit_check.verify_file(file, **more)


def test_what_is_taken_back_is_not_in_the_log(world: StoreWorld) -> None:
    with world.opened() as store:
        put(store)
        with pytest.raises(KeyError), store.writing() as transaction:
            transaction.record("session_updated")
            raise KeyError
        with store.writing() as transaction:
            transaction.record("first", text="zß€")
            transaction.record("second", numbers=[1, 2], nothing=None)
    entries = [json.loads(line) for line in lines_of(world)]
    assert [item["event"] for item in entries] == ["cas_started", "session_created", "first", "second"]
    assert [item["sequence"] for item in entries] == [1, 2, 3, 4]
    assert entries[0]["simulation"] is True
    assert entries[0]["cas_key"] == world.keys.cas_key_hash
    assert entries[0]["time"].endswith("Z")
    assert entries[2]["text"] == "zß€"
    assert SECRET.decode() not in "".join(lines_of(world))
    assert check(world).verdict is Verdict.CORRECT


def test_each_start_is_an_entry_and_the_chain_goes_on(world: StoreWorld) -> None:
    for _ in range(3):
        with world.opened() as store:
            put(store, hash_=store._clock().isoformat())
    report = check(world)
    assert (report.verdict, report.entries) == (Verdict.CORRECT, 6)


def test_what_was_cut_off_or_changed_in_the_database(world: StoreWorld) -> None:
    with world.opened() as store:
        for number in range(4):
            put(store, hash_=f"h{number}")
    database = world.directory / "cas.db"

    def outcome(change: str) -> Verdict:
        before = database.read_bytes()
        outside = sqlite3.connect(database)
        outside.execute("PRAGMA journal_mode = DELETE")
        outside.execute(change)
        outside.commit()
        outside.close()
        try:
            return check(world).verdict
        finally:
            database.write_bytes(before)

    assert outcome("DELETE FROM audit WHERE sequence = 5") is Verdict.ROLLED_BACK
    assert outcome("DELETE FROM audit WHERE sequence = 3") is Verdict.MISSING
    assert outcome("DELETE FROM audit WHERE sequence = 1") is Verdict.OLDEST_MISSING
    assert outcome("UPDATE audit SET entry = replace(entry, 'acme', 'acmf')") is Verdict.FORGED
    assert check(world).verdict is Verdict.CORRECT
    world.anchor_path.unlink()
    assert check(world).verdict is Verdict.NOT_EXCLUDED


def test_exported_files(world: StoreWorld, tmp_path: Path) -> None:
    with world.opened() as store:
        put(store)
    lines, cas = lines_of(world), world.keys.cas_key_hash
    file = tmp_path / "log"
    file.write_text("\n".join(lines) + "\n\n")
    assert check(world, file, directory=world.directory).verdict is Verdict.CORRECT
    assert check(world, file, directory=world.directory, cas_key_hash=CAS).verdict is Verdict.OTHER_CAS
    assert check(world, file, cas_key_hash=CAS).verdict is Verdict.OTHER_CAS
    assert check(world, file, cas_key_hash=cas).verdict is Verdict.NOT_EXCLUDED
    assert check(world, file, cas_key_hash=cas, last=parse(lines[-1]).signature).verdict is Verdict.CORRECT
    assert check(world, file, cas_key_hash=cas, last=parse(lines[0]).signature).verdict is Verdict.MISSING
    shown: list[str] = []
    check(world, file, cas_key_hash=cas, show=shown.append)
    assert shown == lines
    with world.opened() as store:
        put(store, hash_="h2")
    assert check(world, file, directory=world.directory).verdict is Verdict.NEWEST_MISSING
    file.write_text(lines[1] + "\n")
    assert check(world, file, directory=world.directory).verdict is Verdict.OLDEST_MISSING
    assert check(world, file, cas_key_hash=cas).verdict is Verdict.FORGED  # nothing says whose key that is
    with pytest.raises(UsageError, match="whose log"):
        check(world, file)
    with pytest.raises(UsageError, match="No such file"):
        check(world, tmp_path / "nothing", cas_key_hash=cas)


def test_no_cas_is_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(CasError, match="no CAS"):
        audit_check.verify_directory(tmp_path / "none")
    with pytest.raises(CasError, match="no CAS"):
        audit_check.verify_file(tmp_path / "f", directory=tmp_path / "none")
    assert not (tmp_path / "none").exists()
