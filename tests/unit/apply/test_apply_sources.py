"""Files that a manifest copies: never from outside its directory, and the same on every checkout."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from fakes.builders import service_text

from sconectl.apply.sources import copied_files
from sconectl.errors import PlanImpossible
from sconectl.manifest.genservice import GenService
from sconectl.manifest.reader import read_manifest
from sconectl.plan.service import plan_service
from sconectl.toolchains.native_build import CopiedFile


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "outside.txt").write_text("outside")
    return folder


def copied(project: Path, *names: str, requirements: str | None = None) -> list[CopiedFile]:
    manifest = read_manifest(service_text(copy=list(names), requirements=requirements), "service.yaml", {})
    assert isinstance(manifest.model, GenService)
    plan = plan_service(manifest.model, manifest.document, bases={}, mode="production")
    return list(copied_files(plan, project, manifest.document))


def refused(project: Path, *names: str, requirements: str | None = None) -> dict[str, tuple[str, str]]:
    with pytest.raises(PlanImpossible) as caught:
        copied(project, *names, requirements=requirements)
    assert {f.code for f in caught.value.findings} == {"SC1005"}
    assert all(f.position.line > 5 for f in caught.value.findings)
    return {f.path: (f.message, f.hint) for f in caught.value.findings}


def test_a_directory_with_everything(project: Path) -> None:
    (project / "src/deep").mkdir(parents=True)
    (project / "src/main.py").write_text("x")
    (project / "src/run.sh").write_text("x")
    (project / "src/run.sh").chmod(0o755)
    (project / "src/deep/data").write_text("x")
    (project / "src/link").symlink_to("deep/data")
    (project / "src/folder").symlink_to("deep")
    (project / "src/dangling").symlink_to("not-there-yet")
    assert [(f.path, oct(f.mode), f.link, f.source is not None) for f in copied(project, "src")] == [
        ("/app/src", "0o755", "", False),
        ("/app/src/dangling", "0o777", "not-there-yet", False),
        ("/app/src/deep", "0o755", "", False),
        ("/app/src/deep/data", "0o644", "", True),
        ("/app/src/folder", "0o777", "deep", False),
        ("/app/src/link", "0o777", "deep/data", False),
        ("/app/src/main.py", "0o644", "", True),
        ("/app/src/run.sh", "0o755", "", True),
    ]


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o600, 0o644), (0o664, 0o644), (0o700, 0o755), (0o775, 0o755), (0o4755, 0o755)]
)
def test_the_umask_of_a_checkout_makes_no_difference(project: Path, mode: int, expected: int) -> None:
    (project / "f").write_text("x")
    (project / "f").chmod(mode)
    (file,) = copied(project, "f")
    assert file.mode == expected


def test_files_keep_their_relative_path(project: Path) -> None:
    (project / "a/b").mkdir(parents=True)
    (project / "a/b/c.py").write_text("x")
    assert [f.path for f in copied(project, "./a/b/c.py", "a/b/c.py")] == ["/app/a/b/c.py"]


def test_the_whole_directory(project: Path) -> None:
    (project / "main.py").write_text("x")
    assert [f.path for f in copied(project, ".")] == ["/app", "/app/main.py"]


def test_links_that_stay_inside_are_followed_by_name(project: Path) -> None:
    (project / "real.py").write_text("x")
    (project / "link.py").symlink_to("real.py")
    (file,) = copied(project, "link.py")
    assert (file.path, file.source, file.link) == ("/app/link.py", (project / "real.py").resolve(), "")


def test_everything_that_cannot_be_used_is_named_at_once(project: Path) -> None:
    (project / "out").symlink_to("../outside.txt")
    (project / "circle").symlink_to("circle")
    (project / "dir").mkdir()
    (project / "dir/out").symlink_to("/etc/hostname")
    (project / "abs").mkdir()
    (project / "abs/in").symlink_to(project / "out")
    (project / "inside").mkdir()
    (project / "inside/abs").symlink_to((project / "dir").resolve())
    os.mkfifo(project / "pipe")
    (project / "special").mkdir()
    os.mkfifo(project / "special/pipe")
    names = ["gone.py", "out", "circle", "dir", "abs", "inside", "pipe", "special", "*.py", "sub/?.txt"]
    found = refused(project, *names, requirements="dir")
    messages = [found[f"build.copy[{n}]"][0] for n in range(len(names))]
    assert messages == [
        "there is no such file",
        "the path leads out of the manifest's directory",
        "the path leads out of the manifest's directory",
        "a link in the directory leads out of the manifest's directory",
        "a link in the directory leads out of the manifest's directory",
        "a link in the directory is absolute, and leads nowhere in the image",
        "this is not a file, directory or link",
        "the directory holds something that is not a file, directory or link",
        "there is no such file; patterns are not supported",
        "there is no such file; patterns are not supported",
    ]
    assert found["build.copy[0]"][1] == f"paths are relative to the manifest's directory, {project}"
    assert found["build.requirements"][0] == "expected a file"


def test_a_socket_in_a_directory(project: Path) -> None:
    (project / "d").mkdir()
    os.mknod(project / "d/s", 0o600 | stat.S_IFSOCK)
    assert "not a file" in refused(project, "d")["build.copy[0]"][0]


def test_requirements_outside_or_missing(project: Path) -> None:
    assert "no such file" in refused(project, requirements="gone.txt")["build.requirements"][0]
    (project / "r.txt").symlink_to("../outside.txt")
    assert "leads out" in refused(project, requirements="r.txt")["build.requirements"][0]


def test_files_that_may_not_be_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "f").write_text("x")
    (project / "d").mkdir()
    (project / "d/g").write_text("x")
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path).is_dir())
    found = refused(project, "f", "d", requirements="f")
    assert {message for message, _ in found.values()} == {"it may not be read"}
    assert len(found) == 3
