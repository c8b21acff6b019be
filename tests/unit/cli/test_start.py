"""Starting and ending: what is loaded for an answer, and that nothing is lost when the process ends quickly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import sconectl
from sconectl.cli.command_table import COMMANDS, app, load

HEAVY = {"rich", "docker", "httpx", "cryptography", "uvicorn", "starlette", "sqlite3", "asyncio", "jinja2"}
LOADED = """
import sys
from sconectl.cli.main import run_sconectl
try:
    run_sconectl()
except SystemExit as end:
    assert not end.code, end.code
print(*sys.modules, file=sys.stderr)
"""
ENDING = """
import atexit, sys, threading, time
from sconectl.cli import main

def program():
    {body}

main._be(program)
"""


def loaded(*words: str) -> set[str]:
    """Return the modules that are loaded when a command has done its work."""
    done = subprocess.run([sys.executable, "-c", LOADED, *words], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


def ended(body: str, **options: Any) -> subprocess.CompletedProcess[str]:
    code = ENDING.format(body=body)
    return subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False, **options)


# --- what is loaded -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_known_before_anything_is_loaded(option: str) -> None:
    modules = loaded(option)
    assert not modules & {*HEAVY, "typer", "pydantic", "typing", "re"}
    assert {name for name in modules if name.startswith("sconectl.")} <= {"sconectl.cli", "sconectl.cli.main"}


def test_help_loads_no_command() -> None:
    modules = loaded("--help")
    assert not modules & {*HEAVY, "pydantic", "ruamel.yaml"}
    assert not {f"sconectl.cli.{place.module}" for place in COMMANDS.values()} & modules


def test_a_command_loads_no_other_command() -> None:
    modules = loaded("plan", "--help")
    others = {f"sconectl.cli.{place.module}" for name, place in COMMANDS.items() if name != "plan"}
    assert "sconectl.cli.commands.plan_cmd" in modules
    assert not others & modules - {"sconectl.cli.commands.apply_cmd"}


def test_validation_needs_no_engine_no_network_and_no_keys(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(
        "apiVersion: scone/5.8\nkind: mesh\ncas: [{name: cas, cas_url: cas.example.org}]\n"
        "policy: {namespace: shop}\nenv: []\nservices: [{name: web, image: registry.example.org/web:1}]\n"
    )
    modules = loaded("validate", "-f", str(tmp_path / "mesh.yaml"))
    assert "sconectl.manifest.model.mesh" in modules
    assert not modules & {*HEAVY, "sconectl.manifest.model.genservice", "sconectl.manifest.reading.env_file"}
    assert not {name for name in modules if name.startswith(("sconectl.image.", "sconectl.policy.model."))}


# --- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_command_says(name: str) -> None:
    command = load(name)
    assert command.name == name
    assert command.get_short_help_str(200) == COMMANDS[name].help


def test_a_command_that_does_not_exist() -> None:
    group: Any = typer.main.get_command(app)
    assert group.get_command(typer.Context(group), "nothing") is None


# --- the end --------------------------------------------------------------------------------------------------------


def test_all_output_arrives() -> None:
    done = ended("print('x' * 300_000)", stdout=subprocess.PIPE)
    assert (done.returncode, len(done.stdout), done.stderr) == (0, 300_001, "")


@pytest.mark.parametrize(("code", "seen"), [("None", 0), ("0", 0), ("7", 7), ("'said'", 1)])
def test_the_exit_code_arrives(code: str, seen: int) -> None:
    done = ended(f"sys.exit({code})", stdout=subprocess.PIPE)
    assert done.returncode == seen
    assert done.stderr == ("said\n" if seen == 1 else "")


def test_what_is_to_be_called_at_the_end_is_called() -> None:
    assert ended("atexit.register(print, 'called')", stdout=subprocess.PIPE).stdout == "called\n"


def test_other_threads_are_waited_for() -> None:
    body = "threading.Thread(target=lambda: (time.sleep(0.2), print('done'))).start()"
    assert ended(body, stdout=subprocess.PIPE).stdout == "done\n"


def test_an_error_of_the_program_itself_is_not_hidden() -> None:
    done = ended("raise RuntimeError('ours')", stdout=subprocess.PIPE)
    assert done.returncode == 1
    assert "RuntimeError: ours" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("words", [["--version"], ["--help"]])
def test_output_that_cannot_be_written_is_an_error(words: list[str]) -> None:
    command = [str(Path(sys.executable).with_name("sconectl")), *words]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 5
    assert "No space left" in done.stderr and "Traceback" not in done.stderr


def test_the_package_is_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "sconectl", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"sconectl {sconectl.__version__}\n"
