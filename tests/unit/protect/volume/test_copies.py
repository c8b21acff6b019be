"""Small files that are mapped: little is written of them, and they are what was committed, whatever happens to them."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from protect.volume.worlds import open_volume, picture
from sconectl.protect.volume.digests import MOST_COPIED
from sconectl.protect.volume.hints import Hints


@pytest.fixture
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def mapped(file: Path) -> Hints:
    """Return the hints for a commit of a volume in which a program has this file mapped."""
    inode = file.stat().st_ino
    return Hints(mapped={inode}, modified={inode})


def test_little_is_written_of_a_block_that_changed_a_little(memory: Path, tmp_path: Path) -> None:
    volume = open_volume(tmp_path, memory / "1", None)
    file = memory / "1/shm"
    file.write_bytes(os.urandom(32 << 10))
    volume.commit(Hints(everything=True, mapped={file.stat().st_ino}))
    handle = os.open(file, os.O_RDWR)
    os.pwrite(handle, b"1", 5)
    volume.commit(mapped(file))
    before = volume._journal_bytes()
    for number in range(10):
        os.pwrite(handle, b"%d" % number, 100)
        os.pwrite(handle, b"%d" % number, 20000)
        assert volume.commit(mapped(file))
    assert volume._journal_bytes() - before < 10 * 2000
    volume.close()
    open_volume(tmp_path, memory / "2", volume.state).close()
    assert picture(memory / "2") == picture(memory / "1")


def test_no_copy_is_kept_of_a_file_that_has_grown_large(memory: Path, tmp_path: Path) -> None:
    volume = open_volume(tmp_path, memory / "1", None)
    file = memory / "1/shm"
    file.write_bytes(bytes(MOST_COPIED))
    volume.commit(Hints(everything=True, mapped={file.stat().st_ino}))
    volume.commit(mapped(file))
    with file.open("ab") as handle:
        handle.write(os.urandom(MOST_COPIED))
    volume.commit(mapped(file))
    assert not volume._digests._copies
    volume.close()
    open_volume(tmp_path, memory / "2", volume.state).close()
    assert picture(memory / "2") == picture(memory / "1")


def broken(_handle: int) -> NoReturn:
    raise OSError(errno.EIO, "input/output error")


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_the_committed_content_is_found_again(
    memory: Path, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    volume = open_volume(tmp_path, memory / "0", None)
    files = [memory / f"0/{name}" for name in ("a", "b")]
    for file in files:
        file.write_bytes(draw.randbytes(draw.choice((100, 65536, 70000, 200000, MOST_COPIED, MOST_COPIED + 1))))
    volume.commit(Hints(everything=True))
    for step in range(30):
        hints = Hints()
        for file in files:
            inode = file.stat().st_ino
            is_located = draw.random() < 0.3
            with file.open("r+b") as handle:
                for _ in range(draw.randrange(4)):
                    data = bytes([draw.randrange(2)]) * draw.choice((1, 511, 512, 4096, 70000))  # often what it was
                    offset = min(draw.choice((0, 1, 512, 65000, 65536)), file.stat().st_size)
                    os.pwrite(handle.fileno(), data, offset)
                    hints.add_write(inode, offset, len(data))
                if draw.random() < 0.2:
                    is_located = False
                    os.ftruncate(handle.fileno(), draw.choice((0, 10, 65536, 100000, MOST_COPIED, MOST_COPIED + 100)))
            if is_located:
                hints.explained.add(inode)
            else:
                hints.mapped.add(inode)
            hints.modified.add(inode)
        if draw.random() < 0.1:
            hints.everything = True
        if draw.random() < 0.2:
            with monkeypatch.context() as patch, contextlib.suppress(OSError):
                patch.setattr(os, "fdatasync", broken)
                volume.commit(hints)
            if draw.random() < 0.5:
                for file in files:  # what was not committed is taken back
                    os.truncate(file, min(file.stat().st_size, 1000))
                    hints.mapped.add(file.stat().st_ino)
        volume.commit(hints, final=draw.random() < 0.1)
        if draw.random() < 0.2:
            volume.close()
            root = memory / f"after-{step}"
            volume = open_volume(tmp_path, root, volume.state)
            assert picture(root) == picture(files[0].parent)
            files = [root / file.name for file in files]
    volume.close()
    open_volume(tmp_path, memory / "last", volume.state).close()
    assert picture(memory / "last") == picture(files[0].parent)
