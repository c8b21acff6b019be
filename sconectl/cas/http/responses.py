"""The two forms of answers: JSON, and problems `{"msg": [outermost, …, innermost]}` (CAS API section 3).

In: plain values, texts without secret values. Out: bytes and Starlette responses. A problem also tells the version
of the CAS, as a CAS does since 5.8, and that it is a simulation.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sconectl import __version__

SIMULATION_HEADER = (b"x-sconectl-simulation", b"true")
RETRY_AFTER = (b"retry-after", b"1")
JSON_TYPE = b"application/json"
PROBLEM_TYPE = JSON_TYPE
_PIECE = 1 << 15  # bytes
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def problem(*causes: str) -> bytes:
    """Return the body of a refusal; `causes` are outermost first."""
    return _encode({"msg": causes, "version": __version__, "simulation": True}).encode()


class BytesResponse(Response):
    """A response that is ready to be sent, without the conversions that Starlette does for each one."""

    def __init__(
        self, body: bytes, status: int = 200, media_type: bytes = JSON_TYPE, *more: tuple[bytes, bytes]
    ) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-type", media_type), (b"content-length", b"%d" % len(body)), *more]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the body in pieces, so that the unread rest is not kept a second time, encrypted."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        rest = memoryview(self.body)
        while len(rest) > _PIECE:
            await send({"type": "http.response.body", "body": bytes(rest[:_PIECE]), "more_body": True})
            rest = rest[_PIECE:]
        await send({"type": "http.response.body", "body": bytes(rest)})


def json_response(value: Any, status: int = 200) -> BytesResponse:
    """Return plain values as JSON."""
    return BytesResponse(_encode(value).encode(), status)


def problem_response(status: int, *causes: str, again: bool = False) -> BytesResponse:
    """Return a refusal; `again` says that nothing was done and that the request may be repeated in a moment."""
    return BytesResponse(problem(*causes), status, JSON_TYPE, *((RETRY_AFTER,) if again else ()))
