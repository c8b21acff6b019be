"""The REST interface of the embedded CAS as an ASGI application.

In: requests with the client's certificate in their scope (`tls`). Out: answers of `EmbeddedCas` as JSON; refusals as
`{"msg": [cause, …]}`. Every answer says that this is a simulation. Bodies and values are never logged.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sconectl import __version__
from sconectl.cas.access import Principal
from sconectl.cas.refusal import CasRefusal
from sconectl.cas.service import EmbeddedCas
from sconectl.cas.tls import PEER_CERTIFICATE
from sconectl.errors import CasError

MAX_BODY = 1 << 20
SIMULATION_HEADER = (b"x-sconectl-simulation", b"true")
_NO_CERTIFICATE = "This needs a TLS client certificate"

_log = logging.getLogger(__name__)


def create_app(cas: EmbeddedCas) -> ASGIApp:
    """Return the application that serves `cas`."""
    endpoints = _Endpoints(cas)
    values = Route("/v1/values/{selector:path}", endpoints.values, methods=["GET"])
    values.methods = {"GET"}  # clients take 405 for HEAD as a proof of denial; Starlette would add HEAD
    app = Starlette(
        routes=[
            Route("/v1/sessions", endpoints.create, methods=["POST"]),
            Route("/session", endpoints.create, methods=["POST"]),
            Route("/v1/sessions/{name:path}", endpoints.read, methods=["GET"]),
            Route("/session/{name:path}", endpoints.read_text, methods=["GET"]),
            values,
            Route("/v1/version", endpoints.version, methods=["GET"]),
            Route("/health", endpoints.health, methods=["GET"]),
            Route("/v1/sim/certificate-chain", endpoints.certificate_chain, methods=["GET"]),
            Route("/v1/sim/quote", endpoints.quote, methods=["POST"]),
            Route("/v1/sim/attest", endpoints.attest, methods=["POST"]),
        ],
        exception_handlers={CasRefusal: _refused, HTTPException: _http_error, CasError: _failed, 500: _bug},
    )
    return _SimulationHeader(app)


class _Endpoints:
    """One method for each row of the REST interface; blocking work runs in threads."""

    def __init__(self, cas: EmbeddedCas) -> None:
        self._cas = cas

    async def create(self, request: Request) -> Response:
        principal = _principal(request)
        body = await _body(request)
        hash_ = await run_in_threadpool(self._cas.put, body, principal)
        return JSONResponse({"hash": hash_}, status_code=201)

    async def read(self, request: Request) -> Response:
        name, wanted = request.path_params["name"], request.query_params.get("hash")
        stored = await run_in_threadpool(self._cas.read, name, _principal(request), wanted)
        return JSONResponse({"session": stored.text, "hash": stored.hash})

    async def read_text(self, request: Request) -> Response:
        stored = await run_in_threadpool(self._cas.read, request.path_params["name"], _principal(request))
        return PlainTextResponse(stored.text, media_type="application/yaml")

    async def values(self, request: Request) -> Response:
        session, secret = _selector(request.path_params["selector"])
        if secret is not None:
            return JSONResponse(await run_in_threadpool(self._cas.public_value, session, secret))
        return JSONResponse({"values": await run_in_threadpool(self._cas.public_values, session)})

    async def version(self, request: Request) -> Response:
        return JSONResponse({"version": __version__, "simulation": True})

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "simulation": True})

    async def certificate_chain(self, request: Request) -> Response:
        return PlainTextResponse(self._cas.keys.chain_pem, media_type="application/x-pem-file")

    async def quote(self, request: Request) -> Response:
        message = await _json(request, {"report"})
        return JSONResponse({"quote": await run_in_threadpool(self._cas.quote, message["report"])})

    async def attest(self, request: Request) -> Response:
        certificate = request.scope.get(PEER_CERTIFICATE)
        if certificate is None:
            raise CasRefusal(401, _NO_CERTIFICATE)
        message = await _json(request, {"config_id", "quote"})
        if not isinstance(message["config_id"], str):
            raise CasRefusal(400, "The request is malformed", "config_id is no text")
        config = await run_in_threadpool(self._cas.attest, message["config_id"], message["quote"], certificate)
        return JSONResponse({"config": config})


def _principal(request: Request) -> Principal:
    certificate = request.scope.get(PEER_CERTIFICATE)
    if certificate is None:
        raise CasRefusal(401, _NO_CERTIFICATE)
    try:
        return Principal.of(certificate)
    except ValueError as error:
        raise CasRefusal(401, "The TLS client certificate cannot be used", str(error)) from error


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise CasRefusal(413, f"The body has more than {MAX_BODY} bytes")
    return bytes(body)


async def _json(request: Request, keys: set[str]) -> dict[str, Any]:
    try:
        message = json.loads(await _body(request))
    except (ValueError, RecursionError) as error:
        raise CasRefusal(400, "The request is malformed", "The body is not JSON") from error
    if not isinstance(message, dict) or set(message) != keys:
        raise CasRefusal(400, "The request is malformed", f"Expected a JSON object with {', '.join(sorted(keys))}")
    return message


def _selector(text: str) -> tuple[str, str | None]:
    """Read `session=NAME[,secret=SECRET]`."""
    pairs = [part.partition("=") for part in text.split(",")]
    found = {key: value for key, _, value in pairs}
    if len(found) != len(pairs) or not found.get("session") or not set(found) <= {"session", "secret"}:
        raise CasRefusal(400, "The request is malformed", "Expected /v1/values/session=NAME[,secret=SECRET]")
    return found["session"], found.get("secret")


async def _refused(request: Request, error: Exception) -> Response:
    refusal = error if isinstance(error, CasRefusal) else CasRefusal(500)
    return JSONResponse({"msg": list(refusal.causes)}, status_code=refusal.status)


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    text = {404: "There is no such resource", 405: "This method is not allowed here"}.get(status, "Refused")
    return JSONResponse({"msg": [text]}, status_code=status, headers=headers)


async def _failed(request: Request, error: Exception) -> Response:
    _log.error("%s %r failed: %s", request.method, request.url.path, error)
    return JSONResponse({"msg": ["The CAS cannot do this now", "Its log says why"]}, status_code=500)


async def _bug(request: Request, error: Exception) -> Response:
    return JSONResponse({"msg": ["The CAS failed", "Its log says why"]}, status_code=500)


class _SimulationHeader:
    """Adds the header to every answer, errors included."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), SIMULATION_HEADER]}
            await send(message)

        await self._app(scope, receive, marked)
