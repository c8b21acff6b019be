"""Runs a function that never returns in a forked child, with its output in a file."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path


def fork(function: Callable[[], object], output: Path) -> int:
    """Start the child and return its process id; 99 is its exit code if `function` returns, 98 if it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of newer Pythons, when other tests left threads
        child = os.fork()
    if child:
        return child
    try:
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for target in (1, 2):
            os.dup2(handle, target)
        signal.setitimer(signal.ITIMER_REAL, 0)
        function()
        os._exit(99)
    except BaseException as error:
        os.write(2, repr(error).encode())
    finally:
        os._exit(98)


def exit_code(child: int) -> int:
    """Wait for a child; -n after signal n."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(function: Callable[[], object], output: Path) -> tuple[int, str]:
    """Run `function` to its end; return exit code and output."""
    code = exit_code(fork(function, output))
    return code, output.read_text()
