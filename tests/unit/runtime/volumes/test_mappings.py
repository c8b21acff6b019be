"""Mapped files are compared as long as anybody has them mapped, and once more."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sconectl.runtime.volumes import explained, keeper, mappings

from .mirror import Ledger, Mirror
from .test_explained import descendants
from .worlds import World


@pytest.fixture
def world() -> Iterator[World]:
    """A world that looks often, and writes down the mapped files of each commit."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        found = World(Path(folder))

        def impatient(volume: Mirror, _tags: Ledger) -> None:
            explained.processes = descendants
            explained.newest_process = lambda load: b"1"
            mappings.INTERVAL, keeper.TICK = 0.1, 0.05

            def note(_number: int) -> None:
                (found.folder / "mapped").write_text(str(len(volume.log[-1][0].mapped)))

            volume.after = note

        found.setup = impatient
        yield found


HEAD = """
import mmap, os, time
f = os.open('a', os.O_CREAT | os.O_RDWR)
os.ftruncate(f, 8192)
def mapped():
    return open('../../mapped').read()
def kept():
    return open('../../kept/V1/a').read(5)
def wait(number):
    deadline = time.monotonic() + 10
    while mapped() != number:
        assert time.monotonic() < deadline, mapped()
        os.pwrite(f, b'x', 8000)
        time.sleep(0.02)
m = mmap.mmap(f, 8192)
os.fsync(f)
"""


def test_a_mapping_is_forgotten_when_it_is_gone_and_its_last_change_is_kept(world: World) -> None:
    code = """
wait('1')
m[:5] = b'later'
m.close()
wait('0')
print(kept())
"""
    assert world.run(HEAD + code) == 0, world.out
    assert world.out == "later\n"


def test_a_mapping_of_a_child_is_not_forgotten(world: World) -> None:
    code = """
r, w = os.pipe()
child = os.fork()
if child == 0:
    os.close(w)
    os.read(r, 1)
    m[:5] = b'child'
    os.fsync(os.open('a', os.O_RDONLY))
    print(mapped(), kept(), flush=True)
    os._exit(0)
m.close()
os.close(f)
time.sleep(0.5)
f = os.open('a', os.O_RDWR)
wait('1')
os.write(w, b'x')
os.waitpid(child, 0)
wait('0')
"""
    assert world.run(HEAD + code) == 0, world.out
    assert world.out == "1 child\n"


def test_nothing_is_forgotten_while_processes_appear_or_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter(range(100))
    device, inode = os.makedev(0, 4095), 77
    monkeypatch.setattr(explained, "processes", lambda: {os.getpid()})
    monkeypatch.setattr(explained, "newest_process", lambda load: b"%d" % next(numbers))
    found = mappings.Mappings()
    assert found.gone(1.0, device, {inode}) == set()
    monkeypatch.setattr(explained, "newest_process", lambda load: b"1")
    assert found.gone(2.0, device, {inode}) == set()  # too early
    assert found.gone(99.0, device, {inode}) == {inode}

    def hidden(pid: int) -> bytes:
        raise PermissionError(pid)

    monkeypatch.setattr(mappings, "_maps", hidden)
    assert found.gone(200.0, device, {inode}) == set()
