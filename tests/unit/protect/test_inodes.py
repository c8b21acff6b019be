"""The status of files, without their times."""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sconectl.protect import inodes


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def _refused(*_arguments: object) -> int:
    ctypes.set_errno(errno.EPERM)
    return -1


@pytest.mark.parametrize("call", [inodes._statx, _refused, None], ids=["statx", "seccomp profile", "C library"])
def test_it_is_what_others_say(folder: Path, monkeypatch: pytest.MonkeyPatch, call: object) -> None:
    """Also where a seccomp profile or the C library does not know the call."""
    monkeypatch.setattr(inodes, "_statx", call)
    (folder / "file").write_bytes(bytes(100_000))
    (folder / "link").symlink_to("file")
    for name in (b"file", b"link", b""):
        path = os.fsencode(folder) + b"/" + name
        assert inodes.inode_at(path) == os.lstat(path).st_ino
    with pytest.raises(FileNotFoundError):
        inodes.inode_at(os.fsencode(folder / "none"))
    with pytest.raises(NotADirectoryError):
        inodes.inode_at(os.fsencode(folder / "file" / "none"))
    with (folder / "file").open("r+b") as file:
        for size in (100_000, 1, 0):
            file.truncate(size)
            assert inodes.inode_of(file.fileno()) == os.fstat(file.fileno()).st_ino
            assert inodes.blocks_of(file.fileno()) == os.fstat(file.fileno()).st_blocks
    for look in (inodes.inode_of, inodes.blocks_of):
        with pytest.raises(OSError, match="Bad file descriptor"):
            look(1 << 20)


@pytest.mark.parametrize("look", [inodes.inode_of, inodes.blocks_of, None])
def test_it_gives_no_file_a_time_of_its_own(folder: Path, look: Callable[[int], int] | None) -> None:
    """Files that are written one after the other have the same time, until the clock's next tick."""
    paths = [folder / str(number) for number in range(200)]
    for path in paths:
        handle = os.open(path, os.O_CREAT | os.O_WRONLY)  # unlike `open`, which looks at what it has opened
        look(handle) if look else inodes.inode_at(os.fsencode(path))
        os.write(handle, b"x")
        os.close(handle)
    assert len({path.stat().st_mtime_ns for path in paths}) < len(paths) / 2
