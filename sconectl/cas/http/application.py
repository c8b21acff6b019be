"""The REST interface of a CAS as an ASGI application.

In: requests whose state tells the client's certificates (`http_protocol`). Out: the answers of `endpoints`; refusals
as `{"msg": [cause, …]}`; one line of the log for each request that changes something or is refused, without bodies,
values and queries.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sconectl.cas.bounds.lanes import Abandoned
from sconectl.cas.bounds.limits import DEFAULT, Limits
from sconectl.cas.bounds.memory_budget import SMALL, Budget
from sconectl.cas.bounds.refusal import Busy, CasRefusal
from sconectl.cas.http.endpoints import Endpoints
from sconectl.cas.http.http_protocol import READ
from sconectl.cas.http.requests import Call
from sconectl.cas.http.responses import BytesResponse, problem_response
from sconectl.cas.http.routes import ROWS
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.errors import CasError

_SHOWN_PATH = 200
_SHOWN_DETAILS = 2000
_HTTP_ERRORS = {404: "There is no such resource", 405: "This method is not allowed here"}

_log = logging.getLogger(__name__)
Handler = Callable[[Call], Awaitable[BytesResponse]]


def create_app(cas: EmbeddedCas, limits: Limits = DEFAULT) -> ASGIApp:
    """Return the application that serves `cas`."""
    endpoints = Endpoints(cas, limits)
    app = Starlette(
        routes=list(_routes(endpoints, _Bounds.of(limits))),
        exception_handlers={HTTPException: _http_error},
    )
    app.router.redirect_slashes = False  # a redirect would lead clients off the documented paths
    return app


@dataclass(frozen=True)
class _Bounds:
    """The limits that all paths share, and the memory for all bodies and for all answers together."""

    limits: Limits
    bodies: Budget
    answers: Budget

    @classmethod
    def of(cls, limits: Limits) -> _Bounds:
        bodies = Budget(limits.bodies_bytes, limits.bodies_bytes_per_address)
        return cls(limits, bodies, Budget(limits.answers_bytes, limits.answers_bytes))


def _routes(endpoints: Endpoints, bounds: _Bounds) -> Iterable[Route]:
    paths: dict[str, dict[str, Handler]] = {}
    for row in ROWS:
        paths.setdefault(row.matches, {})[row.method] = getattr(endpoints, row.handler)
    for path, handlers in paths.items():
        route = Route(path, _Endpoint(handlers, bounds), methods=list(handlers))
        # Clients take 405 for HEAD as a proof of denial (CAS API section 3); Starlette would add it to every GET.
        route.methods = set(handlers)
        yield route


class _Endpoint:
    """Everything that happens on one path."""

    def __init__(self, handlers: dict[str, Handler], bounds: _Bounds) -> None:
        self._handlers = handlers
        self._bounds = bounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, self._bounds.limits, self._bounds.bodies)
        try:
            answer = await self._answer(call, scope)
        except Abandoned:
            return
        finally:
            call.release()
        size = len(answer.body) if len(answer.body) > SMALL else 0
        address = call.customer.address
        if size and not self._bounds.answers.take(address, size):
            size, answer = 0, problem_response(503, "The CAS is busy", "Too many large answers are not read")
        if answer.status_code >= 400 or scope["method"] != "GET":
            _log.info("%d %s by %s", answer.status_code, _shown(scope), _client(call))
        try:
            await answer(scope, receive, send)
            if size:
                await scope["state"][READ]()
        finally:
            if size:
                self._bounds.answers.give_back(address, size)

    async def _answer(self, call: Call, scope: Scope) -> BytesResponse:
        try:
            return await self._handlers[scope["method"]](call)
        except Abandoned:
            raise
        except CasRefusal as refusal:
            if refusal.details:
                _log.info("%s: %s", _one_line(refusal.causes[0]), _one_line("; ".join(refusal.details)))
            return problem_response(refusal.status, *refusal.causes, again=isinstance(refusal, Busy))
        except CasError as error:
            _log.error("%s failed: %s", _shown(scope), error.message)
            return problem_response(503, "The CAS cannot do this now", "Its log says why")
        except Exception as bug:  # its text may hold what must not be logged or answered; where it happened does not
            where = "".join(traceback.format_tb(bug.__traceback__))
            _log.error("%s failed: %s, which is a bug\n%s", _shown(scope), type(bug).__name__, where)
            return problem_response(500, "The CAS failed", "Its log says why")


def _one_line(text: str) -> str:
    """Return `text`, which may quote another CAS, as a single printable line for the log."""
    shown = "".join(c if c.isprintable() else "?" for c in text[: _SHOWN_DETAILS + 1])
    return shown if len(shown) <= _SHOWN_DETAILS else f"{shown[:-1]}…"


def _shown(scope: Scope) -> str:
    """Return method and path; the raw path has no control characters."""
    path = scope["raw_path"].decode("ascii", "replace")
    return f"{scope['method']} {path[:_SHOWN_PATH]}{'…' if len(path) > _SHOWN_PATH else ''}"


def _client(call: Call) -> str:
    try:
        principal = call.principal()
    except CasRefusal:
        return "a client whose certificate cannot be used"
    return principal.key_hash if principal else "a client without certificate"


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers: Any = (error.headers if isinstance(error, HTTPException) else None) or {}
    _log.info("%d %s", status, _shown(request.scope))
    answer = problem_response(status, _HTTP_ERRORS.get(status, "Refused"))
    answer.raw_headers += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return answer
