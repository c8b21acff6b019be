"""Runs the health command of an image beside its program: with its environment, whenever `ask_health` asks.

In: the command, as it was measured, and the configuration of the program. Out: a process that waits for questions, and
ends with the launcher that started it. Whoever asks gets output and exit code, and chooses nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import stat
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from sconectl.runtime import log
from sconectl.runtime.ask_health import FOLDER, SOCKET

PARAMETER = "health"
"""The parameter of the enclave that holds the command: a JSON list of words."""
_WAITING = 8
_PATIENCE = 5.0
_PEER = struct.Struct("3i")
Execute = Callable[[], NoReturn]
"""Replaces the process by the health command; the working directory is the program's."""


def health_command(parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words of the health command; none if the image has none, or one that this launcher cannot read."""
    try:
        words = json.loads(parameters.get(PARAMETER, "[]"))
    except (ValueError, RecursionError):
        words = None
    if isinstance(words, list) and all(isinstance(word, str) and "\0" not in word for word in words):
        return tuple(words)
    log.write("WARNING", "the health command of the image cannot be read, and is not run")
    return ()


def listen(folder: str = FOLDER, path: str = SOCKET) -> socket.socket | None:
    """Return the socket where questions arrive, in a folder for this user alone; None if there can be none."""
    try:
        with contextlib.suppress(FileNotFoundError):  # of an earlier start in the same container
            status = os.lstat(folder)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                raise PermissionError(f"{folder} belongs to somebody else")
            shutil.rmtree(folder)
        Path(folder).mkdir(0o700)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(_WAITING)
    except OSError as error:
        log.write("WARNING", f"no health command can be run: {error}")
        return None
    return listener


def serve(listener: socket.socket, lifeline: int, execute: Execute) -> NoReturn:
    """Answer questions, one after the other, until the other end of the pipe `lifeline` is closed."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    nothing = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    ended = _noticed_ends()
    while True:
        if lifeline in _readable(listener.fileno(), lifeline):
            os._exit(0)
        with contextlib.suppress(OSError), listener.accept()[0] as connection:
            connection.settimeout(_PATIENCE)
            if _may_ask(connection):
                _answer(connection, ended, execute)


def _readable(*descriptors: int) -> set[int]:
    """Wait until one of the descriptors can be read, or its other end is closed; `select` takes none above 1023."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll()}


def _noticed_ends() -> int:
    """Return a file descriptor that becomes readable when a child ends."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def _may_ask(connection: socket.socket) -> bool:
    """Tell whether the same user asks, or root; the folder is closed for others anyway."""
    _, user, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return user in (0, os.geteuid())


def _answer(connection: socket.socket, ended: int, execute: Execute) -> None:
    _, files, _, _ = socket.recv_fds(connection, 1, 2)
    output, errors = files if len(files) == 2 else (1, 2)
    child = os.fork()
    if child == 0:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(errors, 2)
        execute()
    for file in files:
        os.close(file)
    connection.send(bytes([_wait(child, connection, ended)]))


def _wait(child: int, connection: socket.socket, ended: int) -> int:
    """Return the exit status of the command; end the command if the client hangs up."""
    while True:
        readable = _readable(ended, connection.fileno())
        with contextlib.suppress(BlockingIOError):
            os.read(ended, 4096)
        if connection.fileno() in readable:  # nothing more is to come but the end
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise ConnectionResetError
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return (128 - code if code < 0 else code) & 0xFF
