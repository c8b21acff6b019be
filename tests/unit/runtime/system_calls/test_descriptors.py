"""What is behind descriptors of another process, as it changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sconectl.runtime.system_calls.descriptors import Description, Descriptors, described, mount_of

PROGRAM = """
import os, sys
for line in sys.stdin:
    exec(line)
    print(flush=True)
"""


class Program:
    """A process that does what it is told."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", PROGRAM], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, code: str) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "one").touch()
    (tmp_path / "two").touch()
    program = Program(tmp_path)
    yield program
    program.process.communicate()


def test_a_descriptor_is_looked_up_anew_each_time(program: Program, tmp_path: Path) -> None:
    one, two = ((tmp_path / name).stat().st_ino for name in ("one", "two"))
    mount, pid, descriptors = mount_of(str(tmp_path)), program.process.pid, Descriptors()
    assert mount > 0
    assert descriptors.describe(pid, 9) is None
    program.do("os.dup2(os.open('one', os.O_RDWR), 9)")
    assert descriptors.describe(pid, 9) == Description(mount, one, is_writable=True)
    assert descriptors.describe(pid, 9 + (7 << 32)) == Description(mount, one, is_writable=True)
    program.do("os.dup2(os.open('two', os.O_WRONLY | os.O_APPEND), 9)")
    assert descriptors.describe(pid, 9) == Description(mount, two, is_writable=True)
    program.do("os.dup2(os.open('two', os.O_RDONLY), 9)")
    assert descriptors.describe(pid, 9) == Description(mount, two, is_writable=False)
    program.do("os.close(9)")
    assert descriptors.describe(pid, 9) is None
    program.do("os.dup2(os.open('one', os.O_RDWR | os.O_PATH), 9)")
    assert descriptors.describe(pid, 9) == Description(mount, one, is_writable=False)
    program.do("os.unlink('one'); os.dup2(os.open('one', os.O_RDWR | os.O_CREAT), 9)")
    assert descriptors.describe(pid, 9) == Description(mount, (tmp_path / "one").stat().st_ino, is_writable=True)
    program.process.communicate()
    assert descriptors.describe(pid, 9) is None


def test_what_is_kept_open_is_bounded(program: Program) -> None:
    program.do("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))")
    program.do("for number in range(10, 410): os.dup2(os.open('one', os.O_RDWR), number)")
    descriptors, before = Descriptors(), len([*Path("/proc/self/fd").iterdir()])
    for _ in range(2):
        for number in range(10, 410):
            assert descriptors.describe(program.process.pid, number)
    assert len([*Path("/proc/self/fd").iterdir()]) - before <= 128


@pytest.mark.parametrize(
    "text", [b"", b"pos:\t0\nflags:\t02\nmnt_id:\t30\n", b"pos:\t0\nmnt_id:\t30\nflags:\t02\nino:\t7\n", b"pos:"]
)
def test_what_the_kernel_does_not_say_is_not_known(text: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        described(text)


def test_locks_may_follow() -> None:
    text = b"pos:\t0\nflags:\t02100002\nmnt_id:\t30\nino:\t7\nlock:\t1: POSIX  ADVISORY  READ 1 00:1a:122 0 EOF\n"
    assert described(text) == Description(30, 7, is_writable=True)
