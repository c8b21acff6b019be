"""The digest of copied files: what changed is seen, what did not is not read, and the memory cannot do harm."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sconectl.apply.sources import source_digest
from sconectl.apply.sources.source_digest import copied_digest
from sconectl.apply.sources.sources import CopiedTree, find_copied
from sconectl.errors import BuildFailed
from sconectl.image.build.native_build import CopiedFile
from sconectl.image.build.source_files import SourceFiles
from sconectl.text.yaml_tree import parse

LONG_AGO = time.time_ns() - 3600 * 10**9


class Project:
    """A directory with a few files that were written long ago."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.cache = root / "project", root / "cache"
        self.opened: list[str] = []
        for name in ("a.py", "d/b.py", "d/c.py"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(name)
        (self.root / "link").symlink_to("a.py")
        # A status change time cannot be set, so the clock is moved instead.
        self.later(monkeypatch)
        real = SourceFiles.open_unseen

        def note(files: SourceFiles, path: str) -> int:
            self.opened.append(path)
            return real(files, path)

        monkeypatch.setattr(SourceFiles, "open_unseen", note)

    def later(self, monkeypatch: pytest.MonkeyPatch, seconds: int = 3600) -> None:
        now = time.time_ns
        monkeypatch.setattr(source_digest, "time", type("Clock", (), {"time_ns": lambda: now() + seconds * 10**9}))

    def tree(self) -> CopiedTree:
        return find_copied(["."], "/app", self.root, parse("build: {copy: [.]}", "service.yaml"))

    def digest(self) -> str:
        self.opened.clear()
        return copied_digest(self.tree(), self.cache)

    def memory(self) -> Path:
        (file,) = self.cache.iterdir()
        return file


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


def test_what_nobody_touched_is_not_read_again(project: Project) -> None:
    first = project.digest()
    assert len(project.opened) == 3
    assert project.digest() == first
    assert project.opened == []


def _write(root: Path) -> None:
    (root / "a.py").write_text("A.PY")


def _write_keeping_times(root: Path) -> None:
    before = (root / "a.py").stat()
    (root / "a.py").write_text("A.PY")
    os.utime(root / "a.py", ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(root: Path) -> None:
    (root / "new").write_text("A.PY")
    (root / "new").replace(root / "a.py")


def _mode(root: Path) -> None:
    (root / "a.py").chmod(0o755)


def _remove(root: Path) -> None:
    (root / "d/c.py").unlink()


def _add(root: Path) -> None:
    (root / "d/new").write_text("")


def _rename(root: Path) -> None:
    (root / "d/c.py").rename(root / "d/e.py")


def _relink(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("d/b.py")


def _folder(root: Path) -> None:
    (root / "empty").mkdir()


CHANGES = [_write, _write_keeping_times, _replace, _mode, _remove, _add, _rename, _relink, _folder]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(project: Project, change: Callable[[Path], None]) -> None:
    first = project.digest()
    change(project.root)
    second = project.digest()
    assert second != first
    assert len(project.opened) <= 2  # the others are still known
    assert copied_digest(project.tree(), project.cache / "elsewhere") == second


def test_the_same_content_gives_the_same_digest(project: Project) -> None:
    first = project.digest()
    for path in ("a.py", "d/b.py"):
        os.utime(project.root / path)
        (project.root / path).chmod(0o600)
    assert project.digest() == first


@pytest.mark.parametrize(
    "garbage", [b"", b"\0", b"{}", b"[]\n[]", b"null\n{}", b'{"fingerprint": 1}\n{"a": 1}', b"\xff" * 100, b"{" * 10**5]
)
def test_a_memory_that_makes_no_sense_is_no_harm(project: Project, garbage: bytes) -> None:
    first = project.digest()
    project.memory().write_bytes(garbage)
    assert project.digest() == first
    assert project.digest() == first
    assert project.opened == []


def test_a_memory_with_half_a_table(project: Project) -> None:
    first = project.digest()
    whole = project.memory().read_bytes()
    (project.root / "new").write_text("x")
    second = project.digest()
    project.memory().write_bytes(whole[: len(whole) // 2])
    assert project.digest() == second != first


def test_the_memory_is_private_and_may_be_missing(project: Project) -> None:
    first = project.digest()
    assert project.memory().stat().st_mode & 0o777 == 0o600
    assert project.cache.stat().st_mode & 0o777 == 0o700
    project.memory().unlink()
    assert project.digest() == first
    assert [path.name for path in project.cache.iterdir()] == [project.memory().name]


def test_a_memory_that_cannot_be_written(project: Project) -> None:
    project.cache.write_text("a file in the place of the directory")
    assert project.digest() == project.digest()


def test_files_that_were_touched_just_now_are_not_remembered(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.later(monkeypatch, 1)
    assert project.digest() == project.digest()
    assert len(project.opened) == 3
    project.later(monkeypatch, 3)
    project.digest()
    project.digest()
    assert project.opened == []


def test_a_file_from_the_future_is_always_read(project: Project) -> None:
    os.utime(project.root / "a.py", ns=(LONG_AGO, time.time_ns() + 10**15))
    assert project.digest() == project.digest()
    assert [Path(path).name for path in project.opened] == ["a.py"]


@pytest.mark.parametrize("large", [False, True])
def test_a_file_that_changes_meanwhile(project: Project, monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    if large:
        monkeypatch.setattr(source_digest, "_WORTH_A_COPY", 0)
    tree = project.tree()
    (project.root / "d/b.py").unlink()
    (project.root / "d/b.py").symlink_to("/etc/passwd")
    with pytest.raises(BuildFailed, match=r"d/b\.py changed while it was read"):
        copied_digest(tree, project.cache)


def test_a_file_that_is_shorter_than_it_was(project: Project) -> None:
    tree = project.tree()
    (project.root / "d/b.py").write_text("")
    with pytest.raises(BuildFailed, match=r"d/b\.py changed while it was read"):
        copied_digest(tree, project.cache)
    (project.root / "d/b.py").unlink()
    (project.root / "d/b.py").mkdir()
    with pytest.raises(BuildFailed, match=r"d/b\.py cannot be read: Is a directory"):
        copied_digest(tree, project.cache)


def test_two_processes_give_what_one_does(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        (project.root / f"d/{number}").write_bytes(bytes([number % 251]) * (number * 1000 + 1))
    (project.root / "d/large").write_bytes(bytes(3 << 20))
    one = copied_digest(project.tree(), project.cache / "one")
    monkeypatch.setattr(source_digest, "_WORTH_A_COPY", 1 << 40)
    assert copied_digest(project.tree(), project.cache / "two") == one


def test_names_of_any_bytes(project: Project) -> None:
    (project.root / "a\udcff\n").write_text("x")
    first = project.digest()
    assert project.digest() == first
    assert project.opened == []


def test_files_that_are_given_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    files = (CopiedFile("/f", 0o644, tmp_path / "f"), CopiedFile("/d", 0o755), CopiedFile("/l", 0o777, link="f"))
    first = copied_digest(files, tmp_path / "cache")
    assert copied_digest(files[::-1], tmp_path / "cache") == first
    (tmp_path / "f").write_text("y")
    assert copied_digest(files, tmp_path / "cache") != first
