"""Looking up inodes without asking for times."""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sconectl.runtime.system_calls import kernel


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_it_is_that_of_the_entry(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "link").symlink_to("file")
    for name in (b"file", b"link", b""):
        path = os.fsencode(folder) + b"/" + name
        assert kernel.inode_at(path) == os.lstat(path).st_ino
    with pytest.raises(FileNotFoundError):
        kernel.inode_at(os.fsencode(folder / "none"))
    with pytest.raises(NotADirectoryError):
        kernel.inode_at(os.fsencode(folder / "file" / "none"))


def test_it_gives_no_file_a_time_of_its_own(folder: Path) -> None:
    """Files that are written one after the other have the same time, until the clock's next tick."""
    paths = [folder / str(number) for number in range(200)]
    for path in paths:
        handle = os.open(path, os.O_CREAT | os.O_WRONLY)  # unlike `open`, which looks at what it has opened
        kernel.inode_at(os.fsencode(path))
        os.write(handle, b"x")
        os.close(handle)
    assert len({path.stat().st_mtime_ns for path in paths}) < len(paths) / 2


def test_profiles_that_do_not_know_the_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: object) -> int:
        ctypes.set_errno(errno.EPERM)
        return -1

    for statx in (refused, None):  # and C libraries that do not know it
        monkeypatch.setattr(kernel, "_statx", statx)
        assert kernel.inode_at(os.fsencode(folder)) == folder.stat().st_ino
        with pytest.raises(FileNotFoundError):
            kernel.inode_at(os.fsencode(folder / "none"))
