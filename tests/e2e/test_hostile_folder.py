"""Commands started in somebody else's folder load nothing from it, least of all the CAS with its master key."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import hostile_folder
from .world import World, free_port, must, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hostile_folder.make(tmp_path / "hostile")
    return tmp_path / "hostile"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "home", "", "")
    world.root.mkdir()
    yield world
    world.stop_cas()


def serve(world: World, folder: Path, **variables: str) -> int:
    """Start the CAS from the folder and return the process id of the server."""
    listen = f"127.0.0.1:{free_port('127.0.0.1')}"
    words = ("cas", "serve", "--detach", "--dir", world.cas_directory, "--listen", listen)
    must(world.sconectl(*words, cwd=folder, **variables))
    status = must(world.sconectl("cas", "status", "--dir", world.cas_directory)).out
    return int(status.split("process ")[1].split(",")[0])


def test_the_detached_cas_is_isolated(machine: World, folder: Path) -> None:
    process = serve(machine, folder)
    assert hostile_folder.loaded(folder) == []
    assert Path(f"/proc/{process}/cwd").readlink() == machine.cas_directory
    assert b"\0-I\0" in Path(f"/proc/{process}/cmdline").read_bytes()


def test_the_search_path_of_the_user_does_not_reach_the_detached_cas(machine: World, tmp_path: Path) -> None:
    """What the short-lived command itself does not load is here: only the server could."""
    folder = tmp_path / "only-of-the-server"
    hostile_folder.make(folder, names=("h11", "uvicorn", "starlette"))
    serve(machine, tmp_path, PYTHONPATH=str(folder))
    assert hostile_folder.loaded(folder) == []


def test_a_key_file_is_found_from_where_the_command_was_started(machine: World, folder: Path) -> None:
    (folder / "key").write_text("ab" * 32)
    serve(machine, folder, SCONECTL_CAS_KEY="file:key")
    assert not (machine.cas_directory / "master.key").exists()
    assert hostile_folder.loaded(folder) == []


@pytest.mark.parametrize(
    "words",
    [
        ("--version",),
        ("--help",),
        ("validate", "-f", "service.yaml"),
        ("cas", "status"),
        ("session", "check", "session.yaml"),
        ("schema", "genservice"),
    ],
    ids=" ".join,
)
def test_no_command_loads_anything_from_the_folder(machine: World, folder: Path, words: tuple[str, ...]) -> None:
    (folder / "service.yaml").write_text("apiVersion: scone/5.8\nkind: genservice\n")
    (folder / "session.yaml").write_text("name: x\nversion: '0.3.11'\n")
    outcome = machine.sconectl(*words, cwd=folder)
    assert hostile_folder.loaded(folder) == [] and "Traceback" not in outcome.text, outcome.text
    shutil.rmtree(folder / "sconectl")  # `python -m` without -I would run that instead, before any line of ours
    run([sys.executable, "-m", "sconectl", *words], cwd=folder, env=machine.environment)
    assert hostile_folder.loaded(folder) == []
