"""One-time passwords for starting a service: TOTP (RFC 6238) with 6 digits, steps of 30 s and SHA-1 (LANG §17.5).

In: the shared secret, the code that came with a request, and the time. Out: nothing, or a refusal. A code is good in
its own step, the one before and the one after. The last accepted step is remembered in the store: neither it nor an
earlier one is accepted again, also after a restart or a clock that was set back.
"""

from __future__ import annotations

import hmac
import threading
from collections import OrderedDict

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.store.store import Transaction

STEP = 30
DIGITS = 6
WINDOW = 1
MAX_WRONG = 5
"""So many wrong codes within `WRONG_SECONDS` close the door until the first of them is that old."""
WRONG_SECONDS = 300
_MAX_SCOPES = 4096


def code_at(secret: bytes, step: int) -> str:
    """Return the code for a counter (RFC 4226 section 5.3); for TOTP the counter is the number of the time step."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 0xF
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


class Guessing:
    """Counts wrong codes for each scope; in memory, so that a restart forgives."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, scope: str, now: float) -> None:
        """Refuse for a while after too many wrong codes."""
        with self._lock:
            if len(self._recent(scope, now)) >= MAX_WRONG:
                raise CasRefusal(403, "Too many wrong one-time passwords", "Try again in a few minutes")

    def wrong(self, scope: str, now: float) -> None:
        """Count one wrong code."""
        with self._lock:
            self._wrong[scope] = [*self._recent(scope, now), now]
            self._wrong.move_to_end(scope)
            while len(self._wrong) > _MAX_SCOPES:
                self._wrong.popitem(last=False)

    def _recent(self, scope: str, now: float) -> list[float]:
        return [time for time in self._wrong.get(scope, []) if abs(now - time) < WRONG_SECONDS]


def use_code(
    transaction: Transaction, guessing: Guessing, scope: str, secret: bytes, code: str | None, now: float
) -> None:
    """Accept `code` for `scope` (all services that share a secret) at `now` (unix seconds), once.

    Raises `CasRefusal` 403 if it is missing, wrong or was used, or after too many wrong ones.
    """
    if code is None:
        raise CasRefusal(
            403,
            "The one-time password is missing",
            "The session demands one for this service: append @ and its six digits to the configuration id",
        )
    guessing.check(scope, now)
    current = int(now // STEP)
    steps = range(max(0, current - WINDOW), current + WINDOW + 1)
    given = code.encode("utf-8", "backslashreplace")
    matching = [step for step in steps if hmac.compare_digest(code_at(secret, step).encode(), given)]
    if not matching:
        guessing.wrong(scope, now)
        raise CasRefusal(403, "The one-time password is not valid", "Check the shared secret and both clocks")
    last = int(transaction.meta(_last(scope)) or -1)
    unused = [step for step in matching if step > last]
    if not unused:
        raise CasRefusal(
            403, "The one-time password was already used in this time step", f"Wait {STEP} seconds for the next one"
        )
    transaction.set_meta(_last(scope), str(min(unused)))


def _last(scope: str) -> str:
    return f"otp:{scope}"
