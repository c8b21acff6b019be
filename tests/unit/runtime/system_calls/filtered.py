"""A filtered process that runs Python code, and a listener to answer it."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sconectl.runtime.system_calls.kernel import architecture
from sconectl.runtime.system_calls.listener import Call, Listener, become_filtered, take_listener

from ..forked import fork

_MAPPING = architecture().numbers["mmap"]


@contextmanager
def filtered(code: str, output: Path) -> Iterator[tuple[int, Listener]]:
    """Run `code` in a Python with the filter; it is killed in the end."""
    ours, theirs = socket.socketpair()
    supervisor = os.getpid()

    def program() -> None:
        become_filtered(theirs, supervisor)
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", code])

    child = fork(program, output)
    theirs.close()
    listener = take_listener(ours)
    ours.close()
    try:
        yield child, listener
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(listener.descriptor)


def next_call(listener: Listener, seconds: float = 10) -> Call:
    """Return the next call that still waits, but for the mappings of an interpreter that starts."""
    deadline = time.monotonic() + seconds
    while True:
        assert select.select([listener], [], [], max(0.0, deadline - time.monotonic()))[0], "no call was stopped"
        call = listener.receive()
        if call and call.number != _MAPPING:
            return call
        if call:
            listener.proceed(call.id)


def end(child: int, listener: Listener) -> int:
    """Let all calls run until the process ends; return its exit status."""
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if select.select([listener], [], [], 0.005)[0] and (call := listener.receive()):
            listener.proceed(call.id)
