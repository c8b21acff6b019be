"""The one way in which the embedded CAS says no.

In: an HTTP status and causes, outermost first. Out: an exception that the server turns into an answer and the
in-process client into `CasRefused`. Causes never hold secret values.
"""

from __future__ import annotations


class CasRefusal(Exception):
    """The CAS refuses a request; `status` is an HTTP status, `causes` says why, outermost first."""

    def __init__(self, status: int, *causes: str) -> None:
        super().__init__(": ".join(causes))
        self.status = status
        self.causes = causes
