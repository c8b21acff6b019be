"""Starts the program with exactly what the policy prescribes, and stays behind as its init where it is PID 1.

In: argument vector, environment and working directory of the policy. Out: the program's exit status.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from sconectl.protect.index import Index, is_below
from sconectl.runtime import log
from sconectl.runtime.children import block_signals, fork_program, handle, start_health
from sconectl.runtime.configuration import Configuration
from sconectl.runtime.files import sealed_target
from sconectl.runtime.log import LaunchRefused

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_LINKS = 40
_MAX_SCRIPTS = 5
_MAX_LINE = 256
"""The kernel's own limits."""


def find_program(config: Configuration, index: Index) -> str:
    """Return the path of the program that the policy names, as container runtimes would execute it: scripts see it.

    A relative path counts from the working directory of the policy. Raises `LaunchRefused` unless it leads to a
    protected file of the image (measured, or in an encrypted directory), and so are the links on the way to it and the
    interpreter of a script.
    """
    if not config.argv or not config.argv[0]:
        raise LaunchRefused(f"the policy gives no command for service {config.service}")
    present = ""
    for candidate in _candidates(config):
        real = os.path.join(config.pwd, candidate)  # noqa: PTH118 - not a Path
        if not os.path.isfile(real):  # noqa: PTH113
            continue
        if os.access(real, os.X_OK):
            _require_protected(real, config.pwd, index)
            return candidate
        present = candidate
    if present:
        raise LaunchRefused(
            f"the program {present} of the policy cannot be executed",
            causes=("its mode does not allow it, or it is in an encrypted directory and /dev/shm is mounted noexec",),
        )
    raise LaunchRefused(f"the program {config.argv[0]} of the policy was not found in the image")


def _candidates(config: Configuration) -> list[str]:
    name = config.argv[0]
    if "/" in name:
        return [name]
    folders = config.environment.get("PATH", DEFAULT_PATH).split(":")
    return [os.path.normpath(os.path.join(config.pwd, folder, name)) for folder in folders]  # noqa: PTH118


def _require_protected(program: str, pwd: str, index: Index, depth: int = 0) -> None:
    """Refuse a program that is not protected, or whose links or script interpreter are not."""
    real = _follow(program, index)
    if index.entries.get(real, ("",))[0] != "f" and not _is_sealed(real, index):
        raise LaunchRefused(f"the program {program} is not among the protected files of the image")
    interpreter = _interpreter(real)
    if interpreter and depth < _MAX_SCRIPTS:
        _require_protected(os.path.join(pwd, interpreter), pwd, index, depth + 1)  # noqa: PTH118


def _follow(path: str, index: Index) -> str:
    """Return where `path` leads to, like `os.path.realpath`. Raises `LaunchRefused` at a link that is not protected."""
    real, left, links = "", path.split("/")[::-1], 0
    while left:
        part = left.pop()
        step = f"{real}/{part}"
        if part in ("", "."):
            continue
        if part == "..":
            real = real.rpartition("/")[0]
        elif os.path.islink(step):  # noqa: PTH114
            links += 1
            if links > _MAX_LINKS or not (index.entries.get(step, ("",))[0] == "l" or _is_sealed(step, index)):
                raise LaunchRefused(f"the way to the program {path} leads through {step}, which is not protected")
            target = os.readlink(step)  # noqa: PTH115
            real = "" if target.startswith("/") else real
            left += target.split("/")[::-1]
        else:
            real = step
    return real


def _is_sealed(real: str, index: Index) -> bool:
    return is_below(real, tuple(sealed_target(path) for path in index.sealed))


def _interpreter(script: str) -> str:
    """Return the interpreter that the first line of a script names, or nothing."""
    try:
        with Path(script).open("rb") as file:
            line = file.read(_MAX_LINE).split(b"\n")[0]
    except OSError:  # a script would have to be readable
        return ""
    words = line[2:].replace(b"\t", b" ").strip(b" ").split(b" ")
    return os.fsdecode(words[0]) if line.startswith(b"#!") else ""


Supervise = Callable[[Callable[[], NoReturn], Callable[[], NoReturn] | None], NoReturn]
"""Forks the program (given what becomes it, and what becomes its health command), and stays until it ends."""


def start(
    config: Configuration,
    program: str,
    health: Callable[[], NoReturn] | None = None,
    supervise: Supervise | None = None,
    begin: Callable[[], None] | None = None,
) -> NoReturn:
    """Run the program and never return: replaced by it, or, as PID 1, as its init that passes signals on.

    `health` becomes the health command of the image, if it has one; the launcher stays behind to run it. So it does
    for whoever has to `supervise` the program, and for what begins its work beside it: `begin` is called when signals
    that this process gets are passed on.
    """
    try:
        os.chdir(config.pwd)
    except OSError as error:
        reason = error.strerror or "not accessible"
        raise LaunchRefused(f"the working directory {config.pwd} of the policy: {reason}") from error
    if os.getpid() != 1 and health is None and supervise is None and begin is None:
        execute(config, program)

    def become() -> NoReturn:
        if begin:
            begin()
        execute(config, program)

    (supervise or _supervise)(become, health)


def execute(config: Configuration, program: str) -> NoReturn:
    """Become the program, with only the configuration of the policy: signals, files and umask as at the beginning."""
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
        log.write("FATAL", f"{program}: {error.strerror}{hint}")
        os._exit(126 if error.errno != errno.ENOENT else 127)


def _supervise(program: Callable[[], NoReturn], health: Callable[[], NoReturn] | None = None) -> NoReturn:
    """Fork the program, forward signals to it, reap orphans, and exit with its status (128 + n after signal n)."""
    wanted = block_signals()
    if health:
        start_health(health)
    child = fork_program(program)
    while True:
        status = handle(signal.sigwaitinfo(wanted).si_signo, child)
        if status is not None:
            os._exit(status)
