"""The processes of a launcher that stays: its program, its health command, and the orphans it gets as process 1."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from sconectl.runtime.health import listen, serve

_NOT_FORWARDED = frozenset({signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGTTIN, signal.SIGTTOU})
_PARENT_FIELD = 1
"""Of /proc/PID/stat, counted from the state, which follows the name in parentheses."""


def block_signals() -> list[int]:
    """Block the signals that concern the program, and the end of children; return them."""
    wanted = [*(s for s in signal.valid_signals() if s not in _NOT_FORWARDED), signal.SIGCHLD]
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    return [int(number) for number in wanted]


def fork_program(program: Callable[[], NoReturn]) -> int:
    """Fork the process that becomes the program, with the terminal in its hands; return its number."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        _take_terminal()
        program()
    with contextlib.suppress(OSError):
        os.setpgid(child, child)
    return child


def start_health(health: Callable[[], NoReturn]) -> None:
    """Fork the process that runs the health command when asked; it ends with this one, which keeps a pipe open."""
    listener = listen()
    if listener is None:
        return
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        serve(listener, reading, health)
    os.close(reading)
    listener.close()


def handle(number: int, child: int) -> int | None:
    """Forward a signal to the program, or reap who ended; return the exit status of the program if it ended."""
    if number == signal.SIGCHLD:
        return _reap(child)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)
    return None


def kill_all() -> None:
    """Kill every process that this one has started or inherited, without waiting for their ends."""
    for pid in _children_of(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _children_of(parent: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are enough
        if name.isdecimal():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[_PARENT_FIELD]) == parent:
                    found.append(int(name))
    return found


def _take_terminal() -> None:
    with contextlib.suppress(OSError):
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, os.getpgrp())


def _reap(child: int) -> int | None:
    """Reap every child that ended; return the exit status of the program if it is among them."""
    result = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return result
        if pid == 0:
            return result
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            result = 128 - code if code < 0 else code
