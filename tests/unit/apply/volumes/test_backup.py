"""Backups of the storage of a volume: of one moment, whatever the program does meanwhile."""

from __future__ import annotations

import os
import stat
import threading
import time
from pathlib import Path

import pytest
from protect.volume.worlds import look_everywhere, open_volume, picture

from sconectl.apply.volumes import backup as backups
from sconectl.apply.volumes.backup import Copied, back_up, restore
from sconectl.errors import BuildFailed, Refused, UsageError
from sconectl.protect.volume.hints import Hints
from sconectl.protect.volume.index import FILE
from sconectl.protect.volume.storage import Storage
from sconectl.protect.volume.volume import Volume


class Program:
    """A program that writes to a volume, and what it has committed."""

    def __init__(self, place: Path) -> None:
        self.mount, self.live = place / "mount", place / "live"
        self.mount.mkdir()
        self.volume: Volume = open_volume(self.mount, self.live, None)
        self.pictures = {self.volume.state: picture(self.live)}

    def write(self, number: int) -> bytes:
        """Change three files together, and commit: nobody may ever see two of them from different times."""
        for name in ("a", "deep/b", "deep/c"):
            path = self.live / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(f"{number} ".encode() * 5000)
        (self.live / f"once-{number % 7}").write_text(str(number))
        (self.live / f"once-{(number + 3) % 7}").unlink(missing_ok=True)
        state = self.volume.commit(look_everywhere())
        assert state is not None
        self.pictures[state] = picture(self.live)
        return state

    def fold(self) -> bytes:
        state = self.volume.commit(Hints(), final=True)
        assert state is not None
        self.pictures[state] = picture(self.live)
        return state


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def opened(storage: Path, live: Path, tag: bytes) -> Volume:
    return open_volume(storage, live, tag)


def test_a_backup_of_a_program_that_has_ended(program: Program, tmp_path: Path) -> None:
    program.write(1)
    program.fold()
    state = program.write(2)
    program.volume.close()
    copied = back_up(program.mount, tmp_path / "copy")
    assert copied.claimed.newest == state and copied.claimed.encrypted and not copied.left_out
    found = opened(tmp_path / "copy", tmp_path / "again", state)
    assert picture(tmp_path / "again") == program.pictures[state]
    found.close()
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700


def test_a_backup_of_a_running_program_is_of_one_moment(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "_PAUSE", 0.01)
    program.write(0)
    ended = threading.Event()
    faults: list[BaseException] = []

    def run() -> None:
        number = 1
        try:
            while not ended.wait(0.002):
                program.write(number)
                if number % 40 == 0:
                    program.fold()
                number += 1
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    copies: list[tuple[bytes, Copied, Path]] = []
    try:
        for number in range(12):
            while copies and program.volume.state == copies[-1][1].claimed.newest:
                time.sleep(0.001)
            before = program.volume.state
            copies.append((before, back_up(program.mount, tmp_path / f"copy-{number}"), tmp_path / f"copy-{number}"))
    finally:
        ended.set()
        thread.join()
    assert not faults
    program.volume.close()
    for number, (before, copied, place) in enumerate(copies):
        live = tmp_path / f"live-{number}"
        volume = opened(place, live, before)  # it has what the CAS had when the backup began, and perhaps more
        assert volume.state == copied.claimed.newest
        assert picture(live) == program.pictures[volume.state]
        volume.close()
    assert len({copied.claimed.newest for _, copied, _ in copies}) == len(copies)


def test_a_checkpoint_in_between_begins_the_copy_anew(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "_PAUSE", 0)
    program.write(1)
    program.fold()
    program.write(2)
    states: list[bytes] = []
    copy_file = backups._copy_file

    def checkpoint_first(source: int, target: int) -> int:
        if not states:
            states.append(program.fold())
        return copy_file(source, target)

    monkeypatch.setattr(backups, "_copy_file", checkpoint_first)
    copied = back_up(program.mount, tmp_path / "copy")
    assert copied.claimed.newest == states[0]
    program.volume.close()
    opened(tmp_path / "copy", tmp_path / "again", states[0]).close()
    assert picture(tmp_path / "again") == program.pictures[states[0]]


def test_a_checkpoint_that_never_ends(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "_PAUSE", 0)
    program.write(1)
    state = program.fold()
    (program.mount / "volume.next").mkdir(exist_ok=True)
    back_up(program.mount, tmp_path / "early")  # nothing was put in place yet
    (program.mount / "volume.next" / f"unplaced-{state.hex()}").touch()
    with pytest.raises(Refused, match="faster than they can be copied"):
        back_up(program.mount, tmp_path / "copy")
    program.volume.close()
    back_up(program.mount, tmp_path / "other")  # what a crash has left is copied with the rest


def test_a_torn_commit_is_not_a_state(program: Program, tmp_path: Path) -> None:
    first = program.write(1)
    program.write(2)
    program.volume.close()
    (journal,) = program.mount.glob("volume.journal.*")
    os.truncate(journal, journal.stat().st_size - 1)
    copied = back_up(program.mount, tmp_path / "copy")
    assert copied.claimed.newest == first
    opened(tmp_path / "copy", tmp_path / "again", first).close()
    assert picture(tmp_path / "again") == program.pictures[first]


def test_a_restore(program: Program, tmp_path: Path) -> None:
    old = program.write(1)
    program.fold()
    back_up(program.mount, tmp_path / "copy")
    program.write(2)
    with pytest.raises(Refused, match="a program is using this storage"):
        restore(tmp_path / "copy", program.mount, replace=True)
    program.volume.close()
    with pytest.raises(Refused, match=r"something in .* already"):
        restore(tmp_path / "copy", program.mount, replace=False)
    restored = restore(tmp_path / "copy", program.mount, replace=True)
    live = tmp_path / "again"
    volume = opened(program.mount, live, old)
    assert volume.state == restored.claimed.newest
    assert picture(live) == program.pictures[volume.state]
    volume.close()
    (tmp_path / "fresh").mkdir()
    assert restore(tmp_path / "copy", tmp_path / "fresh", replace=False).claimed == restored.claimed


def test_a_restore_that_is_interrupted_leaves_no_volume(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.write(1)
    program.volume.close()
    back_up(program.mount, tmp_path / "copy")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(backups, "_copy_file", full)
        with pytest.raises(BuildFailed, match="No space left"):
            restore(tmp_path / "copy", program.mount, replace=True)
    assert not (program.mount / FILE).exists()
    restore(tmp_path / "copy", program.mount, replace=True)
    assert (program.mount / FILE).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_is_restored_belongs_to_whom_the_storage_belongs(program: Program, tmp_path: Path) -> None:
    program.write(1)
    program.volume.close()
    back_up(program.mount, tmp_path / "copy")
    target = tmp_path / "target"
    target.mkdir()
    os.chown(target, 1234, 5678)
    restore(tmp_path / "copy", target, replace=False)
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in target.rglob("*")}
    assert owners == {(1234, 5678)}


def test_what_is_no_volume_and_what_is_no_place(program: Program, tmp_path: Path) -> None:
    program.write(1)
    program.volume.close()
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(Refused, match="no volume here"):
        back_up(empty, tmp_path / "copy-0")
    with pytest.raises(Refused, match="no volume here"):
        restore(empty, program.mount, replace=True)
    with pytest.raises(UsageError, match="No such file"):
        back_up(tmp_path / "nothing", tmp_path / "copy-1")
    with pytest.raises(UsageError, match="is there already"):
        back_up(program.mount, program.mount)
    (program.mount / FILE).write_bytes(b"x")
    with pytest.raises(Refused, match="cut off"):
        back_up(program.mount, tmp_path / "copy-2")


def test_links_and_pipes_of_somebody_else_are_left_out(program: Program, tmp_path: Path) -> None:
    state = program.write(1)
    program.volume.close()
    (tmp_path / "secret").write_text("of the machine")
    (program.mount / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(program.mount / "pipe")
    copied = back_up(program.mount, tmp_path / "copy")
    assert sorted(copied.left_out) == [b"link", b"pipe"]
    assert not (tmp_path / "copy" / "link").exists()
    opened(tmp_path / "copy", tmp_path / "again", state).close()


def test_what_cannot_be_read_is_not_left_out(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program.write(1)
    program.fold()
    program.volume.close()

    def broken(*_: object) -> int:
        raise OSError(5, "Input/output error", "a")

    monkeypatch.setattr(Storage, "open", broken)
    with pytest.raises(BuildFailed, match="Input/output error"):
        back_up(program.mount, tmp_path / "copy")


def test_holes_stay_holes(program: Program, tmp_path: Path) -> None:
    with (program.live / "sparse").open("wb") as file:
        file.truncate(300 << 20)
        file.seek(200 << 20)
        file.write(b"x" * 5000)
    program.volume.commit(look_everywhere())
    program.volume.commit(Hints(), final=True)
    program.volume.close()
    back_up(program.mount, tmp_path / "copy")
    assert sum(path.stat().st_blocks for path in (tmp_path / "copy").rglob("*")) * 512 < 32 << 20
