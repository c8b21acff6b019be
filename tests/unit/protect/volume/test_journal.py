"""A journal on file systems that can be written to past the kernel's cache, and on those that cannot."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sconectl.protect.volume.journal import RESERVE, STATE, Journal, OldJournal

KEY, BASE = bytes(range(32)), b"b" * STATE
BLOCK = 4096


def begun(path: Path) -> Journal:
    return Journal(KEY, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), 1, BASE)


def commits_in(path: Path) -> list[tuple[bytes, bytes]]:
    """Read what an opening would: the text of each commit, and the state after it."""
    found, text = [], b""
    journal = OldJournal(KEY, os.open(path, os.O_RDONLY))
    for frame in journal.frames():
        text += bytes(frame.plain)
        if frame.state is not None:
            found.append((text, frame.state))
            text = b""
    journal.close()
    return found


class FileSystem:
    """What a file system does with writes past the cache, and how many of them it has done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opens = True
        self.done: list[int] = []
        self.fails: Callable[[int], int | None] = lambda _length: None
        """By the length of a write past the cache: how many bytes are written (below 0: the number of an error)."""
        self.syncs = 0
        self._open, self._write, self._sync = os.open, os.pwrite, os.fdatasync
        self._direct: set[int] = set()
        for name in ("open", "pwrite", "fdatasync"):
            monkeypatch.setattr(os, name, getattr(self, name))

    def open(self, path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_DIRECT and not self.opens:
            raise OSError(errno.EINVAL, "invalid argument")
        handle = self._open(path, flags, *more, **named)
        self._direct.discard(handle)
        if flags & os.O_DIRECT:
            assert flags & os.O_DSYNC
            self._direct.add(handle)
        return handle

    def pwrite(self, handle: int, data: memoryview, offset: int) -> int:
        if handle not in self._direct:
            return self._write(handle, data, offset)
        assert offset % BLOCK == len(data) % BLOCK == 0
        given = self.fails(len(data))
        if given is not None and given < 0:
            raise OSError(-given, os.strerror(-given))
        self.done.append(len(data))
        return self._write(handle, data[:given], offset)

    def fdatasync(self, handle: int) -> None:
        self.syncs += 1
        self._sync(handle)


@pytest.fixture
def file_system(monkeypatch: pytest.MonkeyPatch) -> FileSystem:
    return FileSystem(monkeypatch)


def test_small_commits_are_durable_with_one_write(tmp_path: Path, file_system: FileSystem) -> None:
    journal = begun(tmp_path / "j")
    journal.add(b"first")
    journal.commit()  # this one reserves
    assert (file_system.done, file_system.syncs) == ([RESERVE], 1)
    for number in range(100):
        journal.add(b"%d" % number * 500)
        journal.commit()
    assert file_system.syncs == 1
    assert len(file_system.done) == 101
    assert set(file_system.done[1:]) == {BLOCK, 2 * BLOCK}  # some begin in one block and end in the next one
    journal.close()
    assert [text for text, _ in commits_in(tmp_path / "j")] == [b"first", *(b"%d" % n * 500 for n in range(100))]


@pytest.mark.parametrize("where", ["open", "write", "write, later"])
def test_a_file_system_that_cannot_be_written_to_past_its_cache(
    tmp_path: Path, file_system: FileSystem, where: str
) -> None:
    file_system.opens = where != "open"
    file_system.fails = lambda length: -errno.EINVAL if where == "write" or length < RESERVE else None
    journal = begun(tmp_path / "j")
    for number in range(10):
        journal.add(b"%d" % number)
        journal.commit()
    assert file_system.syncs == 10
    assert (tmp_path / "j").stat().st_size > RESERVE
    journal.close()
    assert [text for text, _ in commits_in(tmp_path / "j")] == [b"%d" % number for number in range(10)]


def test_a_write_past_the_cache_that_fails_is_no_commit(tmp_path: Path, file_system: FileSystem) -> None:
    journal = begun(tmp_path / "j")
    for text in (b"first", b"second"):
        journal.add(text)
        state = journal.commit()
    file_system.fails = lambda _length: -errno.EIO
    journal.add(b"lost")
    with pytest.raises(OSError, match="Input/output"):
        journal.commit()
    assert journal.state == state
    assert [text for text, _ in commits_in(tmp_path / "j")] == [b"first", b"second"]
    journal.add(b"third")
    journal.commit()
    journal.close()
    assert [text for text, _ in commits_in(tmp_path / "j")] == [b"first", b"second", b"third"]


def test_a_block_that_cannot_be_read_back_is_not_written_anew(
    tmp_path: Path, file_system: FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = begun(tmp_path / "j")
    with monkeypatch.context() as patch:  # as if somebody had cut off the file
        patch.setattr(os, "preadv", lambda *_arguments: 0)
        journal.add(b"first")
        journal.commit()
    for text in (b"second", b"third"):
        journal.add(text)
        journal.commit()
    assert (file_system.done, file_system.syncs) == ([RESERVE, BLOCK], 2)
    journal.close()
    assert [text for text, _ in commits_in(tmp_path / "j")] == [b"first", b"second", b"third"]


@pytest.mark.parametrize("seed", range(60))
def test_any_sequence_of_commits_can_be_read_back_after_each(
    tmp_path: Path, file_system: FileSystem, seed: int
) -> None:
    draw = random.Random(seed)
    file_system.opens = seed % 5 != 0
    moods = {
        "well": lambda _length: None,
        "short": lambda length: draw.randrange(length // BLOCK) * BLOCK,
        "refuses": lambda _length: -errno.EINVAL,
        "broken": lambda _length: -errno.EIO,
        "full": lambda length: -errno.ENOSPC if length == RESERVE else None,
    }
    journal = begun(tmp_path / "j")
    expected: list[tuple[bytes, bytes]] = []
    for _ in range(40):
        file_system.fails = moods[draw.choice(["well"] * 8 + [mood for mood in moods if mood != "refuses" or seed % 3])]
        lengths = [draw.choice((1, 100, BLOCK - 33, BLOCK, 5000, 70_000)) for _ in range(draw.randrange(1, 4))]
        if draw.random() < 0.1:
            lengths += [1 << 20] * draw.randrange(1, 4)
        text = b""
        for length in lengths:
            text += (added := draw.randbytes(length))
            journal.add(added)
        if draw.random() < 0.1:
            journal.give_up()
            continue
        try:
            state = journal.commit()
        except OSError:
            assert journal.state == (expected[-1][1] if expected else BASE)
        else:
            expected.append((text, state))
        assert commits_in(tmp_path / "j") == expected
    journal.close()
    assert commits_in(tmp_path / "j") == expected
    assert (tmp_path / "j").stat().st_size == journal.size
