"""The supervisor with the real volume: what was acknowledged before a crash is there when it is opened again."""

from __future__ import annotations

import inspect
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from protect.volume.worlds import open_volume, picture

from sconectl.protect.volume.changes import Live
from sconectl.protect.volume.hints import Hints
from sconectl.protect.volume.model import Node
from sconectl.protect.volume.volume import Volume
from sconectl.runtime.volumes import explained
from sconectl.runtime.volumes import keeper as keeper_module
from sconectl.runtime.volumes.interfaces import Mount, Progress
from sconectl.runtime.volumes.keeper import Keeper, Sync
from sconectl.runtime.volumes.watch import Watcher

from .mirror import Ledger
from .test_explained import descendants
from .worlds import SQLITE, World


@dataclass
class RealWorld(World):
    """Its volume keeps ciphertext; the ledger has its tags."""

    answer: Callable[[Ledger, bytes], Progress | None] = lambda _ledger, state: Progress(state)

    def prepare(self, name: str) -> None:
        self.kept(name).mkdir(parents=True)

    def open(self, name: str, watcher: Watcher, tags: Ledger) -> Volume:
        volume = open_volume(self.kept(name), self.live(name), None, watch=watcher)
        tags.answer = self.answer
        tags.send(volume.state)
        tags.progress()
        return volume

    def opened(self) -> Path:
        """Open what is left on the storage, as a launcher does that follows."""
        tag = [line for line in self.notes if line.startswith("send ")][-1].removeprefix("send ")
        open_volume(self.kept(), self.folder / "again", int(tag).to_bytes(16, "big")).close()
        return self.folder / "again"


class Rotating:
    """A watch that lets something happen whenever it was asked."""

    def __init__(self, watcher: Watcher, drain: Callable[[Hints], None]) -> None:
        self.linked, self.fileno, self.drain = watcher.linked, watcher.fileno, drain


@pytest.fixture
def world() -> Iterator[RealWorld]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield RealWorld(Path(folder))


@pytest.mark.parametrize("is_open", [False, True])
def test_a_sync_is_answered_when_a_file_that_is_renamed_at_that_moment_is_kept(
    world: RealWorld, monkeypatch: pytest.MonkeyPatch, is_open: bool
) -> None:
    """A file that is open is found by any name, and may be kept by its old one until the next commit."""
    live, storage = world.folder / "live", world.folder / "storage"
    live.mkdir()
    storage.mkdir()
    watcher = Watcher(str(live))
    volume = open_volume(storage, live, None, watch=watcher)
    keeper = Keeper(Mount(volume, watcher, None, None))
    log = live / "log"
    log.write_text("old")
    keeper.commit(1.0)
    log.write_text("new")
    answers: list[int] = []
    keeper.ask(Sync(answers.append, 1), log.stat().st_ino)
    if not is_open:
        volume._live.close_files()

    def rotated(hints: Hints) -> None:
        watcher.drain(hints)
        log.rename(live / "log.1")

    with monkeypatch.context() as patch:
        patch.setattr(keeper, "mount", Mount(volume, Rotating(watcher, rotated), None, None))
        keeper.commit(2.0)
    if not answers:
        keeper.tick(2.0)
    assert answers == [0]
    shutil.copytree(storage, world.folder / "copy")
    open_volume(world.folder / "copy", world.folder / "then", volume.state).close()
    assert [(path.name, path.read_text()) for path in (world.folder / "then").iterdir()] == [
        ("log" if is_open else "log.1", "new")
    ]
    keeper.commit(3.0)
    state = volume.state
    volume.close()
    open_volume(storage, world.folder / "again", state).close()
    assert (world.folder / "again" / "log.1").read_text() == "new"


@pytest.mark.parametrize("final", [False, True])
def test_a_file_that_is_renamed_while_it_is_written_down_is_not_lost(
    world: RealWorld, monkeypatch: pytest.MonkeyPatch, final: bool
) -> None:
    """Of many changed files each is opened when its turn comes, and a checkpoint opens all of them."""
    live, storage = world.folder / "live", world.folder / "storage"
    live.mkdir()
    storage.mkdir()
    watcher = Watcher(str(live))
    volume = open_volume(storage, live, None, watch=watcher)
    for number in range(100):
        (live / f"{number:03}").write_text(f"content {number}")
    hints = Hints()
    watcher.drain(hints)
    opened, status = Live.open, (live / "090").stat()

    def renaming(files: Live, node: Node, seen: Hints) -> int:
        if node.mtime == status.st_mtime_ns and (live / "090").exists():
            (live / "090").rename(live / "new")
        return opened(files, node, seen)

    with monkeypatch.context() as patch:
        patch.setattr(Live, "open", renaming)
        volume.commit(hints, final=final)
    assert not (live / "090").exists()
    state = volume.state
    volume.close()
    open_volume(storage, world.folder / "again", state).close()
    assert (world.folder / "again" / "new").read_text() == "content 90"


@pytest.mark.parametrize("states", [4, 31, 77])
@pytest.mark.parametrize("mode", ["wal", "delete", "persist", "truncate"])
def test_sqlite_has_what_it_acknowledged(world: RealWorld, mode: str, states: int) -> None:
    """The supervisor is killed when the CAS gets a state; the program cannot have been told of it."""

    def answer(tags: Ledger, state: bytes) -> Progress:
        if len(tags.sent) >= states:
            os.kill(os.getpid(), signal.SIGKILL)
        return Progress(state)

    world.answer = answer
    assert world.run(SQLITE.format(mode=mode)) == -signal.SIGKILL
    notes = world.folder / "acknowledged"
    acknowledged = [int(line) for line in notes.read_text().split()] if notes.exists() else []
    assert acknowledged or states < 10
    database = sqlite3.connect(world.opened() / "ledger.db")
    assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
    has = [row[0] for row in database.execute("select n from t order by n")] if acknowledged else []
    database.close()
    assert has[: len(acknowledged)] == acknowledged
    assert len(has) <= len(acknowledged) + 1


def test_a_deleted_file_does_not_stay_open_in_the_supervisor(world: RealWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the next commit the file would take its memory."""
    monkeypatch.setattr(keeper_module, "TICK", 60.0)
    code = """
    import os, time
    from contextlib import suppress
    f = os.open('file', os.O_CREAT | os.O_RDWR)
    os.pwrite(f, b'content', 0)
    os.fsync(f)
    os.close(f)
    time.sleep(0.3)
    path, files = os.path.abspath('file'), f'/proc/{os.getppid()}/fd'
    def held():
        found = 0
        for handle in os.listdir(files):
            with suppress(FileNotFoundError):
                found += os.readlink(f'{files}/{handle}').startswith(path)
        return found
    before = held()
    os.unlink('file')
    begin = time.monotonic()
    while held() and time.monotonic() < begin + 30:
        time.sleep(0.005)
    print(before, time.monotonic() < begin + 20)
    """
    assert world.run(code) == 0, world.out
    assert world.out == "1 True\n"


PART = 400_000
Step = list[tuple[str, int, bytes]]


def steps_of(thread: int) -> Iterator[Step]:
    """Yield what a thread does to its part of a file between two syncs: kind of write, place, data."""
    chance = random.Random(thread)
    while True:
        yield [
            (chance.choice("pppppwv"), chance.randrange(PART - 5000), chance.randbytes(chance.randrange(1, 5000)))
            for _ in range(chance.randrange(1, 4))
        ]


WRITERS = f"""
    import os, random, threading
    PART = {PART}
{textwrap.indent(inspect.getsource(steps_of).replace("Iterator[Step]", "object"), "    ")}
    def work(number):
        f = os.open('big', os.O_RDWR)
        notes = os.open(f'../../acknowledged{{number}}', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for step in steps_of(number):
            for kind, place, data in step:
                place += number * PART
                if kind == 'p':
                    os.pwrite(f, data, place)
                elif kind == 'v':
                    os.pwritev(f, [data], place)
                else:
                    os.lseek(f, place, 0)
                    os.write(f, data)
            os.fdatasync(f)
            os.write(notes, b'.')

    f = os.open('big', os.O_CREAT | os.O_RDWR)
    os.ftruncate(f, 4 * PART)
    os.fsync(f)
    for number in range(4):
        threading.Thread(target=work, args=(number,)).start()
"""


@pytest.mark.parametrize("states", [20, 90, 170])
def test_threads_that_write_in_all_ways_have_what_was_acknowledged(world: RealWorld, states: int) -> None:
    """Of what was not acknowledged, each byte is as it was before or after any of the writes."""

    def answer(tags: Ledger, state: bytes) -> Progress:
        if not len(tags.sent) > 1:  # in the supervisor, before the program begins
            explained.processes, explained.newest_process = descendants, lambda load: b"1"
        if len(tags.sent) >= states:
            os.kill(os.getpid(), signal.SIGKILL)
        return Progress(state)

    world.answer = answer
    assert world.run(WRITERS) == -signal.SIGKILL
    found = (world.opened() / "big").read_bytes()
    done = 0
    for thread in range(4):
        notes = world.folder / f"acknowledged{thread}"
        acknowledged = notes.stat().st_size if notes.exists() else 0
        done += acknowledged
        steps = steps_of(thread)
        part = bytearray(PART)
        for _ in range(acknowledged):
            for _, place, data in next(steps):
                part[place : place + len(data)] = data
        possible = [bytes(part)]
        for _, place, data in next(steps):
            part[place : place + len(data)] = data
            possible.append(bytes(part))
        kept = found[thread * PART : (thread + 1) * PART]
        wrong = [
            place
            for block in range(0, PART, 1000)
            if kept[block : block + 1000] not in {version[block : block + 1000] for version in possible}
            for place in range(block, block + 1000)
            if all(kept[place] != version[place] for version in possible)
        ]
        assert not wrong, (thread, acknowledged, wrong[:3], len(wrong))
    assert done > states / 4


CHANGES = """
    import os, random
    chance = random.Random({seed})
    os.makedirs('d/e')
    for round in range(30):
        for _ in range(chance.randrange(8)):
            folder = chance.choice(['.', 'd', 'd/e', 'new', 'new/e'])
            os.makedirs(folder, exist_ok=True)
            path = folder + '/' + chance.choice('abc')
            other = chance.choice(['.', 'd', 'd/e']) + '/' + chance.choice('abcx')
            try:
                chance.choice([
                    lambda: open(path, 'ab').write(chance.randbytes(chance.choice([5, 5000, 3000000]))),
                    lambda: os.pwrite(os.open(path, os.O_WRONLY), b'here', chance.randrange(1 + os.path.getsize(path))),
                    lambda: os.truncate(path, chance.randrange(1 + os.path.getsize(path))),
                    lambda: os.rename(path, other),
                    lambda: os.link(path, other),
                    lambda: os.unlink(path),
                    lambda: os.chmod(path, chance.choice([0o600, 0o640])),
                    lambda: os.rename('new', 'd/new'),
                    lambda: (os.mkdir('f'), os.rename('d', 'f/d'), os.rename('f', 'g'), os.rename('g/d', 'd')),
                    lambda: (os.mkdir('h'), os.rename('d', 'h/d')),
                    lambda: (os.rename('h/d', 'd'), os.rmdir('h')),
                    lambda: os.utime(path, (5, round)),
                ])()
            except OSError:
                pass
            os.closerange(3, 50)
        os.sync()
"""


@pytest.mark.parametrize("seed", range(6))
def test_what_is_opened_is_what_was_there_at_the_end(world: RealWorld, seed: int) -> None:
    assert world.run(CHANGES.format(seed=seed)) == 0
    assert picture(world.opened()) == picture(world.live())


def test_a_directory_that_moves_into_a_new_one(world: RealWorld) -> None:
    code = """
        import os
        os.mkdir('d')
        open('d/a', 'w').write('1')
        os.sync()
        os.mkdir('new')
        os.rename('d', 'new/d')
        os.sync()
        f = os.open('new/d/a', os.O_WRONLY)
        os.write(f, b'2')
        os.fsync(f)
        os.kill(os.getppid(), 9)
    """
    assert world.run(code) == -signal.SIGKILL
    assert (world.opened() / "new" / "d" / "a").read_text() == "2"


def test_a_file_that_is_changed_in_a_directory_that_nobody_watches_yet(world: RealWorld) -> None:
    code = """
        import os
        open('a', 'w').write('1')
        os.sync()
        os.mkdir('d')
        os.rename('a', 'd/a')
        f = os.open('d/a', os.O_WRONLY)
        os.write(f, b'2')
        os.fsync(f)
        os.kill(os.getppid(), 9)
    """
    assert world.run(code) == -signal.SIGKILL
    assert (world.opened() / "d" / "a").read_text() == "2"
