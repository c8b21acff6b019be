"""A file system that is measured by several processes measures the same as by one."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from sconectl.protect import live
from sconectl.protect.index import UNREADABLE, Index
from sconectl.protect.live import scan

NOTHING = Index((), (), {})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    draw = random.Random(1)
    for number in range(300):
        folder = tmp_path / f"d{number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_bytes(draw.randbytes(draw.choice((0, 1, 1000, live._CHUNK, live._CHUNK + 1))))
    (tmp_path / "link").symlink_to("d1/f1")
    os.mkfifo(tmp_path / "d1/pipe")
    return tmp_path


@pytest.fixture
def in_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_MUCH", 0)
    monkeypatch.setattr(live, "_FILES", 10)


def test_several_processes_find_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = scan(str(root), NOTHING)
    monkeypatch.setattr(live, "_MUCH", 0)
    monkeypatch.setattr(live, "_FILES", 10)
    forks, fork = list[int](), os.fork

    def counted() -> int:
        forks.append(1)
        return fork()

    monkeypatch.setattr(os, "fork", counted)
    assert scan(str(root), alone.index) == scan(str(root), NOTHING) == alone
    assert len(forks) == 2
    assert len(alone.index.entries) == 300 + 7 + 2


def test_each_change_is_found(root: Path, in_parallel: None) -> None:
    before = scan(str(root), NOTHING).index
    for number in (0, 150, 299):
        file = root / f"d{number % 7}/f{number}"
        content = file.read_bytes()
        file.write_bytes(content + b"x")
        changed = scan(str(root), before).index.entries
        assert {path for path in before.entries if changed[path] != before.entries[path]} == {
            f"/d{number % 7}/f{number}"
        }
        file.write_bytes(content)


def test_files_that_go_or_cannot_be_read_meanwhile(
    root: Path, in_parallel: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = live._read_entry

    def sometimes(path: str, buffer: memoryview) -> tuple[str, ...]:
        if path.endswith("/f10"):
            raise FileNotFoundError(path)
        if path.endswith("/f11"):
            raise PermissionError(path)
        return read(path, buffer)

    monkeypatch.setattr(live, "_read_entry", sometimes)
    entries = scan(str(root), NOTHING).index.entries
    assert "/d3/f10" not in entries
    assert entries["/d4/f11"] == UNREADABLE


@pytest.mark.parametrize("size", ["-1", "x", "1" * 40, "٣", ""])
def test_an_index_that_somebody_made_up_only_measures_as_another(root: Path, in_parallel: None, size: str) -> None:
    expected = Index((), (), {"/d1/f1": ("f", "644", size, "00"), "/d2/f2": ("f",), "/d3/f3": ()})
    assert scan(str(root), expected).index.entries == scan(str(root), NOTHING).index.entries


def test_no_result_without_the_part_of_a_process_that_was_killed(
    root: Path, in_parallel: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, read = os.getpid(), live._read_entry

    def killed(path: str, buffer: memoryview) -> tuple[str, ...]:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(path, buffer)

    monkeypatch.setattr(live, "_read_entry", killed)
    with pytest.raises(OSError, match="signal 9"):
        scan(str(root), NOTHING)
