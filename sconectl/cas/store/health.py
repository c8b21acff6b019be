"""Whether the store of a CAS can be written, tried and not assumed.

In: the store. Out: nothing, or a refusal with the condition of the store, which names no place on the machine. A trial
costs a write to the disk, so its result is kept for a moment, however often clients ask.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from typing import TYPE_CHECKING

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.store.faults import condition
from sconectl.errors import CasError

if TYPE_CHECKING:
    from sconectl.cas.store.store import Store

_log = logging.getLogger(__name__)
_KEPT_SECONDS = 2.0


class Health:
    """The result of the last trial; safe to use from several threads at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._tried: float | None = None
        self._condition = ""

    def check(self) -> None:
        """Raise `CasRefusal` 503 if nothing can be written now."""
        with self._lock:
            if self._tried is None or time.monotonic() - self._tried > _KEPT_SECONDS:
                self._try()
                self._tried = time.monotonic()
            if self._condition:
                raise CasRefusal(503, f"Nothing can be stored: {self._condition}")

    def _try(self) -> None:
        before, self._condition = self._condition, ""
        try:
            with self._store.writing() as transaction:
                transaction.set_meta("trial", secrets.token_hex(8))
        except (CasError, CasRefusal) as error:
            self._condition = condition(error)
            if self._condition != before:
                _log.error("nothing can be stored: %s", error)
