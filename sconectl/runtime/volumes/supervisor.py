"""Stays with a program that has volumes: one loop that answers its calls, and does all that is due in between.

In: the volumes, opened, and what becomes the program. Out: the program's exit status, after its last changes are on the
storage. The program does not outlive this loop: if the loop fails, whatever the reason, all processes are killed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from sconectl.runtime import log
from sconectl.runtime.children import block_signals, fork_program, handle, kill_all, start_health
from sconectl.runtime.log import EXIT_REFUSED
from sconectl.runtime.system_calls import kernel
from sconectl.runtime.system_calls.listener import Listener, become_filtered, keep_open, take_listener
from sconectl.runtime.volumes.calls import Calls, share
from sconectl.runtime.volumes.interfaces import Mount
from sconectl.runtime.volumes.keeper import Keeper, Lost

_REST = 0.02
"""Seconds between two looks at the queue of changes, if nobody asks: often enough that it does not overflow."""
_MOST_CALLS = 64
"""Calls that are answered before a sync that waits; those that are there anyway are to be part of its commit."""
_KILL_SECONDS, _FINISH_SECONDS = 2.0, 6.0
"""Together less than the ten seconds that container engines wait after SIGTERM."""
_SWITCH_SECONDS = 0.0005
"""A thread that talks to the CAS gives way to the loop after this time."""


def supervise(
    mounts: Sequence[Mount], program: Callable[[], NoReturn], health: Callable[[], NoReturn] | None = None
) -> NoReturn:
    """Fork the program, keep its volumes durable, and exit with its status (128 + n after signal n).

    The CAS has to have the present state of each volume. Exits with 125 if the program cannot be supervised.
    """
    gc.freeze()  # what is there stays; from here on the launcher may run for months
    gc.enable()
    status = EXIT_REFUSED
    try:
        status = _supervise(mounts, program, health)
    except Lost as error:
        log.write("FATAL", f"The program is ended: {error}")
        _end_all()
    except Exception as error:
        kill_all()
        log.write("FATAL", f"The program is ended: {log.place_of(error)}; this is a bug of sconectl")
        _end_all()
    os._exit(status)


def _supervise(mounts: Sequence[Mount], program: Callable[[], NoReturn], health: Callable[[], NoReturn] | None) -> int:
    signals = block_signals()
    with contextlib.suppress(OSError):  # as process 1 it gets all orphans anyway
        kernel.set_process(kernel.SET_CHILD_SUBREAPER, 1)
    sys.setswitchinterval(_SWITCH_SECONDS)
    keepers = [Keeper(mount) for mount in mounts]
    if health:
        start_health(health)
    ours, theirs = socket.socketpair()
    supervisor = os.getpid()

    def filtered() -> NoReturn:
        ours.close()
        try:
            become_filtered(theirs, supervisor)
        except OSError:
            os._exit(EXIT_REFUSED)
        program()

    child = fork_program(filtered)
    theirs.close()
    try:
        listener = take_listener(ours)
    except OSError as error:
        log.write(
            "FATAL",
            f"The program is not started: its system calls cannot be stopped ({error.strerror}); volumes need Linux "
            "5.5 or newer, and a seccomp profile that allows seccomp with a listener, as the default ones do",
        )
        status = EXIT_REFUSED
    else:
        silent = keep_open(listener)
        status = _Loop(child, silent, listener, keepers, signals).run()
    finally:
        ours.close()
    _end_all()
    return status if _finish(keepers) or status else EXIT_REFUSED


def _end_all() -> None:
    """Kill all processes that are left, as the end of process 1 would: no change comes after the last commit."""
    deadline = time.monotonic() + _KILL_SECONDS
    kill_all()
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.002)
        kill_all()


def _finish(keepers: Sequence[Keeper]) -> bool:
    """Commit the last changes of all volumes and bring their tags to the CAS; tell whether all of that was done."""
    deadline = time.monotonic() + _FINISH_SECONDS
    if len(keepers) > 1:
        share(keepers)
    done = True
    for left, keeper in zip(range(len(keepers), 0, -1), keepers, strict=True):
        now = time.monotonic()
        if not keeper.finish(now, max(0.5, (deadline - now) / left)):
            log.write("FATAL", f"volume {keeper.mount.volume.name}: the last changes of the program were not kept")
            done = False
    return done


class _Loop:
    """Runs until the program has ended."""

    def __init__(
        self, child: int, silent: int, listener: Listener, keepers: Sequence[Keeper], signals: Sequence[int]
    ) -> None:
        self._child, self._listener, self._keepers, self._signals = child, listener, keepers, signals
        self._calls = Calls(listener, keepers, kernel.architecture().numbers, silent)
        self._status: int | None = None
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        self._others: dict[int, Callable[[float], None]] = {}
        self._resting: list[tuple[float, Keeper]] = []
        self._on(kernel.signal_descriptor(signals), self._take_signals)
        now = time.monotonic()
        for keeper in keepers:
            self._look(keeper)
            keeper.changed(now)
            if keeper.mount.tags is not None:
                self._on(keeper.mount.tags.fileno(), keeper.heard)
                keeper.mount.tags.start()

    def run(self) -> int:
        """Return the exit status of the program."""
        listening, receive, take = self._listener.fileno(), self._listener.receive, self._calls.take
        poll, clock = self._poll.poll, time.monotonic
        calls = 0
        wake = self._next()
        while self._status is None:
            asked = self._calls.asked
            ready = poll(0 if asked else None if wake is None else max(0.0, wake - clock()) * 1000 + 0.5)
            stopped = busy = False
            for descriptor, event in ready:
                if descriptor != listening:
                    self._others[descriptor](clock())
                    busy = True
                elif event & select.POLLIN:
                    stopped = True
                    if call := receive():
                        take(call)
                else:  # every process with the filter has ended
                    self._poll.unregister(listening)
            calls += 1
            if asked and (not stopped or calls > _MOST_CALLS or self._calls.is_of_one_thread):
                self._commit(asked, clock())
                busy = True
            if not asked or busy:
                calls = 0
            if busy:
                wake = self._next()
            if wake is not None and wake <= (now := clock()):
                self._do_what_is_due(now)
                wake = self._next()
        return self._status

    def _on(self, descriptor: int, do: Callable[[float], None]) -> None:
        self._others[descriptor] = do
        self._poll.register(descriptor, select.POLLIN)

    def _look(self, keeper: Keeper) -> None:
        """Wait for changes of its files; whoever cannot see them has to look each second."""
        descriptor = keeper.mount.watch.fileno()
        if descriptor >= 0:
            self._on(descriptor, lambda now: self._see(keeper, descriptor, now))

    def _see(self, keeper: Keeper, descriptor: int, now: float) -> None:
        """Take the changes out of the queue, and leave it alone for a moment."""
        keeper.mount.watch.drain(keeper.hints)
        if keeper.hints.names:
            keeper.mount.volume.close_files()
        keeper.changed(now)
        self._poll.unregister(descriptor)
        del self._others[descriptor]
        self._resting.append((now + _REST, keeper))

    def _next(self) -> float | None:
        """Return when there is something to do, if nothing happens before."""
        times = [until for until, _ in self._resting]
        times += [due for keeper in self._keepers if (due := keeper.next()) is not None]
        return min(times, default=None)

    def _do_what_is_due(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            self._look(self._resting.pop(0)[1])
        due = [keeper for keeper in self._keepers if (at := keeper.next()) is not None and at <= now]
        if due:
            self._calls.forget_mappings(now)
            self._share()
            for keeper in due:
                self._calls.before_commit()
                keeper.tick(now)
                self._calls.after_commit()  # before the next volume finds that a call is over

    def _commit(self, keepers: Sequence[Keeper], now: float) -> None:
        self._calls.asked = [keeper for keeper in self._calls.asked if keeper not in keepers]
        self._share()
        for keeper in keepers:
            self._calls.before_commit()
            keeper.commit(now)
            self._calls.after_commit()  # before the next volume finds that a call is over

    def _share(self) -> None:
        if len(self._keepers) > 1:
            share(self._keepers)

    def _take_signals(self, now: float) -> None:
        while (received := signal.sigtimedwait(self._signals, 0)) is not None:
            if received.si_signo == signal.SIGTERM:
                self._commit(self._keepers, now)
            status = handle(received.si_signo, self._child)
            if status is not None:
                self._status = status
