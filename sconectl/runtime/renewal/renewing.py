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
import signal
import time
from collections.abc import Callable
from typing import NoReturn

from sconectl.protect.index import Index
from sconectl.runtime import log
from sconectl.runtime.attest import AttestationRefused, Attester, attest_again, fill_file
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
_LONGEST_REFUSED = 3600.0
"""The longest pause while the CAS gives nothing: each attempt is in its audit log, and somebody has to act."""
_SPREAD, _LONGEST_SPREAD = 0.05, 60.0
"""So much of the time until a renewal is added to it at most: not all programs come at the same moment."""
_LOOK_SECONDS = 60.0
"""A machine that slept is late by this at most."""
_FOR_EVER = 10**10
"""Seconds; a sum with more of them may be no time any more."""
_ONE_TIME = "@"


class _Changed(LaunchRefused):
    """The session is of another version than the one that the program was started with."""


def start_renewing(known: Attester, enclave: Enclave, config: Configuration, given: Given) -> Callable[[], None] | None:
    """Fork the process, before there are threads; return what lets it begin, None if it would be of no use.

    It ends when this process does, or the one that becomes the program begins it.
    """
    if _ONE_TIME in known.config_id:
        log.write("WARNING", "certificates are not renewed: a one-time password allows one start, and no second one")
        return None
    launcher = os.getpid()
    reload = reload_of(enclave.parameters, config, enclave.index, launcher)
    asked = _now()
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        _serve(_Renewing(known, enclave.index, given, reload), reading, asked)
    os.close(reading)

    def begin() -> None:
        """Let the process begin that renews the files of the program, which is this process or becomes it."""
        try:
            os.write(writing, b"%d" % os.getpid())
        except BrokenPipeError:
            signal.sigtimedwait((signal.SIGPIPE,), 0)  # where it is blocked, it would end the program
            log.write("WARNING", "certificates are not renewed: the process that does it has ended")

    return begin


def _serve(renewing: _Renewing, lifeline: int, asked: float) -> NoReturn:
    try:
        gc.freeze()  # what is there stays; from here on it may run for months
        gc.enable()
        os.setsid()
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a program may send them to all; this one ends with the launcher
        os.dup2(lifeline, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        nothing = os.open("/dev/null", os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        if program := os.read(3, 32):  # else it is not started
            renewing.run(3, int(program), asked)
    except Exception as error:
        log.write("ERROR", f"certificates are not renewed any more: {_bug(error)}")
    os._exit(0)


class _Renewing:
    """Asks the CAS when something is due, and as long as it gets no answer again, with growing pauses."""

    def __init__(self, known: Attester, index: Index, given: Given, reload: Reload) -> None:
        self._known, self._index, self._given, self._reload = known, index, given, reload
        self._untold = False
        """Files were renewed, and the program does not know it yet."""
        self._said = ""

    def run(self, lifeline: int, program: int, asked: float) -> None:
        """Do it until nothing is to be renewed any more, or the other end of the pipe is closed."""
        due = _later(asked, self._given.renew_in)
        begin, pause = due, _FIRST_PAUSE
        while begin is not None:
            if _ended(lifeline, begin):
                return
            try:
                if due is not None and due <= (asked := _now()):
                    with at_most(_ALL_SECONDS):
                        self._renew()
                    due = _later(asked, self._given.renew_in)
                if self._untold:
                    self._reload(program)
                    self._untold = False
                if self._given.renew_in == 0:
                    raise LaunchRefused("the CAS has not made anew all that is due; its log says why")
            except Exception as error:  # none of them may be the last one
                self._warn(f"certificates could not be renewed, trying again: {_reason(error)}")
                begin = _now() + pause * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, _LONGEST_REFUSED if _refused(error) else _LONGEST_PAUSE)
            else:
                begin, pause, self._said = due, _FIRST_PAUSE, ""

    def _renew(self) -> None:
        """Bring in what is new."""
        link, answer = attest_again(self._known, CALL_SECONDS)
        try:
            config = read_configuration(answer, self._known.host)
            if config.version != self._given.config.version:
                raise _Changed(
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

    def _warn(self, text: str) -> None:
        """Log something, but not again and again."""
        if text != self._said:
            log.write("WARNING", text)
            self._said = text


def _now() -> float:
    """Return a time that goes on while the machine sleeps, and that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _later(now: float, seconds: int | None) -> float | None:
    """Return when so many seconds and a bit more are over; None stands for never."""
    if seconds is None:
        return None
    wait = float(min(seconds, _FOR_EVER))
    return now + wait + random.uniform(0, min(wait * _SPREAD, _LONGEST_SPREAD))  # noqa: S311 - jitter, not a secret


def _ended(lifeline: int, until: float) -> bool:
    """Wait until then; say whether the other end of the pipe was closed before."""
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    while True:
        left = min(max(0.0, until - _now()), _LOOK_SECONDS)
        if poll.poll(1000 * left):
            return True
        if _now() >= until:
            return False


def _refused(error: Exception) -> bool:
    return isinstance(error, _Changed) or (isinstance(error, AttestationRefused) and error.status != 429)


def _reason(error: Exception) -> str:
    if isinstance(error, LaunchRefused):
        return ": ".join((error.message, *error.causes))
    if isinstance(error, CasNotReady | ReloadFailed | OSError):
        return str(error) or type(error).__name__
    return _bug(error)


def _bug(error: Exception) -> str:
    return f"{log.place_of(error)}; this is a bug of sconectl"
