"""What a sync of one file leaves for a commit of all: times, with fdatasync, and other files that are mapped."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from protect.volume.worlds import open_volume, picture
from sconectl.protect.volume.hints import Hints
from sconectl.protect.volume.volume import Volume


@pytest.fixture
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def begun(memory: Path, storage: Path, *names: str) -> tuple[Volume, list[Path]]:
    """Return a volume with these files, committed."""
    volume = open_volume(storage, memory / "0", None)
    files = [memory / f"0/{name}" for name in names]
    for file in files:
        file.write_bytes(os.urandom(70_000))
        os.utime(file, (1, 1))
    volume.commit(Hints(everything=True))
    return volume, files


def inode(file: Path) -> int:
    return file.stat().st_ino


def opened_again(volume: Volume, memory: Path, storage: Path) -> Path:
    """Return where the files are that are there after a crash."""
    number = len(list(memory.iterdir()))
    copy = shutil.copytree(storage, storage.with_name(f"{storage.name}-{number}"))
    open_volume(copy, memory / f"again-{number}", volume.state).close()
    return memory / f"again-{number}"


def change(file: Path) -> bytes:
    """Change a file as through a mapping; return its content."""
    with file.open("r+b") as handle:
        handle.write(os.urandom(100))
    return file.read_bytes()


def test_times_follow_a_sync_of_data(memory: Path, tmp_path: Path) -> None:
    volume, [file] = begun(memory, tmp_path, "a")
    content = change(file)
    hints = Hints(modified={inode(file)})
    assert volume.commit(hints, inode(file), data_only=True)
    after = opened_again(volume, memory, tmp_path) / "a"
    assert after.read_bytes() == content and after.stat().st_mtime == 1
    assert not hints.is_empty, "nobody would look at the times again"
    assert volume.commit(hints)
    assert hints.is_empty
    assert picture(opened_again(volume, memory, tmp_path)) == picture(memory / "0")


def test_a_sync_of_all_that_a_file_is_keeps_its_times(memory: Path, tmp_path: Path) -> None:
    volume, [file] = begun(memory, tmp_path, "a")
    change(file)
    volume.commit(Hints(modified={inode(file)}), inode(file))
    assert picture(opened_again(volume, memory, tmp_path)) == picture(memory / "0")


def test_mapped_files_wait_for_their_own_sync_or_one_of_all(memory: Path, tmp_path: Path) -> None:
    volume, [log, index] = begun(memory, tmp_path, "log", "index")
    hints = Hints(mapped={inode(index)})
    before = index.read_bytes()
    for ask in (inode(index), None):
        log_content, index_content = change(log), change(index)
        hints.modified |= {inode(log), inode(index)}
        assert volume.commit(hints, inode(log), data_only=True)
        after = opened_again(volume, memory, tmp_path)
        assert (after / "log").read_bytes() == log_content and (after / "index").read_bytes() == before
        assert not hints.is_empty
        assert volume.commit(hints, ask)
        before = (opened_again(volume, memory, tmp_path) / "index").read_bytes()
        assert before == index_content


def test_a_new_file_that_is_mapped_does_not_wait(memory: Path, tmp_path: Path) -> None:
    volume, [log] = begun(memory, tmp_path, "log")
    new = log.with_name("new")
    new.write_bytes(b"content")
    hints = Hints(names={(inode(log.parent), b"new")}, mapped={inode(new)}, modified={inode(log)})
    volume.commit(hints, inode(log), data_only=True)
    assert (opened_again(volume, memory, tmp_path) / "new").read_bytes() == b"content"


def broken(*_arguments: object) -> NoReturn:
    raise OSError(errno.EIO, "input/output error")


@pytest.mark.parametrize("seed", range(40))
def test_a_sync_keeps_its_file_and_a_commit_keeps_all(
    memory: Path, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    volume, files = begun(memory, tmp_path, "a", "b", "c")
    hints = Hints(mapped={inode(files[2])})
    for _ in range(25):
        for file in files:
            for _ in range(draw.randrange(3)):
                data = draw.randbytes(draw.choice((1, 4096, 70_000)))
                with file.open("r+b") as handle:
                    offset = draw.randrange(1 + file.stat().st_size)
                    os.pwrite(handle.fileno(), data, offset)
                if draw.random() < 0.5:
                    hints.modified.add(inode(file))
                else:
                    hints.add_write(inode(file), offset, len(data))
                    hints.explained.add(inode(file))
                hints.explained -= hints.modified | hints.mapped
            if draw.random() < 0.1:
                file.chmod(draw.choice((0o600, 0o644)))
                hints.attributes.add(inode(file))
        target = draw.choice((None, *files))
        if draw.random() < 0.2:
            with monkeypatch.context() as patch, pytest.raises(OSError, match="input/output"):
                patch.setattr(os, "pwrite", broken)
                patch.setattr(os, "fdatasync", broken)
                patch.setattr(os, "fsync", broken)
                files[0].write_bytes(draw.randbytes(100))
                hints.modified.add(inode(files[0]))
                hints.explained.discard(inode(files[0]))
                volume.commit(hints, draw.choice((None, inode(files[0]))), data_only=draw.random() < 0.5)
        volume.commit(hints, inode(target) if target else None, data_only=target is not None and draw.random() < 0.7)
        after = opened_again(volume, memory, tmp_path)
        if target is None:
            assert picture(after) == picture(memory / "0")
        else:
            there = after / target.name
            assert there.read_bytes() == target.read_bytes() and there.stat().st_mode == target.stat().st_mode
    volume.commit(hints, final=True)
    assert picture(opened_again(volume, memory, tmp_path)) == picture(memory / "0")
