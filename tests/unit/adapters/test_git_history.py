"""Reading a file's history with git: what it may start, whom it asks, and whose settings it keeps to."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sconectl.adapters.git_history import GitHistory
from sconectl.errors import PlanImpossible, UsageError

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the program git is missing")


def git(folder: Path, *words: str) -> str:
    me = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-C", str(folder))
    return subprocess.run(("git", *me, *words), check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, subject: str) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", subject)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which the file `lock` says `one`, then `two`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    found = tmp_path / "repository"
    found.mkdir()
    git(found, "init", "-q", "-b", "main")
    for text in ("one", "two"):
        (found / "lock").write_text(text)
        (found / "other").write_text(text)
        commit(found, f"Say {text}")
    return found


def told(folder: Path, name: str = "lock") -> list[tuple[str, bytes]]:
    return [(commit.subject, content) for commit, content in GitHistory(folder / name).changes()]


def test_each_change_oldest_first(folder: Path) -> None:
    (folder / "other").write_text("three")
    commit(folder, "Say nothing")
    (folder / "lock").unlink()
    commit(folder, "Say no more")
    assert told(folder) == [("Say one", b"one"), ("Say two", b"two")]
    assert GitHistory(folder / "lock").at("HEAD") is None
    assert GitHistory(folder / "lock").at("HEAD~2") == b"two"


def test_names_are_taken_literally(folder: Path) -> None:
    for name in ("l*", ":(top)lock", "-p", "[lo]ck", "mit Leerzeichen ü"):
        (folder / name).write_text(name)
    commit(folder, "Odd names")
    for name in ("l*", ":(top)lock", "-p", "[lo]ck", "mit Leerzeichen ü"):
        assert told(folder, name) == [("Odd names", name.encode())]
    with pytest.raises(UsageError):
        GitHistory(folder / "a\nb")


def test_a_directory_in_the_place_of_the_file(folder: Path) -> None:
    (folder / "place").mkdir()
    (folder / "place" / "lock").write_text("one")
    commit(folder, "A directory")
    assert told(folder, "place") == []


def test_a_merge_that_says_something_new(folder: Path) -> None:
    git(folder, "checkout", "-q", "-b", "side", "HEAD~1")
    (folder / "lock").write_text("aside")
    commit(folder, "Say aside")
    git(folder, "checkout", "-q", "main")
    git(folder, "merge", "-q", "--no-commit", "-s", "ours", "side")
    (folder / "lock").write_text("both")
    commit(folder, "Merge")
    assert told(folder)[-1] == ("Merge", b"both")
    assert {subject for subject, _ in told(folder)} == {"Say one", "Say two", "Say aside", "Merge"}


def test_settings_of_the_user_start_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap, sprung = tmp_path / "trap", tmp_path / "sprung"
    trap.write_text(f"#!/bin/sh\ntouch '{sprung}'\n")
    trap.chmod(0o755)
    for name in ("core.pager", "core.fsmonitor", "gpg.program", "diff.external", "pager.log"):
        git(folder, "config", name, str(trap))
    for name in ("log.showSignature", "log.showRoot"):
        git(folder, "config", name, "true")
    git(folder, "config", "color.ui", "always")
    git(folder, "config", "log.date", "raw")
    monkeypatch.setenv("GIT_PAGER", str(trap))
    monkeypatch.setenv("PAGER", str(trap))
    assert told(folder) == [("Say one", b"one"), ("Say two", b"two")]
    assert not sprung.exists()


def test_replaced_commits_do_not_count(folder: Path) -> None:
    told_before = told(folder)
    first = git(folder, "rev-parse", "HEAD~1")
    git(folder, "replace", git(folder, "rev-parse", "HEAD"), first)
    assert told(folder) == told_before


def test_the_environment_of_the_user_counts(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".git").rename(tmp_path / "elsewhere")
    with pytest.raises(PlanImpossible, match="not a git repository"):
        told(folder)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_WORK_TREE", str(folder))
    assert told(folder) == [("Say one", b"one"), ("Say two", b"two")]


def test_nothing_is_fetched(folder: Path, tmp_path: Path) -> None:
    git(folder, "config", "uploadpack.allowFilter", "true")
    url = f"file://{folder}"
    subprocess.run(
        ("git", "clone", "-q", "--filter=blob:none", "--no-checkout", url, str(tmp_path / "partial")), check=True
    )
    with pytest.raises(PlanImpossible, match="git cannot read lock in the commit"):
        told(tmp_path / "partial")


def test_a_bare_repository_is_no_working_tree(folder: Path, tmp_path: Path) -> None:
    git(folder, "clone", "-q", "--bare", str(folder), str(tmp_path / "bare"))
    with pytest.raises(PlanImpossible, match="no working tree"):
        told(tmp_path / "bare")


def test_where_it_starts(folder: Path) -> None:
    history = GitHistory(folder / "lock")
    start = history.start("HEAD~1")
    assert (start.subject, start.author) == ("Say one", "Ada")
    assert [commit.subject for commit, _ in history.changes(start.id)] == ["Say two"]
    for revision in ("--all", "HEAD:lock", "nowhere", "", "HEAD..HEAD~1"):
        with pytest.raises(UsageError):
            history.start(revision)
