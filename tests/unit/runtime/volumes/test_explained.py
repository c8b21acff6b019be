"""Large files are copied where they were written, and nothing that was written in another way is lost."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from sconectl.protect.volume.hints import Hints
from sconectl.runtime.volumes import explained

from .mirror import LARGE, Ledger, Mirror
from .worlds import World

SIZE = 8 * LARGE


def descendants() -> set[int]:
    """Return the processes that this one has started: in a container, all others."""
    parents = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with suppress(OSError):
                parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    found, new = set[int](), {os.getpid()}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new}
        found |= new
    return found


@dataclass
class CountingWorld(World):
    """A world whose supervisor may see that there are new processes; while tests run there are always some."""

    sees_forks: bool = False


@pytest.fixture
def world() -> Iterator[CountingWorld]:
    """A world whose supervisor sees its own processes only, and notes how much each commit has copied."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        found = CountingWorld(Path(folder))

        def alone(volume: Mirror, _tags: Ledger) -> None:
            explained.processes = descendants
            if not found.sees_forks:
                explained.newest_process = lambda load: b"1"

            def note(_number: int) -> None:
                (found.folder / "copied").write_text(str(volume.copied))

            volume.after = note

        found.setup = alone
        yield found


HEAD = f"""
    import ctypes, fcntl, mmap, os, random, threading
    SIZE = {SIZE}
    f = os.open('big', os.O_CREAT | os.O_RDWR)
    os.ftruncate(f, SIZE)
    os.fsync(f)
    os.pwrite(f, b'first', 0)
    os.fsync(f)
    def copied():
        return int(open('../../copied').read())
    def check(what):
        with open('big', 'rb') as one, open('../../kept/V1/big', 'rb') as other:
            assert one.read() == other.read(), what
"""


def program(code: str) -> str:
    return HEAD + "".join(f"    {line}\n" for line in code.strip().splitlines())


def test_noted_writes_are_all_that_is_copied(world: CountingWorld) -> None:
    code = """
for _ in range(3):
    os.pwrite(f, b'w', 0)
    os.fsync(f)
before = copied()
for number in range(50):
    os.pwrite(f, b'%d' % number, number * 10000)
    os.fsync(f)
    check(number)
print(copied() - before)
"""
    assert world.run(program(code)) == 0, world.out
    assert 50 <= int(world.out) < SIZE


def test_noted_writes_of_threads_are_all_that_is_copied(world: CountingWorld) -> None:
    code = """
def work(base):
    g = os.open('big', os.O_WRONLY)
    for number in range(50):
        os.pwrite(g, b'%d' % number, base + number * 100)
        os.fsync(g)
start = threading.Barrier(5)
threads = [threading.Thread(target=lambda n=n: (start.wait(), work(n * 70000))) for n in range(4)]
for t in threads: t.start()
import time
time.sleep(0.1)
os.pwrite(f, b'x', 9)
os.fsync(f)
before = copied()
start.wait()
for t in threads: t.join()
check('threads')
print(copied() - before)
"""
    assert world.run(program(code)) == 0, world.out
    assert int(world.out) < 3 * SIZE  # of 200 syncs


OTHERS = {
    "write": "os.lseek(f, 4000, 0); os.write(f, b'other')",
    "write with another descriptor": "g = os.open('big', os.O_WRONLY); os.lseek(g, 70000, 0); os.write(g, b'other')",
    "writev": "os.lseek(f, 4000, 0); os.writev(f, [b'oth', b'er'])",
    "pwritev": "os.pwritev(f, [b'oth', b'er'], 80000)",
    "append": "g = os.open('big', os.O_WRONLY | os.O_APPEND); os.write(g, b'other')",
    "pwrite with append": "g = os.open('big', os.O_WRONLY | os.O_APPEND); os.pwrite(g, b'other', 100)",
    "sendfile": "g = os.open('/etc/passwd', os.O_RDONLY); os.lseek(f, 90000, 0); os.sendfile(f, g, 0, 20)",
    "copy_file_range": "os.copy_file_range(f, f, 5, 0, 90000)",
    "splice": "r, w = os.pipe(); os.write(w, b'other'); os.fsync(f); os.pwrite(f, b'y', 9); "
    "os.splice(r, f, 5, offset_dst=90000)",
    "truncate": "os.truncate('big', 5); os.truncate('big', SIZE)",
    "ftruncate": "os.ftruncate(f, 5); os.ftruncate(f, SIZE)",
    "O_TRUNC": "os.close(os.open('big', os.O_WRONLY | os.O_TRUNC)); os.ftruncate(f, SIZE)",
    "O_TRUNC, pwrite": "os.close(os.open('big', os.O_WRONLY | os.O_TRUNC)); os.pwrite(f, b'z', SIZE - 1)",
    "creat": "libc.creat(b'big', 0o644); os.pwrite(f, b'z', SIZE - 1)",
    "hole": "libc.fallocate(f, 3, ctypes.c_long(0), ctypes.c_long(4096))",
    "mapping": "m = mmap.mmap(f, SIZE); m[70000:70005] = b'other'",
    "mapping, later": "m = mmap.mmap(f, SIZE); os.pwrite(f, b'y', 9); os.fsync(f); m[70000:70005] = b'other'; "
    "os.pwrite(f, b'z', 9)",
    "child": "child = os.fork()\nif child == 0:\n os.lseek(f, 4000, 0); os.write(f, b'other'); os._exit(0)\n"
    "os.waitpid(child, 0)",
    "orphan": "r, w = os.pipe()\nif os.fork() == 0:\n if os.fork() == 0:\n  os.lseek(f, 4000, 0)\n"
    "  os.write(f, b'other')\n os._exit(0)\nos.close(w); os.read(r, 1); os.wait()",
    "renamed": "os.rename('big', 'other'); os.lseek(f, 4000, 0); os.write(f, b'other'); os.rename('other', 'big')",
    "failing writes": "g = os.open('big', os.O_RDONLY)\nfor _ in range(3):\n try: os.pwrite(g, b'no', 0)\n"
    " except OSError: pass\n libc.pwrite(f, ctypes.c_long(-4096), ctypes.c_long(5), ctypes.c_long(9))\n"
    " os.lseek(f, 4000, 0); os.write(f, b'other')",
    "a signal": "import signal; signal.signal(signal.SIGALRM, lambda *_: None); "
    "signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)\n"
    "for n in range(200): os.pwrite(f, b'%d' % n, n * 1000)\nsignal.setitimer(signal.ITIMER_REAL, 0)\n"
    "os.lseek(f, 4000, 0); os.write(f, b'other')",
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_changes_beside_noted_writes_are_kept(world: CountingWorld, other: str) -> None:
    world.sees_forks = other in ("child", "orphan")
    code = f"""
libc = ctypes.CDLL(None, use_errno=True)
for _ in range(3):
    os.pwrite(f, b'x', 9)
    os.fsync(f)
for round in range(3):
    os.pwrite(f, b'noted', 200000)
{"".join(f"    {line}{chr(10)}" for line in OTHERS[other].splitlines())}
    os.pwrite(f, b'noted', 300000)
    os.fsync(f)
    check(round)
print('kept')
"""
    assert world.run(program(code)) == 0, world.out
    assert world.out == "kept\n"


@pytest.mark.parametrize("waiting", ["pass", "time.sleep(0.001)"])
def test_a_sync_of_another_thread_than_the_one_that_writes(world: CountingWorld, waiting: str) -> None:
    """The other one may still run, and have written in other ways, too."""
    code = f"""
import time
os.lseek(f, 4000, 0)
for round in range(30):
    for _ in range(3):
        os.pwrite(f, b'%d' % round, 9)
        os.fsync(f)
    os.pwrite(f, b'%d' % round, 100000 + round * 30000)
    if round % 3 == 1:
        os.write(f, b'other')
    thread = threading.Thread(target=os.fsync, args=(f,))
    thread.start()
    while thread.is_alive(): {waiting}
    check(round)
print('kept')
"""
    assert world.run(program(code)) == 0, world.out
    assert world.out == "kept\n"


@pytest.mark.parametrize("seed", range(4))
def test_writes_of_all_kinds_at_the_same_time(world: CountingWorld, seed: int) -> None:
    """Each thread has its own part of the file, and finds there what it has synced, however it was written."""
    code = f"""
def work(number):
    chance = random.Random({seed} * 100 + number)
    part = SIZE // 6
    g = os.open('big', os.O_RDWR)
    k = os.open('../../kept/V1/big', os.O_RDONLY)
    for _ in range(60):
        for _ in range(chance.randrange(4)):
            data, place = chance.randbytes(chance.randrange(1, 3000)), number * part + chance.randrange(part - 3000)
            kind = chance.choice('ppppppppwv')
            if kind == 'p':
                os.pwrite(g, data, place)
            elif kind == 'v':
                os.pwritev(g, [data], place)
            else:
                os.lseek(g, place, 0)
                os.write(g, data)
        os.fsync(g)
        k = os.open('../../kept/V1/big', os.O_RDONLY)
        assert os.pread(g, part, number * part) == os.pread(k, part, number * part), 'lost'
        os.close(k)
failures = []
threading.excepthook = lambda args: failures.append(args.exc_value)
threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
for t in threads: t.start()
for t in threads: t.join()
print(failures)
"""
    assert world.run(program(code)) == 0, world.out
    assert world.out == "[]\n"


def test_a_write_that_is_counted_after_its_change_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread was interrupted between the two; the file has to be compared when the count is found not to fit."""
    counted = 5
    monkeypatch.setattr(explained, "processes", lambda: {os.getpid()})
    monkeypatch.setattr(explained, "newest_process", lambda load: b"1")
    monkeypatch.setattr(explained, "_counter", lambda pid, handle: counted)
    writes = explained.Writes()
    account = writes.account()

    def explain(hints: Hints) -> Hints:
        writes.explain(account, hints, {})
        return hints

    for _ in range(3):  # how many there were is known after the second look, and what they changed after the third
        assert explain(Hints(modified={1})).explained == set()
    assert explain(Hints(modified={2, 3}, written={2: [(0, 1)]})).explained == {2, 3}
    assert explain(Hints(modified={2})).explained == {2}
    counted += 1
    assert explain(Hints(modified={4})) == Hints(modified={2, 3, 4})
    assert explain(Hints(modified={4})).explained == set()
    assert explain(Hints(modified={4})).explained == {4}
    counted += 1
    assert explain(Hints(modified={5})) == Hints(modified={4, 5})
