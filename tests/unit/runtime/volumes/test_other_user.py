"""Programs that change their user, below a launcher that is root and may not trace, as in a container by default."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .mirror import Ledger, Mirror
from .worlds import World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")
PYTHON = "/usr/bin/python3"
TRACE = 19
"""CAP_SYS_PTRACE."""


def renounce_tracing(volume: Mirror, _tags: Ledger) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    for place in (0, 1, 2):
        sets[place] &= ~(1 << TRACE)
    assert libc.capset(header, sets) == 0
    volume.live.chmod(0o777)


@pytest.fixture
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        found = World(Path(folder), setup=renounce_tracing)
        found.folder.chmod(0o755)
        yield found


WORK = """
import mmap, os
f = os.open('a', os.O_CREAT | os.O_RDWR, 0o644)
os.pwrite(f, b'1', 0)
os.fsync(f)
print(open('../../kept/V1/a').read())
m = mmap.mmap(f, 1)
m[:] = b'2'
os.fsync(f)
print(open('../../kept/V1/a').read())
try:
    print(os.open('b', os.O_CREAT | os.O_WRONLY | os.O_DSYNC))
except OSError as error:
    print(error.errno)
os.link('a', 'c')
open('c', 'w').write('3')
os.fsync(f)
print(open('../../kept/V1/a').read())
"""
CHANGE = "import mmap, os; os.setgid(65534); os.setgroups([]); os.setuid(65534)\n"


@pytest.mark.skipif(not Path(PYTHON).exists(), reason="the Python of the tests may be in a closed directory")
def test_a_program_that_is_executed_as_another_user_is_seen_with_its_eyes(world: World) -> None:
    code = f"{CHANGE}os.execv({PYTHON!r}, ['python', '-I', '-c', {WORK!r}])"
    assert world.run(code) == 0, world.out
    shown = [line for line in world.out.splitlines() if not line.startswith("[SCONE")]
    assert shown == ["1", "2", "22", "3"]
    assert "has changed its user" not in world.out


def test_a_program_that_hides_is_kept_by_comparing_everything(world: World) -> None:
    """Who changes the user without executing another program cannot be looked at by anybody else."""
    assert world.run(f"{CHANGE}{WORK}") == 0, world.out
    lines = world.out.splitlines()
    assert [line for line in lines if not line.startswith("[SCONE")] == ["1", "2", "22", "3"]
    assert [line for line in lines if "has changed its user" in line]
