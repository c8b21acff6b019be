"""Brings the states of a volume to the CAS while the program runs, and keeps the lease.

In: states, one after the other. Out: which of them the CAS has. A thread does it, so that nobody waits who need not:
it sends the newest state only, tries again with growing pauses while the CAS does not answer, and renews the lease
when there is nothing to send. A state that is not confirmed within the patience is a failure, and goes on being
tried: whoever waits for it is told, and later states have a patience of their own.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time

from sconectl.runtime import log
from sconectl.runtime.link import CasNotReady
from sconectl.runtime.volumes.attested_cas import VolumeLost
from sconectl.runtime.volumes.interfaces import Progress
from sconectl.runtime.volumes.lease import Lease

DEFAULT_PATIENCE = 45.0
"""Seconds; longer than a lease lasts, so that a new container outwaits that of one that was killed."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_RENEWALS = 3  # in the time of a lease


_asking = threading.Lock()
"""Held during a request, and during a fork: a copy of the process never finds libraries in the midst of one."""
os.register_at_fork(before=_asking.acquire, after_in_parent=_asking.release, after_in_child=_asking.release)


class CasTags:
    """The tags of the volume of `lease`, which was taken; see `interfaces.Tags`."""

    def __init__(self, volume: str, lease: Lease, patience: float = DEFAULT_PATIENCE) -> None:
        self._volume = volume
        self._lease = lease
        self._patience = patience
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ending = False
        self._wanted: bytes | None = None
        self._deadline = 0.0
        self._given_up = False
        self._trouble = ""
        self._confirmed = lease.tag
        self._lost = ""
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def start(self) -> None:
        """Begin to keep the lease, if that is not done already; `send` does it, too."""
        with self._changed:
            if self._thread is None and not self._lost:
                self._ending = False
                self._thread = threading.Thread(target=self._keep, name=f"tags of {self._volume}", daemon=True)
                before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
                self._thread.start()  # which gets no signals: whoever waits for them is the main thread
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def pause(self) -> None:
        """End the thread; a request that is under way is waited for."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._ending = True
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def send(self, state: bytes) -> None:
        """Begin to bring this state to the CAS; with new patience, unless an earlier one has not been given up yet.

        So nobody waits longer than the patience, however many states come.
        """
        with self._changed:
            now = time.monotonic()
            if not self._is_waiting or now >= self._deadline:
                self._deadline = now + self._patience
                self._given_up = False
            self._wanted = state
            self._changed.notify_all()
        self.start()

    def fileno(self) -> int:
        """Return a file descriptor that is readable when there is news."""
        return self._reading

    def progress(self) -> Progress:
        """Return how far it is; afterwards the file descriptor is unreadable until there is news again.

        What it says is right at any time. That the patience is over may be news late: while a request hangs.
        """
        with contextlib.suppress(BlockingIOError):
            os.read(self._reading, 4096)
        with self._changed:
            return self._progress()

    def finish(self, seconds: float) -> Progress:
        """Wait, at most so long, until the state sent last is confirmed or given up; then release the lease."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._is_waiting and self._thread is not None:
                left = min(deadline, self._deadline) - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            found = self._progress()
        self.pause()
        if not self._lost:
            try:
                self._lease.release()
            except (CasNotReady, VolumeLost) as error:
                log.write("WARNING", f"the lease on volume {self._volume} ends by itself, it was not released: {error}")
        return found

    @property
    def _is_waiting(self) -> bool:
        return self._wanted is not None and self._wanted != self._confirmed and not self._lost

    def _progress(self) -> Progress:
        failure = ""
        if self._is_waiting and time.monotonic() >= self._deadline:
            failure = self._trouble or "it does not answer"
        return Progress(self._confirmed, failure, self._lost)

    def _keep(self) -> None:
        """Do what is due, until the end or until the volume is lost."""
        renewal = time.monotonic() + self._lease.seconds / _RENEWALS
        pause, earliest = _FIRST_PAUSE, 0.0
        while True:
            with self._changed:
                while not self._ending:
                    now = time.monotonic()
                    if self._is_waiting and not self._given_up and now >= self._deadline:
                        self._given_up = True
                        self._wake()
                    due = max(earliest, now if self._is_waiting else renewal)
                    if due <= now:
                        break
                    is_patient = self._is_waiting and not self._given_up
                    self._changed.wait(min(due, self._deadline if is_patient else due) - now)
                if self._ending:
                    return
                state = self._wanted if self._is_waiting else None
            try:
                with _asking:
                    self._lease.renew() if state is None else self._lease.move(state)
            except CasNotReady as error:
                if not self._trouble:
                    log.write("WARNING", f"the CAS does not answer for volume {self._volume} ({error}); trying again")
                self._trouble = str(error)
                earliest = time.monotonic() + pause * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            except VolumeLost as error:
                self._tell(lost=f"volume {self._volume} is lost: {error}")
                return
            except Exception as error:  # else all that waits would wait for ever
                self._tell(lost=f"volume {self._volume} is lost: {type(error).__name__}, which is a bug of sconectl")
                return
            if self._trouble:
                log.write("WARNING", f"the CAS answers for volume {self._volume} again")
            self._trouble, pause, earliest = "", _FIRST_PAUSE, 0.0
            renewal = time.monotonic() + self._lease.seconds / _RENEWALS
            self._tell(confirmed=self._lease.tag)

    def _tell(self, *, confirmed: bytes | None = None, lost: str = "") -> None:
        with self._changed:
            if lost or confirmed != self._confirmed:
                self._wake()
            if not lost:
                self._confirmed = confirmed
            self._lost = lost
            self._changed.notify_all()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # there is news already
            os.write(self._writing, b"!")
