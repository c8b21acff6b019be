"""The log is moved into sealed segments: nothing is lost or doubled, and whatever happens to one of them is noticed."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sconectl.cas.audit.verification import AuditReport, Verdict
from sconectl.cas.maintenance import audit_check
from sconectl.cas.maintenance.backup import backup, restore
from sconectl.cas.store import audit_rotation, audit_segments
from sconectl.cas.store.store import Store
from sconectl.errors import CasError

from .store_world import StoreWorld, put

FOUR = 4


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


def fill(world: StoreWorld, store: Store, times: int = FOUR, each: int = 5) -> list[Path]:
    """Write entries and rotate after each few; return the segments."""
    made = []
    for round_ in range(times):
        for number in range(each):
            with store.writing() as transaction:
                transaction.record("session_read", session=f"s{round_}-{number}")
        path = audit_rotation.rotate(store, world.directory, 100)
        assert path is not None
        made.append(path)
    return made


def verified(world: StoreWorld, **options: Path | str) -> AuditReport:
    return audit_check.verify_directory(world.directory, anchor=world.anchor_path, **options)  # type: ignore[arg-type]


def numbers(world: StoreWorld) -> list[int]:
    with audit_check.opened(world.directory) as connection:
        return [json.loads(line)["sequence"] for line in audit_segments.lines(connection, world.directory)]


def filled(world: StoreWorld) -> list[Path]:
    with world.opened() as store:
        return fill(world, store)


def test_the_whole_log_is_there_and_verifies(world: StoreWorld) -> None:
    with world.opened() as store:
        segments = fill(world, store)
        assert audit_rotation.rotate(store, world.directory, 1 << 20) is None
        with store.reading() as transaction:
            assert len(list(transaction.audit_lines())) == 1, "the entry that closes the last segment"
        put(store)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in segments)
    assert segments[0].parent.stat().st_mode & 0o777 == 0o700
    report = verified(world)
    assert (report.verdict, report.faults, report.first) == (Verdict.CORRECT, [], 1)
    assert numbers(world) == list(range(1, report.entries + 1))
    with world.opened() as store:  # freshness, with an anchor in the database's part
        put(store, hash_="h2")
    assert verified(world).verdict is Verdict.CORRECT


def test_an_anchor_that_stayed_behind_in_a_segment(world: StoreWorld) -> None:
    with world.opened() as store:
        put(store)
    behind = world.anchor_path.read_bytes()
    filled(world)
    world.anchor_path.write_bytes(behind)
    with world.opened():
        pass
    world.anchor_path.write_bytes(behind)
    [first, *_] = sorted((world.directory / audit_segments.FOLDER).iterdir())
    content = gzip.decompress(first.read_bytes())
    first.write_bytes(gzip.compress(content.replace(b"s0-3", b"s0-9")))
    with pytest.raises(CasError, match="was changed"), world.opened():
        pass


def remove_first(segments: list[Path], _: Path) -> None:
    segments[0].unlink()


def remove_middle(segments: list[Path], _: Path) -> None:
    segments[1].unlink()


def remove_last(segments: list[Path], _: Path) -> None:
    segments[-1].unlink()


def cut(segments: list[Path], _: Path) -> None:
    os.truncate(segments[1], segments[1].stat().st_size - 20)


def emptied(segments: list[Path], _: Path) -> None:
    os.truncate(segments[1], 0)


def shorter(segments: list[Path], _: Path) -> None:
    lines = gzip.decompress(segments[1].read_bytes()).splitlines(keepends=True)
    segments[1].write_bytes(gzip.compress(b"".join(lines[:-1])))


def changed(segments: list[Path], _: Path) -> None:
    segments[1].write_bytes(gzip.compress(gzip.decompress(segments[1].read_bytes()).replace(b"s1-2", b"s1-9")))


def respelt(segments: list[Path], _: Path) -> None:
    segments[1].write_bytes(gzip.compress(gzip.decompress(segments[1].read_bytes()).replace(b'": ', b'":  ')))


def exchanged(segments: list[Path], _: Path) -> None:
    first, second = segments[1].read_bytes(), segments[2].read_bytes()
    segments[1].write_bytes(second)
    segments[2].write_bytes(first)


def doubled(segments: list[Path], _: Path) -> None:
    shutil.copy(segments[1], segments[2])


def foreign(segments: list[Path], other: Path) -> None:
    world = StoreWorld(other)
    shutil.copy(filled(world)[1], segments[1])


def rolled_back(segments: list[Path], _: Path) -> None:
    lines = gzip.decompress(segments[1].read_bytes()).splitlines(keepends=True)
    segments[1].write_bytes(gzip.compress(b"".join([*lines[:2], *lines[1:]])))


@pytest.mark.parametrize(
    ("damage", "verdict", "word"),
    [
        (remove_first, Verdict.OLDEST_MISSING, "--segments"),
        (remove_middle, Verdict.MISSING, "--segments"),
        (remove_last, Verdict.MISSING, "--segments"),
        (cut, Verdict.FORGED, "damaged"),
        (emptied, Verdict.FORGED, ""),
        (shorter, Verdict.FORGED, "name says"),
        (changed, Verdict.FORGED, "signature"),
        (respelt, Verdict.FORGED, "not as it was closed"),
        (exchanged, Verdict.FORGED, "name says"),
        (doubled, Verdict.FORGED, "name says"),
        (foreign, Verdict.FORGED, ""),
        (rolled_back, Verdict.FORGED, ""),
    ],
)
def test_whatever_happens_to_a_segment_is_noticed(
    world: StoreWorld, tmp_path: Path, damage: Callable[[list[Path], Path], None], verdict: Verdict, word: str
) -> None:
    segments = filled(world)
    assert verified(world).verdict is Verdict.CORRECT
    damage(segments, tmp_path / "other")
    report = verified(world)
    assert report.verdict is verdict, report.faults
    assert word in " ".join(report.faults)
    if damage is not remove_first:
        with pytest.raises(CasError, match="cannot be backed up"):
            backup(world.directory, tmp_path / "cas.tar", anchor=world.anchor_path)


def test_segments_that_were_moved_off(world: StoreWorld, tmp_path: Path) -> None:
    segments = filled(world)
    archive = tmp_path / "archive"
    archive.mkdir()
    last = json.loads(gzip.decompress(segments[1].read_bytes()).splitlines()[-1])
    for path in segments[:2]:
        shutil.move(path, archive)
    report = verified(world)
    assert report.verdict is Verdict.OLDEST_MISSING
    assert report.first == last["sequence"] + 1
    assert f"the entries before {report.first} are missing" in report.faults
    assert verified(world, segments=archive).verdict is Verdict.CORRECT
    assert verified(world, predecessor=last["signature"]).verdict is Verdict.CORRECT
    assert verified(world, predecessor="other").verdict is Verdict.OLDEST_MISSING
    moved, kept = archive / segments[0].name, segments[3]
    assert audit_check.verify_file(moved, directory=world.directory).verdict is Verdict.NOT_EXCLUDED
    before = json.loads(gzip.decompress(segments[2].read_bytes()).splitlines()[-1])["signature"]
    assert (
        audit_check.verify_file(kept, directory=world.directory, predecessor=before).verdict is Verdict.NEWEST_MISSING
    )
    with world.opened() as store:
        put(store)
    backup(world.directory, tmp_path / "cas.tar", anchor=world.anchor_path)
    restore(tmp_path / "cas.tar", world.directory, replace=True, anchor=world.anchor_path)
    assert verified(world).verdict is Verdict.OLDEST_MISSING


def test_a_backup_carries_the_segments(world: StoreWorld, tmp_path: Path) -> None:
    segments = filled(world)
    before = numbers(world)
    backup(world.directory, tmp_path / "cas.tar", anchor=world.anchor_path)
    elsewhere = StoreWorld(tmp_path / "new")
    restore(tmp_path / "cas.tar", elsewhere.directory, anchor=elsewhere.anchor_path)
    assert verified(elsewhere).verdict is Verdict.CORRECT
    assert numbers(elsewhere)[: len(before)] == before
    for path in segments:
        copy = elsewhere.directory / audit_segments.FOLDER / path.name
        assert copy.read_bytes() == path.read_bytes()
        assert copy.stat().st_mode & 0o777 == 0o600


def test_what_a_killed_rotation_left_is_cleared(world: StoreWorld) -> None:
    with world.opened() as store:
        segments = fill(world, store)
        folder = segments[0].parent
        with store.reading() as transaction:
            [line] = transaction.audit_lines()
        number = json.loads(line)["sequence"]
        leftover = folder / f"{number:012}-{number:012}.jsonl.gz"
        leftover.write_bytes(gzip.compress(line.encode() + b"\n"))
        (folder / f".{leftover.name}.0123").write_bytes(b"half")
        assert verified(world).verdict is Verdict.CORRECT
        [last] = fill(world, store, times=1)
    assert sorted(folder.iterdir()) == sorted([*segments, last])
    assert verified(world).verdict is Verdict.CORRECT


WRITER = """
import sys
from pathlib import Path
from cas.store_world import StoreWorld
from sconectl.cas.store import audit_rotation
world = StoreWorld(Path(sys.argv[1]))
with world.opened() as store:
    print("open", flush=True)
    number = 0
    while True:
        number += 1
        with store.writing() as transaction:
            transaction.record("session_read", session=f"s{number}")
        if number % 3 == 0:
            audit_rotation.rotate(store, world.directory, 200)
"""


def test_kill_9_loses_and_doubles_nothing(world: StoreWorld, tmp_path: Path) -> None:
    with world.opened() as store:
        put(store)
    chance = random.Random()
    for _ in range(6):
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            time.sleep(chance.uniform(0.01, 0.3))
            process.send_signal(signal.SIGKILL)
        report = verified(world)
        assert report.verdict is Verdict.CORRECT, report.faults
        found = numbers(world)
        assert found == list(range(1, len(found) + 1))
    assert len(list((world.directory / audit_segments.FOLDER).glob("0*.gz"))) > 1
