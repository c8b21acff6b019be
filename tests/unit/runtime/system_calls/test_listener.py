"""Real processes with the real filter: their calls stop, run, fail, and end with them."""

from __future__ import annotations

import errno
import os
import platform
import select
import signal
import time
from pathlib import Path

import pytest

from sconectl.runtime.system_calls.kernel import architecture
from sconectl.runtime.system_calls.listener import Listener

from ..forked import exit_code
from .filtered import end, filtered, next_call

NUMBERS = architecture().numbers


def test_a_stopped_call_runs_when_it_may(tmp_path: Path) -> None:
    code = "import os; f = os.open('file', os.O_CREAT | os.O_WRONLY); os.pwrite(f, b'seven b', 5); print('written')"
    out = tmp_path / "out"
    with filtered(f"import os; os.chdir({str(tmp_path)!r}); {code}", out) as (child, listener):
        call = next_call(listener)
        assert (call.number, call.a2, call.a3) == (NUMBERS["pwrite64"], 7, 5)
        assert Path(f"/proc/{call.tid}/fd/{call.a0}").stat().st_ino == (tmp_path / "file").stat().st_ino
        assert (tmp_path / "file").stat().st_size == 0
        assert listener.proceed(call.id)
        assert end(child, listener) == 0
    assert (tmp_path / "file").read_bytes() == b"\0" * 5 + b"seven b"
    assert out.read_text() == "written\n"


def test_a_stopped_call_fails_as_it_is_told(tmp_path: Path) -> None:
    code = "import os\ntry:\n os.fsync(1)\nexcept OSError as error:\n print(error.errno)"
    with filtered(code, tmp_path / "out") as (child, listener):
        call = next_call(listener)
        assert call.number == NUMBERS["fsync"]
        assert listener.fail(call.id, errno.ENOSPC)
        assert end(child, listener) == 0
    assert (tmp_path / "out").read_text() == f"{errno.ENOSPC}\n"


def test_threads_and_children_are_stopped_too(tmp_path: Path) -> None:
    code = (
        "import os, threading\n"
        "t = threading.Thread(target=lambda: os.fsync(1)); t.start(); t.join()\n"
        "if os.fork() == 0:\n os.fdatasync(1); os._exit(0)\n"
        "os.wait(); os.sync()"
    )
    with filtered(code, tmp_path / "out") as (child, listener):
        calls = []
        for _ in range(3):
            calls.append(next_call(listener))
            assert listener.proceed(calls[-1].id)
        assert end(child, listener) == 0
    assert [call.number for call in calls] == [NUMBERS[name] for name in ("fsync", "fdatasync", "sync")]
    assert len({call.tid for call in calls}) == 3 and calls[2].tid == child


def test_a_caller_that_is_killed_waits_no_more(tmp_path: Path) -> None:
    with filtered("import os; os.fsync(1)", tmp_path / "out") as (child, listener):
        call = next_call(listener)
        os.kill(child, signal.SIGKILL)
        assert exit_code(child) == -signal.SIGKILL
        assert not listener.proceed(call.id)
        assert not listener.fail(call.id, errno.EIO)


def test_a_caller_that_is_killed_before_it_is_received_is_not_received(tmp_path: Path) -> None:
    with filtered("import os; os.fsync(1)", tmp_path / "out") as (child, listener):
        wait_until_it_sleeps_in_fsync(child, listener)
        os.kill(child, signal.SIGKILL)
        assert exit_code(child) == -signal.SIGKILL
        assert listener.receive() is None


def wait_until_it_sleeps_in_fsync(child: int, listener: Listener) -> None:
    while not is_in_fsync(child):
        if select.select([listener], [], [], 0)[0] and not is_in_fsync(child) and (call := listener.receive()):
            assert listener.proceed(call.id)


def is_in_fsync(child: int) -> bool:
    return Path(f"/proc/{child}/syscall").read_text().startswith(f"{NUMBERS['fsync']} ")


def test_a_signal_does_not_lose_a_call(tmp_path: Path) -> None:
    code = "import os, signal; signal.signal(signal.SIGUSR1, lambda *_: print('signal')); os.fsync(1); print('synced')"
    with filtered(code, tmp_path / "out") as (child, listener):
        call = next_call(listener)
        os.kill(child, signal.SIGUSR1)
        time.sleep(0.05)
        while not listener.proceed(call.id):  # an older kernel interrupts the caller, who then asks again
            call = next_call(listener)
        assert end(child, listener) == 0
    assert sorted((tmp_path / "out").read_text().split()) == ["signal", "synced"]


REFUSED = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for number, *arguments in {calls}:
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(a) for a in arguments])
    print(number, result, ctypes.get_errno())
"""


def test_what_would_pass_by_is_not_there(tmp_path: Path) -> None:
    absent = ["io_uring_setup", "io_uring_enter", "io_uring_register", "io_setup", "io_submit", "openat2"]
    calls = [(NUMBERS[name], 1, 0, 0, 0) for name in absent] + [(NUMBERS["pwritev2"], 1, 0, 0, 0, 0, 2)]
    with filtered(REFUSED.format(calls=calls), tmp_path / "out") as (child, listener):
        assert end(child, listener) == 0
    expected = [f"{NUMBERS[name]} -1 {errno.ENOSYS}" for name in absent]
    assert (tmp_path / "out").read_text().splitlines() == [
        *expected,
        f"{NUMBERS['pwritev2']} -1 {errno.EOPNOTSUPP}",
    ]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other machines have no x32")
def test_x32_is_not_there(tmp_path: Path) -> None:
    calls = [(0x40000000 | 39,), (0x40000000 | NUMBERS["fsync"], 1)]
    with filtered(REFUSED.format(calls=calls), tmp_path / "out") as (child, listener):
        assert end(child, listener) == 0
    assert [line.split()[1:] for line in (tmp_path / "out").read_text().splitlines()] == [["-1", "38"]] * 2


INT_80 = """
import ctypes, mmap
code = bytes.fromhex("b814000000" "cd80" "c3")  # mov eax, 20 (getpid of 32 bits); int 0x80; ret
page = mmap.mmap(-1, 4096, prot=7)
page.write(code)
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only there are calls of 32 bits an instruction away")
def test_calls_of_32_bits_are_not_there(tmp_path: Path) -> None:
    with filtered(INT_80, tmp_path / "out") as (child, listener):
        assert end(child, listener) == 0
    assert (tmp_path / "out").read_text() == "-38\n"


def test_the_program_ends_with_its_supervisor(tmp_path: Path) -> None:
    middle = os.fork()
    if middle == 0:
        with filtered("import os, time; os.fsync(1); time.sleep(60)", tmp_path / "out") as (child, listener):
            (tmp_path / "pid").write_text(str(child))
            listener.proceed(next_call(listener).id)
            os.kill(os.getpid(), signal.SIGKILL)
    assert exit_code(middle) == -signal.SIGKILL
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
