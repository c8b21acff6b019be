"""FIFOs, sockets, directories and files in each other's places: said with their path, and never waited for."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.builders import mesh_text, service_text

from .conftest import Run

BASE = ("--base-image", "python=base:1")
APPLY = ("apply", "-f", "web.yaml", "-f", "mesh.yaml", *BASE)


def write(project: Path) -> None:
    (project / "main.py").write_text("print(1)")
    (project / "web.yaml").write_text(service_text("web", copy=["main.py"]))
    (project / "mesh.yaml").write_text(mesh_text(["web"]).replace("cas.example.org", "local"))


@pytest.fixture
def applied(project: Path, run: Run) -> Path:
    write(project)
    assert run(*APPLY).code == 0
    return project


def put(path: Path, kind: str) -> None:
    """Put something that is no file in the place of `path`."""
    if path.is_file():
        path.unlink()
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    else:
        path.mkdir()


READ = {
    "web.yaml": APPLY,
    "x.env": (*APPLY, "--env-file", "x.env"),
    "sconectl.toml": APPLY,
    "target/images/other.json": ("apply", "-f", "mesh.yaml"),
    "facts.json": ("apply", "-f", "mesh.yaml", "--facts", "facts.json"),
    "main.py": APPLY,
    "session.yaml": ("session", "check", "session.yaml"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["FIFO", "socket", "directory"])
@pytest.mark.parametrize("path", READ)
def test_what_is_read(run: Run, applied: Path, path: str, kind: str) -> None:
    if kind == "directory" and path in {"main.py", "web.yaml", "facts.json"}:
        return  # directories are possible there
    put(applied / path, kind)
    done = run(*READ[path])
    assert done.code in (2, 3, 4, 5), done.err
    assert (Path(path).name in done.err and kind in done.err) or path == "main.py"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", ["target/helm/Chart.yaml", "target/policies/web.yaml"])
def test_what_is_written_takes_the_place_of_a_fifo(run: Run, applied: Path, path: str) -> None:
    put(applied / path, "FIFO")
    assert run(*APPLY).code == 0
    assert (applied / path).is_file()


@pytest.mark.parametrize("folder", ["target/helm", "target/policies", "target/images", "target/manifests"])
def test_a_file_in_the_place_of_a_directory_stops_the_run_before_its_effects(
    run: Run, project: Path, folder: str
) -> None:
    write(project)
    (project / folder).parent.mkdir(exist_ok=True)
    (project / folder).write_text("mine")
    done = run(*APPLY)
    assert done.code == 5, done.err
    assert folder in done.err
    assert "session shop/web" not in done.out
    assert (project / folder).read_text() == "mine"


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "words", ["--env-file <(sleep 1; echo NS=shop) -f mesh.yaml", "--set NS=shop -f <(cat mesh.yaml)"]
)
def test_the_output_of_a_command_can_be_read(applied: Path, words: str) -> None:
    (applied / "mesh.yaml").write_text((applied / "mesh.yaml").read_text().replace("shop", "$NS"))
    command = f"{sys.executable} -m sconectl validate {words}"
    done = subprocess.run(["/bin/bash", "-c", command], cwd=applied, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", ["data/sconectl", "home/.cas"])
def test_faults_of_this_machine_are_no_unknown_facts(run: Run, applied: Path, place: str) -> None:
    folder = applied.parent / place
    shutil.rmtree(folder)
    folder.write_text("in the way")
    shutil.rmtree(applied / "target")
    done = run("apply", "-f", "mesh.yaml")
    assert done.code in (5, 6), done.err
    assert "SC2008" not in done.err
    assert str(folder) in done.err
