"""Token buckets: how much somebody may use at once, and how much comes back with time.

In: amounts. Out: whether they may be used. Nothing here knows what an amount is.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable


class Bucket:
    """One account: `burst` at most, and `rate` more each second."""

    def __init__(self, burst: float, rate: float, ticks: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._rate = rate
        self._ticks = ticks
        self._level = burst
        self._at = ticks()

    def take(self, amount: float) -> bool:
        """Take `amount` if it is there; say whether it was."""
        if self.seconds_until(amount) > 0:
            return False
        self._level -= amount
        return True

    def seconds_until(self, amount: float) -> float:
        """Return in how many seconds `amount` is there, 0 if it is now. More than the burst counts as the burst."""
        now = self._ticks()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        missing = min(amount, self._burst) - self._level
        return 0.0 if missing <= 0 else missing / self._rate


class Buckets:
    """A bucket for each of at most `most` keys; when there are more, those that were not used for longest are dropped.

    Safe to use from several threads at once.
    """

    def __init__(self, burst: float, rate: float, most: int, ticks: Callable[[], float] = time.monotonic) -> None:
        self._numbers = (burst, rate, ticks)
        self._most = most
        self._found: OrderedDict[Hashable, Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: Hashable, amount: float) -> bool:
        """Take `amount` from the bucket of `key` if it is there; say whether it was."""
        with self._lock:
            return self._of(key).take(amount)

    def seconds_until(self, key: Hashable, amount: float) -> float:
        """Return in how many seconds `amount` is in the bucket of `key`."""
        with self._lock:
            return self._of(key).seconds_until(amount)

    def _of(self, key: Hashable) -> Bucket:
        bucket = self._found.get(key)
        if bucket is None:
            bucket = self._found[key] = Bucket(*self._numbers)
            if len(self._found) > self._most:
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        return bucket
