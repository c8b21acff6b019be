"""The health command: run beside the program, with its environment, for whoever asks; nobody else chooses anything."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from sconectl.runtime import ask_health, children, health
from sconectl.runtime import start as start_module

from .configurations import configuration
from .forked import exit_code, fork

pytestmark = pytest.mark.sockets
PATH = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the socket is, instead of the place that containers have."""
    folder = tmp_path / "health"
    listen = health.listen
    monkeypatch.setattr(children, "listen", lambda: listen(str(folder), str(folder / "socket")))
    return folder


def asking(folder: Path) -> subprocess.Popen[str]:
    """Ask as the container engine does, with the file that is in the image."""
    source = Path(ask_health.__file__).read_text().replace(ask_health.FOLDER, str(folder))
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-c", source], stdin=nothing, stdout=pipe, stderr=pipe, text=True
    )


def ask(folder: Path) -> tuple[int, str, str]:
    """Return exit code, output and errors of a question."""
    process = asking(folder)
    output, errors = process.communicate(timeout=30)
    return process.returncode, output, errors


def launched(folder: Path, tmp_path: Path, command: str, program: str = "exec sleep 60") -> int:
    """Start a program beside which `command` tells its health."""
    both = {"environment": {**PATH, "SECRET": "of the program"}, "pwd": str(tmp_path)}
    config = configuration(argv=("sh", "-c", program), **both)
    check = configuration(argv=("sh", "-c", command), **both)

    def run() -> NoReturn:
        start_module.start(config, "/bin/sh", lambda: start_module.execute(check, "/bin/sh"))

    child = fork(run, tmp_path / "out")
    wait(lambda: (folder / "socket").exists())
    return child


def wait(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def end(child: int) -> None:
    os.kill(child, signal.SIGTERM)
    exit_code(child)


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_output_and_exit_code_are_those_of_the_command(folder: Path, tmp_path: Path, code: int) -> None:
    child = launched(folder, tmp_path, f'echo "$SECRET in $PWD"; echo error >&2; exit {code}')
    for _ in range(2):
        assert ask(folder) == (code, f"of the program in {tmp_path}\n", "error\n")
    end(child)


def test_more_files_than_select_can_wait_for(folder: Path, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(20_000, limits[1]), limits[1]))
    held = [os.dup(2) for _ in range(1100)]
    try:
        child = launched(folder, tmp_path, "exit 7")
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert ask(folder)[0] == 7
    end(child)


def test_a_signal_is_an_exit_code(folder: Path, tmp_path: Path) -> None:
    child = launched(folder, tmp_path, "kill -9 $$")
    assert ask(folder)[0] == 137
    end(child)


def test_when_nobody_waits_any_more_the_command_is_ended(folder: Path, tmp_path: Path) -> None:
    child = launched(folder, tmp_path, f"echo $$; [ -e {tmp_path}/quick ] || sleep 60")
    with asking(folder) as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        process.kill()
    wait(lambda: not Path(f"/proc/{pid}").exists())
    (tmp_path / "quick").touch()
    assert ask(folder)[0] == 0
    end(child)


def test_it_ends_with_the_program(folder: Path, tmp_path: Path) -> None:
    child = launched(folder, tmp_path, f"echo $PPID >{tmp_path}/server", "sleep 0.3; exit 5")
    assert ask(folder)[0] == 0
    server = int((tmp_path / "server").read_text())
    assert exit_code(child) == 5
    wait(lambda: not Path(f"/proc/{server}").exists() or "Z" in Path(f"/proc/{server}/stat").read_text())
    code, _, errors = ask(folder)
    assert code == 1
    assert "has not started yet" in errors


def test_only_the_user_of_the_container_gets_to_it(folder: Path, tmp_path: Path) -> None:
    child = launched(folder, tmp_path, "exit 0")
    assert folder.stat().st_mode & 0o777 == 0o700
    end(child)


def test_a_folder_of_an_earlier_start_is_replaced(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (folder / "left").write_text("x")
    child = launched(folder, tmp_path, "exit 0")
    assert not (folder / "left").exists()
    end(child)


def test_without_a_place_for_the_socket_the_program_runs_all_the_same(folder: Path, tmp_path: Path) -> None:
    folder.symlink_to(tmp_path)
    config = configuration(argv=("sh", "-c", "exit 3"), environment=PATH)
    child = fork(lambda: start_module.start(config, "/bin/sh", lambda: os._exit(0)), tmp_path / "out")
    assert exit_code(child) == 3
    assert "no health command can be run" in (tmp_path / "out").read_text()


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '["a\\u0000"]', "[" * 100_000])
def test_a_command_that_cannot_be_read_is_none(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert health.health_command({"health": text}) == ()
    assert "cannot be read" in capfd.readouterr().err


def test_an_image_without_one_has_none() -> None:
    assert health.health_command({}) == ()
