"""Opening source files: no link is ever followed, wherever on the way it is and whenever it appears."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sconectl.errors import BuildFailed
from sconectl.image.build.source_files import SourceFiles, show_name, stamp_of


def read(*paths: Path) -> list[bytes]:
    found = []
    with SourceFiles() as files:
        for path in paths:
            with os.fdopen(files.open(str(path), stamp_of(path.lstat())), "rb") as file:
                found.append(file.read())
    return found


def test_files_in_any_order(tmp_path: Path) -> None:
    names = ["a/b/c", "a/b/d", "a/e", "x", "a/b/c/../c", "a/bb/c", "a/b/c"]
    for name in ("a/b/c", "a/b/d", "a/e", "x", "a/bb/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    paths = [tmp_path / name for name in names if ".." not in name]
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    assert read(*paths) == [name.encode() for name in names if ".." not in name]
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


@pytest.mark.parametrize("swapped", ["a", "a/b", "a/b/f"])
def test_a_link_that_was_put_there_meanwhile(tmp_path: Path, swapped: str) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/f").write_text("x")
    stamp = stamp_of((tmp_path / "a/b/f").lstat())
    (tmp_path / swapped).rename(tmp_path / "moved")
    (tmp_path / swapped).symlink_to(tmp_path / "moved")
    with SourceFiles() as files, pytest.raises(BuildFailed, match="changed while it was read"):
        files.open(str(tmp_path / "a/b/f"), stamp)


def test_what_is_no_file_any_more_does_not_stop_us(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder", "gone"):
        with SourceFiles() as files, pytest.raises(BuildFailed, match="changed while it was read"):
            files.open(str(tmp_path / name), None)


def test_files_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_text("x")
    with SourceFiles() as files:
        files.open(str(tmp_path / "f"), None)
        monkeypatch.setattr(os, "open", _refuse)
        with pytest.raises(BuildFailed, match="may not be read"):
            files.open(str(tmp_path / "f"), None)


def _refuse(*_given: object, **_more: object) -> int:
    raise PermissionError(13, "Permission denied")


def test_names_are_shown_on_one_line() -> None:
    assert show_name("a b/größe\n\x1b[31m\udcff") == "a b/größe\\n\\x1b[31m\\xff"
