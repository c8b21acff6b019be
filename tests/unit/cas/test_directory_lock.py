"""One writer for a directory: the second one is told who holds it, and nobody trusts what a dead one has left."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sconectl.cas.disk import directory_lock
from sconectl.cas.disk.directory_lock import Running, status, writer
from sconectl.errors import CasError


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_lock, "_GRACE_SECONDS", 0.1)


def test_a_server_is_named_and_not_waited_for(tmp_path: Path) -> None:
    assert status(tmp_path) is None
    with writer(tmp_path) as own:
        own.describe("127.0.0.1:1234")
        assert status(tmp_path) == Running(os.getpid(), "127.0.0.1:1234")
        start = time.monotonic()
        with pytest.raises(
            CasError, match=rf"already running at 127\.0\.0\.1:1234 \(process {os.getpid()}\)"
        ) as caught:
            with writer(tmp_path, wait=60):
                pass
        assert time.monotonic() - start < 5
        assert "cas stop" in caught.value.hint
    assert status(tmp_path) is None
    assert (tmp_path / "server.json").stat().st_mode & 0o777 == 0o600


def test_a_command_is_waited_for(tmp_path: Path) -> None:
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def command() -> None:
        with writer(tmp_path):
            inside.set()
            leave.wait()
            order.append("first")

    thread = threading.Thread(target=command)
    thread.start()
    inside.wait()
    assert status(tmp_path) is None  # no server
    with pytest.raises(CasError, match="another process is using"), writer(tmp_path):
        pass
    leave.set()
    with writer(tmp_path, wait=10):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_what_a_dead_server_left_is_not_believed(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys; from sconectl.cas.disk.directory_lock import writer\n"
        "with writer(pathlib.Path(sys.argv[1])) as own:\n"
        "    own.describe('127.0.0.1:9'); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    assert json.loads((tmp_path / "server.json").read_bytes())["address"] == "127.0.0.1:9"
    assert status(tmp_path) is None
    with writer(tmp_path):
        assert status(tmp_path) is None  # a command holds it, and describes nothing


def test_a_server_that_was_killed_and_still_holds_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first thread has ended and another has not, as when that one waits for a disk."""
    monkeypatch.setattr(directory_lock, "_GRACE_SECONDS", 30)
    number_of_exit = {"x86_64": 60, "aarch64": 93}[platform.machine()]
    program = (
        "import ctypes, os, pathlib, sys, threading; from sconectl.cas.disk.directory_lock import writer\n"
        "with writer(pathlib.Path(sys.argv[1])) as own:\n"
        "    own.describe('127.0.0.1:9'); threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()\n"
        f"    ctypes.CDLL(None).syscall({number_of_exit}, 0)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE) as ending:
        assert ending.stdin is not None
        while "Z (zombie)" not in Path(f"/proc/{ending.pid}/status").read_text():
            assert ending.poll() is None
            time.sleep(0.01)
        assert directory_lock._try_lock(tmp_path) is None and status(tmp_path) is None
        timer = threading.Timer(0.3, ending.stdin.close)
        timer.start()
        with writer(tmp_path):
            assert not timer.is_alive()
        timer.join()


def test_a_directory_that_was_replaced_meanwhile(tmp_path: Path) -> None:
    directory = tmp_path / "cas"
    directory.mkdir()
    held = threading.Event()

    def replace() -> None:
        with writer(directory):
            held.set()
            time.sleep(0.3)
            directory.rename(tmp_path / "aside")
            directory.mkdir()

    thread = threading.Thread(target=replace)
    thread.start()
    held.wait()
    with writer(directory, wait=10) as own:
        assert os.path.samestat(os.fstat(own.descriptor), (directory / "server.json").stat())
    thread.join()


def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(CasError, match="cannot use"), writer(tmp_path / "none"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(CasError, match="cannot look"):
        status(tmp_path / "file")
