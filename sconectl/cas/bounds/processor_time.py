"""The processor time that each address has used lately, so that the address that used least goes first.

In: addresses, and the seconds that work for them took. Out: seconds, of which half is forgotten in a while, so that
work of long ago does not count.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_HALF = 10.0  # seconds after which half of what was used is forgotten
_REMEMBERED = 4096  # addresses


class ProcessorTime:
    """Processor time by address. Not for use by several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def add(self, address: str, seconds: float) -> None:
        """Note that work for `address` took so many seconds."""
        self._seconds[address] = (self.lately(address) + seconds, self._clock())
        self._seconds.move_to_end(address)
        if len(self._seconds) > _REMEMBERED:
            self._seconds.popitem(last=False)

    def lately(self, address: str) -> float:
        """Return how many seconds `address` has used lately."""
        seconds, noted = self._seconds.get(address, (0.0, 0.0))
        return seconds * 0.5 ** ((self._clock() - noted) / _HALF) if seconds else 0.0
