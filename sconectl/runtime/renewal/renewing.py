"""A process beside the program that renews its files, when the CAS has renewed the certificates in them.

In: what the launcher attested with, and what the CAS gave. Out: files with new contents, and a program that was told of
them. The process attests again, over a channel of its own, when the CAS said that it would have renewed something. It
changes files only while the session is of the version that the program was started with: arguments and variables of a
running program stay as they are, and files of another version may not fit to them.
"""

from __future__ import annotations

import gc
import os
import random
import select
import time
from collections.abc import Callable
from typing import NoReturn

from sconectl.protect.index import Index
from sconectl.runtime import log
from sconectl.runtime.attest import Attester, attest_again, fill_file
from sconectl.runtime.configuration import Configuration, read_configuration
from sconectl.runtime.enclave import Enclave
from sconectl.runtime.files import Given, replace_files
from sconectl.runtime.link import CasNotReady, at_most
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.renewal.reload import Reload, ReloadFailed, reload_of

CALL_SECONDS = 20.0
_ALL_SECONDS = 120.0
"""For attesting and filling in all files: a CAS that sends single bytes passes the time of each call."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
_SPREAD, _LONGEST_SPREAD = 0.05, 60.0
"""So much of the time until a renewal is added to it at most: not all programs come at the same moment."""
_ONE_TIME = "@"


def start_renewing(known: Attester, enclave: Enclave, config: Configuration, given: Given) -> Callable[[], None] | None:
    """Fork the process, before there are threads; return what lets it begin, None if it would be of no use.

    It ends when this process does, or the one that becomes the program begins it.
    """
    if _ONE_TIME in known.config_id:
        log.write("WARNING", "certificates are not renewed: a one-time password allows one start, and no second one")
        return None
    launcher = os.getpid()
    reload = reload_of(enclave.parameters, config, enclave.index, launcher)
    asked = time.monotonic()
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        _serve(_Renewing(known, enclave.index, given, reload), reading, asked)
    os.close(reading)

    def begin() -> None:
        os.write(writing, b"1")

    return begin


def _serve(renewing: _Renewing, lifeline: int, asked: float) -> NoReturn:
    try:
        gc.freeze()  # what is there stays; from here on it may run for months
        gc.enable()
        os.setsid()
        os.dup2(lifeline, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        nothing = os.open("/dev/null", os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        if os.read(3, 1):  # else the program is not started
            renewing.run(3, asked)
    except Exception as error:
        log.write("ERROR", f"certificates are not renewed any more: {log.place_of(error)}; this is a bug of sconectl")
    os._exit(0)


class _Renewing:
    """Asks the CAS when something is due, and as long as it gets no answer again, with growing pauses."""

    def __init__(self, known: Attester, index: Index, given: Given, reload: Reload) -> None:
        self._known, self._index, self._given, self._reload = known, index, given, reload
        self._untold = False
        """Files were renewed, and the program does not know it yet."""
        self._said = ""

    def run(self, lifeline: int, asked: float) -> None:
        """Do it until nothing is to be renewed any more, or the other end of the pipe is closed."""
        wait = _spread(self._given.renew_in)
        pause = _FIRST_PAUSE
        while wait is not None:
            left = max(0.0, asked + wait - time.monotonic())
            if select.select([lifeline], (), (), left)[0]:
                return
            asked = time.monotonic()
            try:
                with at_most(_ALL_SECONDS):
                    wait = self._renew()
                self._tell()
            except (CasNotReady, LaunchRefused, ReloadFailed, OSError, ValueError) as error:
                self._warn(f"certificates could not be renewed, trying again: {_reason(error)}")
                wait = 0
            else:
                self._said = ""
            if wait != 0:
                pause, wait = _FIRST_PAUSE, _spread(wait)
                continue
            wait = pause * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not a secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _renew(self) -> float | None:
        """Bring in what is new; return after how many seconds there will be more, 0 if it was due already."""
        link, answer = attest_again(self._known, CALL_SECONDS)
        try:
            config = read_configuration(answer, self._known.host)
            if config.version != self._given.config.version:
                raise LaunchRefused(
                    f"session {config.session} was changed; the program has to be started again for what is new"
                )
            fresh = Given(config)
            for path, original in self._given.originals.items():
                fresh.filled(path, original, *fill_file(link, path, original, patience=CALL_SECONDS))
        finally:
            link.close()
        permissions = {path: permission for path, permission, _ in config.files} | dict(config.fs_files)
        changed = [path for path, content in fresh.contents.items() if content != self._given.contents.get(path)]
        replace_files(((path, permissions[path], fresh.contents[path]) for path in changed), self._index)
        self._given = fresh
        self._untold = self._untold or bool(changed)
        if changed:
            log.write("INFO", f"renewed {', '.join(changed)}")
        return fresh.renew_in

    def _tell(self) -> None:
        if self._untold:
            self._reload()
            self._untold = False

    def _warn(self, text: str) -> None:
        """Log something, but not again and again."""
        if text != self._said:
            log.write("WARNING", text)
            self._said = text


def _spread(seconds: float | None) -> float | None:
    return None if seconds is None else seconds + random.uniform(0, min(seconds * _SPREAD, _LONGEST_SPREAD))  # noqa: S311


def _reason(error: Exception) -> str:
    if isinstance(error, LaunchRefused):
        return ": ".join((error.message, *error.causes))
    return str(error) or type(error).__name__
