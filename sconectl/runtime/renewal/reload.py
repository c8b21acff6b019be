"""What makes a program read its files again: a signal, or a command; as it was measured with the image.

In: the parameters of the enclave. Out: a `Reload`, which is called when files were renewed. Raises `ReloadFailed`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from sconectl.protect.index import Index
from sconectl.runtime import log
from sconectl.runtime.configuration import Configuration
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.start import execute, find_program

PARAMETER = "reload"
"""The parameter of the enclave: JSON, `{"signal": NAME}` or `{"command": [WORD, ...]}`."""
SIGNALS = ("SIGHUP", "SIGUSR1", "SIGUSR2")
_COMMAND_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_MASKS = re.compile(rb"^Sig(?:Blk|Ign|Cgt):\s*([0-9a-f]+)$", re.M)
"""In /proc/PID/status: what a process blocks, to wait for it, ignores, and has a function for."""
Reload = Callable[[int], None]
"""It gets the number of the process that is, or will be, the program."""


class ReloadFailed(Exception):
    """The program was not told of its new files."""


def reload_of(parameters: Mapping[str, str], config: Configuration, index: Index, launcher: int) -> Reload:
    """Return what tells the program of new files; it does nothing if the image does not say what is needed.

    A signal goes to the `launcher`, which passes it on. Raises `LaunchRefused` for a parameter that is not understood.
    """
    try:
        found = json.loads(parameters.get(PARAMETER, "{}"))
        words, name = found.pop("command", []), found.pop("signal", None)
        known = isinstance(words, list) and all(isinstance(word, str) and "\0" not in word for word in words)
        if not known or name not in (None, *SIGNALS) or found:
            raise ValueError("not known")
    except (ValueError, TypeError, AttributeError) as error:
        raise LaunchRefused("the image says in an unknown way how its program reads files again") from error
    if words:
        return lambda _program: _run(replace(config, argv=tuple(words)), index)
    if name:
        return lambda program: _signal(signal.Signals[name], launcher, program)
    return lambda _program: None


def _signal(number: signal.Signals, launcher: int, program: int) -> None:
    """Send a signal, but not to a program that it would end: one that is just starting, or that knows it not at all."""
    if not _takes(program, number):
        raise ReloadFailed(f"{number.name} would end the program, which has no handler for it (yet)")
    if os.getppid() == launcher:
        os.kill(launcher, number)


def _takes(program: int, number: signal.Signals) -> bool:
    """Say whether a signal does not end `program`; where the kernel does not tell, it is believed."""
    try:
        masks = _MASKS.findall(Path(f"/proc/{program}/status").read_bytes())
    except OSError:
        masks = []
    return not masks or any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def _run(config: Configuration, index: Index) -> None:
    """Run the command as the program would be, and wait for its end."""
    try:
        program = find_program(config, index)
    except LaunchRefused as error:
        raise ReloadFailed(error.message) from error
    child = os.fork()
    if child == 0:
        _become(config, program)
    deadline = time.monotonic() + _COMMAND_SECONDS
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise ReloadFailed(f"the command did not end within {_COMMAND_SECONDS:g} seconds")
        time.sleep(_LOOK_SECONDS)
    if code := os.waitstatus_to_exitcode(status):
        raise ReloadFailed(f"the command ended with {code}")


def _become(config: Configuration, program: str) -> NoReturn:
    try:
        os.setsid()
        os.chdir(config.pwd)
        execute(config, program)
    except BaseException as error:
        log.write("ERROR", f"the command is not run: {type(error).__name__}")
    os._exit(126)
