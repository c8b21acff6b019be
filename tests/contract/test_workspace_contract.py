"""Whatever holds generated files: the disk, and memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.workspace import MemoryWorkspace

from sconectl.adapters.workspace_disk import DiskWorkspace
from sconectl.ports import Workspace


@pytest.fixture(params=["disk", "memory"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    return DiskWorkspace(tmp_path / "target") if request.param == "disk" else MemoryWorkspace()


def content(workspace: Workspace, *folders: str) -> dict[str, bytes | None]:
    return {path: workspace.read(path) for folder in folders for path in workspace.files(folder)}


def test_nothing_is_there_at_first(workspace: Workspace) -> None:
    assert workspace.read("a/b") is None
    assert workspace.files("a") == ()
    assert workspace.write({}, replaces=("a",)) == 0


def test_what_was_written_is_read_back(workspace: Workspace) -> None:
    files = {"a/b/c": b"\x00\xff\r\n", "a/d": b"", "e/f": "é".encode()}
    assert workspace.write(files) == 3
    assert content(workspace, "a", "e") == files
    assert workspace.files("a") == ("a/b/c", "a/d")
    assert workspace.files("a/b") == ("a/b/c",)


def test_only_changes_count(workspace: Workspace) -> None:
    workspace.write({"a/1": b"1", "a/2": b"2"})
    assert workspace.write({"a/1": b"1", "a/2": b"2"}) == 0
    assert workspace.write({"a/1": b"x", "a/2": b"2", "a/3": b"3"}) == 2


def test_stale_files_go_only_where_a_folder_is_replaced(workspace: Workspace) -> None:
    workspace.write({"a/1": b"1", "a/deep/2": b"2", "ab/3": b"3", "c/4": b"4"})
    assert workspace.write({"a/1": b"1"}, replaces=("a",)) == 1
    assert content(workspace, "a", "ab", "c") == {"a/1": b"1", "ab/3": b"3", "c/4": b"4"}
    assert workspace.write({}, replaces=("a", "c")) == 2
    assert content(workspace, "a", "ab", "c") == {"ab/3": b"3"}


def test_files_become_private_once(workspace: Workspace) -> None:
    workspace.write({"a": b"x"})
    assert workspace.write({"a": b"x"}, private=True) == 1
    assert workspace.write({"a": b"x"}, private=True) == 0
