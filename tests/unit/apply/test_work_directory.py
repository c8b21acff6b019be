"""Directories for temporary files: private, removed at the end, and by the next run if their own was killed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sconectl.apply.work_directory import work_directory

RUN = """
from sconectl.apply.work_directory import work_directory
with work_directory() as path:
    (path / "secret").write_text("plain")
    print(path, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_private_and_goes_away(folder: Path) -> None:
    with pytest.raises(RuntimeError), work_directory() as path:
        assert path.stat().st_mode & 0o777 == 0o700 and path.parent == folder
        (path / "file").write_text("x")
        raise RuntimeError
    assert [*folder.iterdir()] == []


def test_that_of_a_killed_run_is_removed_and_that_of_a_living_one_is_not(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", RUN], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        place = Path(other.stdout.readline().strip())
        with work_directory() as mine:
            assert (place / "secret").exists() and mine != place
        other.kill()
    assert (place / "secret").exists()
    with work_directory() as mine:
        assert [*folder.iterdir()] == [mine]


def test_what_is_not_ours_stays(folder: Path) -> None:
    target = folder / "target"
    target.mkdir()
    (folder / "sconectl-work-link").symlink_to(target)
    (folder / "sconectl-work-file").write_text("x")
    (folder / "sconectl-other").mkdir()
    with work_directory():
        pass
    assert len([*folder.iterdir()]) == 4
