"""Real programs below the supervisor, with a volume and tags that a test steers: what was synced is kept."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sconectl.runtime.volumes import supervisor
from sconectl.runtime.volumes.interfaces import Progress

from ..forked import exit_code
from .mirror import Ledger, Mirror
from .worlds import SQLITE, World


@pytest.fixture
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        found = World(Path(folder))
        yield found
        for child in found.children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_what_was_written_is_kept_when_the_program_ends(world: World) -> None:
    code = "import os; open('num', 'w').write('1'); os.mkdir('d'); open('d/x', 'w').write('y'); exit(3)"
    assert world.run(code) == 3
    assert (world.kept() / "num").read_text() == "1"
    assert (world.kept() / "d" / "x").read_text() == "y"
    assert world.notes[:2] == ["start", "send 1"] and world.notes[-1] == "finish"


SYNCS = {
    "fsync": "f = os.open('a', os.O_CREAT | os.O_WRONLY); os.write(f, b'new'); os.fsync(f)",
    "fdatasync": "f = os.open('a', os.O_CREAT | os.O_WRONLY); os.write(f, b'new'); os.fdatasync(f)",
    "sync": "open('a', 'w').write('new'); os.sync()",
    "syncfs": "f = open('a', 'w'); f.write('new'); f.flush(); libc.syncfs(f.fileno())",
    "pwrite": "f = os.open('a', os.O_CREAT | os.O_WRONLY); os.pwrite(f, b'new', 0); os.fsync(f)",
    "directory": "open('a', 'w').write('new'); d = os.open('.', os.O_RDONLY); os.fsync(d)",
    "renamed": "f = open('b', 'w'); f.write('new'); f.flush(); os.fsync(f.fileno()); os.rename('b', 'a'); "
    "os.fsync(os.open('.', os.O_RDONLY))",
    "sync_file_range": "f = open('a', 'w'); f.write('new'); f.flush(); libc.sync_file_range(f.fileno(), 0, 3, 7)",
    "mapped": "f = open('a', 'w+b'); f.write(b'old'); f.flush(); m = mmap.mmap(f.fileno(), 3); os.fsync(f.fileno()); "
    "m[:] = b'new'; m.flush()",
    "mapped, fsync": "f = open('a', 'w+b'); f.write(b'old'); f.flush(); m = mmap.mmap(f.fileno(), 3); f.close(); "
    "m[:] = b'new'; os.fsync(os.open('a', os.O_RDONLY))",
    "truncated": "open('a', 'w').write('new and more'); f = os.open('a', os.O_WRONLY); os.fsync(f); "
    "os.ftruncate(f, 3); os.fsync(f)",
    "copied": "open('../source', 'w').write('new'); s = os.open('../source', os.O_RDONLY); "
    "f = os.open('a', os.O_CREAT | os.O_WRONLY); os.fsync(f); os.sendfile(f, s, 0, 3); os.fsync(f)",
}


@pytest.mark.parametrize("sync", SYNCS)
def test_what_was_synced_is_kept_before_the_sync_returns(world: World, sync: str) -> None:
    code = f"""
        import ctypes, mmap, os, time
        libc = ctypes.CDLL(None)
        {SYNCS[sync]}
        print('kept:', open('../../kept/V1/a').read(), flush=True)
    """
    assert world.run(code) == 0
    assert world.out == "kept: new\n"


def test_a_sync_of_other_files_is_no_commit(world: World) -> None:
    code = """
        import os
        os.fsync(os.open('..', os.O_RDONLY))
        os.fsync(os.open('/tmp', os.O_RDONLY))
        reading, writing = os.pipe()
        for bad in (reading, 99):
            try:
                os.fsync(bad)
            except OSError as error:
                print(error.errno)
        print('end', flush=True)
        os._exit(0)
    """
    world.setup = lambda volume, _tags: setattr(volume, "before", lambda _number: os.write(1, b"commit\n"))
    assert world.run(code) == 0
    assert world.out.split("end")[0].replace("commit\n", "", 1) == f"{errno.EINVAL}\n{errno.EBADF}\n"


@pytest.mark.parametrize("flags", ["O_SYNC", "O_DSYNC"])
def test_files_of_a_volume_are_not_opened_for_synchronous_writes(world: World, tmp_path: Path, flags: str) -> None:
    code = f"""
        import os
        for path in ('new', '{world.live()}/new', '{tmp_path}/new'):
            try:
                print(os.open(path, os.O_CREAT | os.O_WRONLY | os.{flags}) > 2)
            except OSError as error:
                print(error.errno)
        print(os.open('.', os.O_RDONLY | os.{flags}) > 2)
    """
    assert world.run(code) == 0
    lines = world.out.splitlines()
    shown = [line for line in lines if line.startswith("[SCONE|ERROR]")]
    assert [line for line in lines if line not in shown] == ["22", "22", "True", "True"]
    assert shown and all("O_SYNC" in line and "fsync" in line for line in shown)
    assert not (world.live() / "new").exists()


def test_changes_that_nobody_syncs_are_kept_within_a_second_or_two(world: World) -> None:
    world.begin("import time; open('a', 'w').write('x'); print('up', flush=True); time.sleep(60)")
    world.wait_for("up")
    deadline = time.monotonic() + 10
    while not (world.kept() / "a").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_changes_are_kept_at_sigterm_before_the_program_hears_of_it(world: World) -> None:
    code = """
        import os, signal, time
        def ended(*_):
            print(open('../../kept/V1/a').read(), flush=True)
            os._exit(9)
        signal.signal(signal.SIGTERM, ended)
        time.sleep(1.5)
        open('a', 'w').write('last words')
        print('up', flush=True)
        while True:
            time.sleep(0.01)
    """
    child = world.begin(code)
    world.wait_for("up")
    os.kill(child, signal.SIGTERM)
    assert exit_code(world.children.pop()) == 9
    assert world.out == "up\nlast words\n"


def test_a_full_disk_fails_syncs_until_there_is_room(world: World) -> None:
    code = """
        import os
        f = os.open('a', os.O_CREAT | os.O_WRONLY)
        for text in (b'1', b'2', b'3'):
            os.pwrite(f, text, 0)
            try:
                os.fsync(f)
                print('synced', open('../../kept/V1/a').read())
            except OSError as error:
                print(error.errno)
    """
    world.setup = lambda volume, _tags: setattr(volume, "before", lambda n: volume.full() if n <= 2 else None)
    assert world.run(code) == 0
    lines = world.out.splitlines()
    assert [line for line in lines if "SCONE" not in line] == [str(errno.ENOSPC), str(errno.ENOSPC), "synced 3"]
    assert [line for line in lines if "SCONE" in line] == [
        "[SCONE|ERROR] volume V1: changes cannot be stored, syncs fail: No space left on device"
    ]


def test_last_changes_that_cannot_be_kept_are_an_error(world: World) -> None:
    world.setup = lambda volume, _tags: setattr(volume, "before", lambda _n: volume.full())
    assert world.run("open('a', 'w').write('x')") == 125
    assert "volume V1: the last changes of the program were not kept" in world.out
    assert world.run("open('a', 'w').write('x'); exit(4)") == 4


def slowly(tags: Ledger, state: bytes) -> None:
    threading.Timer(0.3, lambda: tags.tell(Progress(state))).start()


TIMED = """
    import os, time
    f = os.open('a', os.O_CREAT | os.O_WRONLY)
    began = time.monotonic()
    os.write(f, b'x')
    os.fsync(f)
    print('first', time.monotonic() - began > 0.25)
    began = time.monotonic()
    for _ in range(20):
        os.pwrite(f, b'y', 0)
    print('writes', time.monotonic() - began > 0.25)
"""


@pytest.mark.parametrize(("bound", "waits"), [(None, "True"), (5.0, "False")])
def test_strict_syncs_wait_for_the_cas_and_bounded_ones_do_not(world: World, bound: float | None, waits: str) -> None:
    world.bound = bound
    world.setup = lambda _volume, tags: setattr(tags, "answer", slowly)
    assert world.run(TIMED) in (0, 125)  # 125: the ledger of this test does not wait for the last one
    assert f"first {waits}" in world.out and "writes False" in world.out


def test_bounded_syncs_wait_if_the_cas_is_too_far_behind(world: World) -> None:
    code = """
        import os, time
        f = os.open('a', os.O_CREAT | os.O_WRONLY)
        for number in range(3):
            began = time.monotonic()
            os.pwrite(f, b'%d' % number, 0)
            os.fsync(f)
            print(round(time.monotonic() - began), flush=True)
            time.sleep(0.2)
    """
    world.bound = 0.1

    def late(tags: Ledger, state: bytes) -> None:
        if len(tags.sent) == 2:
            threading.Timer(1.1, lambda: tags.tell(Progress(tags.sent[-1]))).start()

    world.setup = lambda _volume, tags: setattr(tags, "answer", late)
    world.run(code)
    assert world.out.split()[:2] == ["0", "1"]


def test_without_the_cas_strict_syncs_fail_and_succeed_again_later(world: World) -> None:
    code = """
        import os
        f = os.open('a', os.O_CREAT | os.O_WRONLY)
        for text in (b'1', b'2'):
            os.pwrite(f, text, 0)
            try:
                os.fsync(f)
                print('synced')
            except OSError as error:
                print(error.errno)
    """

    def answer(tags: Ledger, state: bytes) -> Progress:
        return Progress(None, failure="the CAS cannot be reached") if len(tags.sent) == 1 else Progress(state)

    world.setup = lambda _volume, tags: setattr(tags, "answer", answer)
    assert world.run(code) == 0
    lines = world.out.splitlines()
    assert [line for line in lines if "SCONE" not in line] == [str(errno.EIO), "synced"]
    assert [line for line in lines if "SCONE" in line] == [
        "[SCONE|ERROR] volume V1: syncs fail with EIO: the CAS cannot be reached"
    ]


def test_a_sync_without_a_change_waits_for_the_state_that_the_cas_does_not_have(world: World) -> None:
    code = """
        import os
        f = os.open('a', os.O_CREAT | os.O_WRONLY)
        os.write(f, b'1')
        for _ in range(2):
            try:
                os.fsync(f)
                print('synced')
            except OSError as error:
                print(error.errno)
    """

    def answer(tags: Ledger, state: bytes) -> Progress:
        return Progress(None, failure="away") if len(tags.sent) < 3 else Progress(state)

    world.setup = lambda _volume, tags: setattr(tags, "answer", answer)
    assert world.run(code) == 0
    assert [line for line in world.out.splitlines() if "SCONE" not in line] == [str(errno.EIO)] * 2
    assert [line for line in world.notes if line.startswith("send")] == ["send 1"] * 3


def test_a_program_whose_volume_somebody_else_has_is_ended(world: World) -> None:
    code = "import os, time; f = open('a', 'w'); f.write('x'); f.flush(); os.fsync(f.fileno()); time.sleep(60)"
    world.setup = lambda _volume, tags: setattr(
        tags, "answer", lambda *_: Progress(None, lost="volume V1 is lost: host-7 has it")
    )
    assert world.run(code) == 125
    assert world.out == "[SCONE|FATAL] The program is ended: volume V1 is lost: host-7 has it\n"


def test_a_bug_in_the_supervisor_ends_the_program(world: World) -> None:
    code = "import os, time; print(os.getpid(), flush=True); f = open('a', 'w'); os.fsync(f.fileno()); time.sleep(60)"

    def broken(_number: int) -> None:
        raise ValueError("a secret")

    world.setup = lambda volume, _tags: setattr(volume, "before", broken)
    assert world.run(code) == 125
    pid, message = world.out.splitlines()
    assert message.startswith("[SCONE|FATAL] The program is ended: ValueError at ") and "secret" not in message
    assert not Path(f"/proc/{pid}").exists()


def test_a_program_makes_no_step_when_its_supervisor_is_killed(world: World) -> None:
    code = """
        import os, threading
        def work(number):
            f = os.open(f'{number}', os.O_CREAT | os.O_WRONLY)
            while True:
                os.write(f, b'x')
                try:
                    os.fsync(f)
                except OSError:
                    os.write(1, b'went on')
        for number in range(4):
            threading.Thread(target=work, args=(number,)).start()
        os.write(1, b'begun')
    """
    for number in range(10):
        (world.folder / "out").unlink(missing_ok=True)
        child = world.begin(code)
        world.wait_for("begun")
        time.sleep(0.02 * number)
        os.kill(child, signal.SIGKILL)
        os.waitpid(world.children.pop(), 0)
        time.sleep(0.02)
        assert world.out == "begun"


def test_syncs_of_many_threads_share_commits(world: World) -> None:
    code = """
        import os, threading
        def work(number):
            f = os.open(f'f{number}', os.O_CREAT | os.O_WRONLY)
            for count in range(20):
                os.pwrite(f, b'%3d' % count, 0)
                os.fsync(f)
                assert open(f'../../kept/V1/f{number}').read() == '%3d' % count
        threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
        for t in threads: t.start()
        for t in threads: t.join()
        print('done')
    """
    counts = world.folder / "counts"

    def count(volume: Mirror, _tags: Ledger) -> None:
        def slow(number: int) -> None:
            time.sleep(0.005)
            counts.write_text(str(number))

        volume.before = slow

    world.setup = count
    assert world.run(code) == 0
    assert world.out == "done\n"
    assert int(counts.read_text()) < 16 * 20 / 3


def test_daemons_end_with_the_program_and_what_they_wrote_is_kept(world: World) -> None:
    code = """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                f = open('log', 'a')
                while True:
                    f.write('x'); f.flush()
                    time.sleep(0.001)
            os._exit(0)
        os.wait()
        while not os.path.exists('log') or os.path.getsize('log') < 5:
            time.sleep(0.005)
    """
    assert world.run(code) == 0
    size = (world.live() / "log").stat().st_size
    time.sleep(0.05)
    assert (world.live() / "log").stat().st_size == size
    assert (world.kept() / "log").stat().st_size == size


def test_killed_and_stopped_callers_disturb_nobody(world: World) -> None:
    code = """
        import os, signal, threading, time
        for _ in range(30):
            child = os.fork()
            if child == 0:
                f = os.open('a', os.O_CREAT | os.O_WRONLY)
                while True:
                    os.pwrite(f, b'x', 0)
                    os.fsync(f)
            time.sleep(0.004)
            os.kill(child, signal.SIGSTOP)
            time.sleep(0.002)
            os.kill(child, signal.SIGCONT)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
        f = os.open('b', os.O_CREAT | os.O_WRONLY)
        for number in range(300):
            os.pwrite(f, b'%3d' % number, 0)
            os.fsync(f)
            assert open('../../kept/V1/b').read() == '%3d' % number
        signal.setitimer(signal.ITIMER_REAL, 0)
        print('done')
    """
    assert world.run(code) == 0
    assert world.out == "done\n"


def test_two_volumes_are_kept_each_by_itself(world: World) -> None:
    code = """
        import os
        for name in ('../V2/a', 'a'):
            f = open(name, 'w'); f.write('x'); f.flush(); os.fsync(f.fileno())
            print([os.path.exists(f'../../kept/{v}/a') for v in ('V1', 'V2')])
        os.rename('a', '../V2/b')
        os.sync()
        print(sorted(os.listdir('../../kept/V1')), sorted(os.listdir('../../kept/V2')))
    """
    world.names = ("V1", "V2")
    assert world.run(code) == 0
    assert world.out.splitlines() == ["[False, True]", "[True, True]", "[] ['a', 'b']"]


def test_a_file_with_names_in_two_volumes(world: World) -> None:
    code = """
        import os
        open('a', 'w').write('1')
        os.link('a', '../V2/a')
        os.sync()
        f = open('../V2/a', 'w'); f.write('2'); f.flush(); os.fsync(f.fileno())
        os.fsync(os.open('a', os.O_RDONLY))
        print([open(f'../../kept/{v}/a').read() for v in ('V1', 'V2')])
    """
    world.names = ("V1", "V2")
    assert world.run(code) == 0
    assert world.out == "['2', '2']\n"


def test_dd_with_fsync(world: World) -> None:
    code = """
        import subprocess
        subprocess.run(['dd', 'if=/dev/zero', 'of=big', 'bs=64k', 'count=40', 'conv=fsync', 'status=none'], check=True)
        print(open('../../kept/V1/big', 'rb').read() == bytes(40 << 16))
    """
    assert shutil.which("dd")
    assert world.run(code) == 0
    assert world.out == "True\n"


@pytest.mark.parametrize("commits", [3, 20, 57, 101])
@pytest.mark.parametrize("mode", ["wal", "delete", "persist", "truncate"])
def test_sqlite_has_what_it_acknowledged_after_a_crash_of_everything(world: World, mode: str, commits: int) -> None:
    """The supervisor is killed right after a commit was stored; the program cannot have been told of it."""

    def die(number: int) -> None:
        if number >= commits:
            os.kill(os.getpid(), signal.SIGKILL)

    world.setup = lambda volume, _tags: setattr(volume, "after", die)
    assert world.run(SQLITE.format(mode=mode)) == -signal.SIGKILL
    notes = world.folder / "acknowledged"
    acknowledged = [int(line) for line in notes.read_text().split()] if notes.exists() else []
    if commits > 50:
        assert acknowledged
    database = sqlite3.connect(world.kept() / "ledger.db")
    assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
    has = [row[0] for row in database.execute("select n from t order by n")] if acknowledged else []
    database.close()
    assert has[: len(acknowledged)] == acknowledged
    assert len(has) <= len(acknowledged) + 1


def test_the_program_cannot_be_supervised(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from sconectl.runtime.system_calls import kernel

    def refused(_program: bytes, _number: int) -> int:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(kernel, "install_filter", refused)
    assert world.run("print('started')") == 125
    assert world.out.startswith("[SCONE|FATAL] The program is not started: its system calls cannot be stopped")
    assert "started\n" not in world.out.replace("not started", "")
    assert world.notes == ["finish"]


def test_signals_and_health_as_without_volumes(world: World) -> None:
    child = world.begin("import os, signal, time; print('up', flush=True); time.sleep(60)")
    world.wait_for("up")
    os.kill(child, signal.SIGUSR1)
    assert exit_code(world.children.pop()) == 128 + signal.SIGUSR1


def test_an_idle_program_costs_nothing(world: World) -> None:
    child = world.begin("import time; open('a', 'w').write('x'); print('up', flush=True); time.sleep(60)")
    world.wait_for("up")
    time.sleep(2.5)

    def used() -> int:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        switches = Path(f"/proc/{child}/status").read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0]
        return int(fields[11]) + int(fields[12]) + int(switches)

    before = used()
    time.sleep(1.5)
    assert used() - before <= 1


def test_the_tests_have_a_file_system_of_memory() -> None:
    assert subprocess.run(["stat", "-f", "-c", "%T", "/dev/shm"], capture_output=True, check=True).stdout == b"tmpfs\n"


def test_what_may_still_be_written_is_noted_again_after_the_commit_of_each_volume() -> None:
    """The commit of the next one may find that a call is over, and then nobody would note what it wrote."""
    order: list[str] = []

    class Volumes:
        def __init__(self, name: str) -> None:
            self.name = name

        def commit(self, now: float) -> None:
            order.append(self.name)

        def tick(self, now: float) -> None:
            order.append(self.name)

        def next(self) -> float:
            return 0.0

    class Calls:
        def __init__(self) -> None:
            self.asked: list[Volumes] = []

        def before_commit(self) -> None:
            order.append("before")

        def after_commit(self) -> None:
            order.append("after")

        def forget_mappings(self, now: float) -> None:
            pass

    loop = supervisor._Loop.__new__(supervisor._Loop)
    keepers = [Volumes("one"), Volumes("two")]
    parts: dict[str, object] = {"_calls": Calls(), "_keepers": keepers, "_resting": [], "_share": lambda: None}
    for name, part in parts.items():
        setattr(loop, name, part)
    expected = ["before", "one", "after", "before", "two", "after"]
    loop._commit(keepers, 1.0)  # type: ignore[arg-type]
    assert order == expected
    order.clear()
    loop._do_what_is_due(1.0)
    assert order == expected
