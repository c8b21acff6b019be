"""What all requests together may hold in memory: bodies that arrive, and answers that nobody reads.

In: numbers of bytes, and whose they are. Out: yes or no. Small ones are not counted; connections are bounded anyway.
"""

from __future__ import annotations

from collections import Counter

SMALL = 1 << 14


class Budget:
    """At most `total` bytes at a time, and `per_address` of one address; used by the event loop only."""

    def __init__(self, total: int, per_address: int) -> None:
        self._total = total
        self._per_address = per_address
        self._taken: Counter[str] = Counter()
        self._sum = 0

    def take(self, address: str, size: int) -> bool:
        """Say whether there is room for `size` bytes more, and count them."""
        if self._sum + size > self._total or self._taken.get(address, 0) + size > self._per_address:
            return False
        self._sum += size
        self._taken[address] += size
        return True

    def give_back(self, address: str, size: int) -> None:
        """Count `size` bytes less."""
        self._sum -= size
        self._taken[address] -= size
        if not self._taken[address]:
            del self._taken[address]
