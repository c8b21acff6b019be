"""Starts the program with exactly what the policy prescribes, and stays behind as its init where it is PID 1.

In: argument vector, environment and working directory of the policy. Out: the program's exit status.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from sconectl.protect.index import Index, is_below
from sconectl.runtime.attest import Configuration
from sconectl.runtime.files import sealed_target
from sconectl.runtime.log import LaunchRefused

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOT_FORWARDED = frozenset({signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGTTIN, signal.SIGTTOU})


def find_program(config: Configuration, index: Index) -> str:
    """Return the path of the program that the policy names.

    Raises `LaunchRefused` unless it is a protected file of the image (measured, or in an encrypted directory).
    """
    if not config.argv or not config.argv[0]:
        raise LaunchRefused(f"the policy gives no command for service {config.service}")
    name = config.argv[0]
    if "/" in name:
        candidates = [os.path.join(config.pwd, name)]  # noqa: PTH118 - argv semantics, not a Path
    else:
        folders = config.environment.get("PATH", DEFAULT_PATH).split(":")
        candidates = [os.path.join(folder or config.pwd, name) for folder in folders]  # noqa: PTH118
    for candidate in candidates:
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):  # noqa: PTH113
            real = os.path.realpath(candidate)
            if not _is_protected(real, index):
                raise LaunchRefused(f"the program {candidate} is not among the protected files of the image")
            return candidate
    raise LaunchRefused(f"the program {name} of the policy was not found in the image")


def _is_protected(real: str, index: Index) -> bool:
    if index.entries.get(real, ("",))[0] == "f":
        return True
    return is_below(real, tuple(sealed_target(path) for path in index.sealed))


def start(config: Configuration, program: str) -> NoReturn:
    """Run the program and never return: replaced by it, or, as PID 1, as its init that passes signals on."""
    try:
        os.chdir(config.pwd)
    except OSError as error:
        reason = error.strerror or "not accessible"
        raise LaunchRefused(f"the working directory {config.pwd} of the policy: {reason}") from error
    if os.getpid() != 1:
        _execute(config, program)
    _supervise(lambda: _execute(config, program))


def _execute(config: Configuration, program: str) -> NoReturn:
    for number in range(1, signal.NSIG):
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.umask(0o022)
    try:
        os.execve(program, list(config.argv), config.environment)  # noqa: S606
    except OSError as error:
        hint = " (is its interpreter in the image?)" if error.errno == errno.ENOENT else ""
        print(f"[SCONE|FATAL] {program}: {error.strerror}{hint}", file=sys.stderr, flush=True)
        os._exit(126 if error.errno != errno.ENOENT else 127)


def _supervise(execute: Callable[[], NoReturn]) -> NoReturn:
    """Fork the program, forward signals to it, reap orphans, and exit with its status (128 + n after signal n)."""
    forwarded = [s for s in signal.valid_signals() if s not in _NOT_FORWARDED and s < signal.SIGRTMIN]
    signal.pthread_sigmask(signal.SIG_BLOCK, [*forwarded, signal.SIGCHLD])
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        _take_terminal()
        execute()
    with contextlib.suppress(OSError):
        os.setpgid(child, child)
    wanted = [*forwarded, signal.SIGCHLD]
    while True:
        number = signal.sigwaitinfo(wanted).si_signo
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)
            continue
        status = _reap(child)
        if status is not None:
            os._exit(status)


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
