"""Who writes next: one at a time, and attestations before everybody else.

In: threads that want to write. Out: turns. So that a stream of attestations does not keep all others out, one of them
has its turn after so many.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

_IN_A_ROW = 8


class Turns:
    """A lock for which urgent threads wait in a line of their own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = False
        self._urgent = 0
        self._others = 0
        self._row = 0

    @contextlib.contextmanager
    def turn(self, *, urgent: bool) -> Iterator[None]:
        """Wait for a turn and keep it until the end of the block."""
        with self._changed:
            self._wait(urgent)
            self._taken = True
            self._row = self._row + 1 if urgent else 0
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()

    def _wait(self, urgent: bool) -> None:
        if urgent:
            self._urgent += 1
        else:
            self._others += 1
        try:
            self._changed.wait_for(lambda: self._may(urgent))
        finally:
            if urgent:
                self._urgent -= 1
            else:
                self._others -= 1

    def _may(self, urgent: bool) -> bool:
        if self._taken:
            return False
        first = self._others == 0 or self._row < _IN_A_ROW
        return first if urgent else not self._urgent or not first
