"""The one way in which the embedded CAS says no.

In: an HTTP status and causes, outermost first, and details. Out: an exception that the server turns into an answer and
the in-process client into `CasRefused`. Causes are for whoever asked, so they hold nothing that only readers of the
session may know (docs/cas.md has the table); details are for the log. Neither holds secret values.
"""

from __future__ import annotations


class CasRefusal(Exception):
    """The CAS refuses a request; `status` is an HTTP status, `causes` says why, `details` tells the log more."""

    def __init__(self, status: int, *causes: str, details: tuple[str, ...] = ()) -> None:
        super().__init__(": ".join(causes))
        self.status = status
        self.causes = causes
        self.details = details


class Busy(CasRefusal):
    """A bound of `limits` is reached that is about what goes on at the same time: 503, to be tried again."""

    def __init__(self, *causes: str) -> None:
        super().__init__(503, "The CAS is busy", *causes)
