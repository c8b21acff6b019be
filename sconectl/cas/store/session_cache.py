"""Sessions of the store, kept parsed: bounded by the memory that they take, and filled with stored ones only.

In: a hash and a function that reads its session. Out: the session. The hash is of the whole content, so none gets old.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from sconectl.cas.bounds.limits import DEFAULT
from sconectl.policy.reading import Session

_PER_CHARACTER = 40  # bytes that a session takes for a character of its document, at most; measured with tiny secrets
_AT_LEAST = 4096


class SessionCache:
    """Parsed sessions by hash; those that were used longest ago make room. Safe to use from several threads."""

    def __init__(self, limit: int = DEFAULT.cache_bytes) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._found: OrderedDict[str, tuple[Session, int]] = OrderedDict()
        self._taken = 0

    def get(self, hash_: str, document: str, parse: Callable[[], Session]) -> Session:
        """Return the session with this hash, from `parse` if it is not here; it is kept if it is not too large."""
        with self._lock:
            if hash_ in self._found:
                self._found.move_to_end(hash_)
                return self._found[hash_][0]
        session = parse()
        size = _AT_LEAST + _PER_CHARACTER * len(document)
        with self._lock:
            if hash_ not in self._found and size <= self._limit:
                self._found[hash_] = (session, size)
                self._taken += size
                while self._taken > self._limit:
                    self._taken -= self._found.popitem(last=False)[1][1]
        return session
