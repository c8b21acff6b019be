"""The target directory on disk: whole or as it was, no leftovers, nothing touched that did not change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from sconectl.adapters.workspace_disk import DiskWorkspace
from sconectl.errors import BuildFailed

OLD = {"a/x": b"old x", "a/y": b"old y"}
NEW = {"a/x": b"new x", "a/y": b"new y", "a/z": b"new z"}


@pytest.fixture
def workspace(tmp_path: Path) -> DiskWorkspace:
    return DiskWorkspace(tmp_path / "target")


def content(workspace: DiskWorkspace) -> dict[str, bytes]:
    root = workspace.root
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def full(*_args: object, **_kwargs: object) -> NoReturn:
    raise OSError(28, "No space left on device")


def test_modes(workspace: DiskWorkspace) -> None:
    workspace.write({"open": b"x"})
    workspace.write({"private": b"x"}, private=True)
    assert (workspace.root / "open").stat().st_mode & 0o777 == 0o644
    assert (workspace.root / "private").stat().st_mode & 0o777 == 0o600


def test_private_files_are_never_readable_by_others_on_the_way(
    workspace: DiskWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    real = os.fsync

    def watch(handle: int) -> None:
        modes.append(os.fstat(handle).st_mode & 0o777)
        real(handle)

    monkeypatch.setattr(os, "fsync", watch)
    previous = os.umask(0)
    try:
        workspace.write({"a": b"x", "b": b"y"}, private=True)
    finally:
        os.umask(previous)
    assert modes == [0o600, 0o600]


@pytest.mark.parametrize("step", ["fsync", "fdopen", "open"])
def test_a_full_disk_changes_nothing(workspace: DiskWorkspace, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    workspace.write(OLD)
    calls = 0
    real = getattr(os, step)

    def fails_at_the_second(*args: object, **kwargs: object) -> object:
        nonlocal calls
        if "rb" in args or (step == "open" and not int(str(args[1])) & os.O_CREAT):
            return real(*args, **kwargs)  # what is there is compared first
        calls += 1
        return full() if calls == 2 else real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fails_at_the_second)
        with pytest.raises(BuildFailed) as caught:
            workspace.write(NEW, replaces=("a",))
    assert caught.value.message == f"{workspace.root} cannot be written: No space left on device"
    assert caught.value.hint
    assert calls >= 2
    assert content(workspace) == OLD
    assert [p.name for p in workspace.root.iterdir()] == ["a"]


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_each_file_is_old_or_new_when_replacing_fails_and_the_next_write_finishes(
    workspace: DiskWorkspace, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    workspace.write(OLD)
    calls = 0
    real = os.replace

    def replace(source: str, target: str) -> None:
        nonlocal calls
        calls += 1
        return full() if calls == failing else real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(BuildFailed):
            workspace.write(NEW, replaces=("a",))
    found = content(workspace)
    assert sum(found.get(path) == NEW[path] for path in NEW) == failing - 1
    assert all(found.get(path) in (OLD.get(path), NEW[path]) for path in NEW)
    assert [p.name for p in workspace.root.iterdir()] == ["a"]
    workspace.write(NEW, replaces=("a",))
    assert content(workspace) == NEW


def test_unchanged_files_are_not_touched(workspace: DiskWorkspace) -> None:
    workspace.write(OLD)
    before = {p: p.stat().st_mtime_ns for p in workspace.root.rglob("*")}
    assert workspace.write(OLD, replaces=("a",)) == 0
    assert {p: p.stat().st_mtime_ns for p in workspace.root.rglob("*")} == before
    assert workspace.write({**OLD, "a/x": b"other"}) == 1
    assert (workspace.root / "a/y").stat().st_mtime_ns == before[workspace.root / "a/y"]


def test_a_file_where_a_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("I am a file")
    with pytest.raises(BuildFailed, match="cannot be written"):
        DiskWorkspace(tmp_path / "target").write({"a": b"x"})
    assert (tmp_path / "target").read_text() == "I am a file"


def test_a_directory_where_a_file_should_be(workspace: DiskWorkspace) -> None:
    (workspace.root / "a").mkdir(parents=True)
    for act in (lambda: workspace.read("a"), lambda: workspace.write({"a": b"x"})):
        with pytest.raises(BuildFailed) as caught:
            act()
        assert caught.value.hint


def test_a_stale_link_is_removed_and_its_target_stays(workspace: DiskWorkspace, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("x")
    workspace.write(OLD)
    (workspace.root / "a/link").symlink_to(tmp_path / "kept")
    assert workspace.write(OLD, replaces=("a",)) == 1
    assert (tmp_path / "kept").read_text() == "x"


def test_a_link_is_replaced_and_not_written_through(workspace: DiskWorkspace, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("x")
    workspace.root.mkdir()
    (workspace.root / "a").symlink_to(tmp_path / "kept")
    workspace.write({"a": b"new"})
    assert (tmp_path / "kept").read_text() == "x"
    assert not (workspace.root / "a").is_symlink()


def test_git_is_told_before_the_first_private_file(workspace: DiskWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert workspace.write({"helm/x": b"x"}) == 1
    ignored = workspace.root / ".gitignore"
    assert not ignored.exists()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(BuildFailed):
            workspace.write({"policies/x": b"x"}, private=True)
    assert ignored.read_text() == "*\n"
    ignored.unlink()
    assert workspace.write({"policies/x": b"x"}, private=True) == 1
    assert ignored.read_text() == "*\n" and ignored.stat().st_mode & 0o777 == 0o644
    ignored.unlink()
    assert workspace.write({"policies/x": b"x"}, replaces=("policies",), private=True) == 0
    assert ignored.read_text() == "*\n"  # a target directory of an older version gets one, too


def test_a_gitignore_of_ones_own_stays(workspace: DiskWorkspace) -> None:
    workspace.root.mkdir()
    ignored = workspace.root / ".gitignore"
    ignored.symlink_to("nowhere")
    workspace.write({"policies/x": b"x"}, private=True)
    assert ignored.is_symlink() and not ignored.exists()
    ignored.unlink()
    ignored.write_text("")
    workspace.write({"policies/x": b"y"}, private=True)
    assert ignored.read_text() == ""


def test_files_of_ones_own_beside_ours_are_not_hidden_from_git(workspace: DiskWorkspace) -> None:
    workspace.root.mkdir()
    (workspace.root / "service.yaml").write_text("")
    workspace.write({"images/x": b"x"}, private=True)
    assert (workspace.root / ".gitignore").read_text() == "/images/\n/policies/\n"


def test_a_gitignore_that_cannot_be_written(workspace: DiskWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *rest: full() if str(path).endswith(".gitignore") else real(path, *rest)
    )
    with pytest.raises(BuildFailed, match="cannot be written: No space left"):
        workspace.write({"images/x": b"x"}, private=True)
    assert content(workspace) == {}
