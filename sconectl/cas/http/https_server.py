"""The HTTPS server: TLS, limits and the application put together.

In: a CAS, the names under which it is reached, limits. Out: a server that runs on listening sockets, and log lines
that all say that it is a simulation.
"""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import contextlib
import ctypes
import gc
import logging
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import uvicorn

from sconectl.cas.bounds.limits import DEFAULT, Limits
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.http.application import create_app
from sconectl.cas.http.http_protocol import CasProtocol
from sconectl.cas.http.listener import CountingListener
from sconectl.cas.http.tls import server_context
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.errors import CasError

RENEWAL_SECONDS = 3600.0
TENDING_SECONDS = 10.0
_GRACE_SECONDS = 5
_BACKLOG = 256
_ACCEPTED_AT_ONCE = 8  # before open connections have their turn again
_READ_BYTES = 1 << 14  # a TLS record; each connection keeps a buffer of this size
# A thread that computes gives the interpreter to others after this time. An attestation needs it some fifty times.
_SWITCH_SECONDS = 0.0001
# A full garbage collection stops all other work, and finds nothing among the objects of a large session.
_COLLECT = (20_000, 20, 50)
_M_ARENA_MAX, _ARENAS = -8, 2  # malloc.h of glibc
_M_MMAP_THRESHOLD, _LARGE = -3, 1 << 17

_log = logging.getLogger(__name__)


def build_server(cas: EmbeddedCas, names: Iterable[str], limits: Limits = DEFAULT) -> HttpsServer:
    """Return the server for `cas`, reachable under `names` too; it runs with `server.run(sockets=[…])`."""
    context = server_context(cas.keys.serve_as(names), cas.keys.software, limits)
    return HttpsServer(create_app(cas, limits), context, limits, background=lambda: _in_background(cas))


async def _in_background(cas: EmbeddedCas) -> None:
    await asyncio.gather(_renewing(cas), _tending(cas))


async def _tending(cas: EmbeddedCas) -> None:
    """Let the CAS do its periodic work every few seconds."""
    while True:
        await asyncio.sleep(TENDING_SECONDS)
        await _done(cas.tend, "periodic work failed")


async def _renewing(cas: EmbeddedCas) -> None:
    """Renew certificates in time, now and every hour; after a failure it is tried again in the next hour."""
    while True:
        await _done(cas.renew, "certificates were not renewed")
        await asyncio.sleep(RENEWAL_SECONDS)


async def _done(work: Callable[[], object], failure: str) -> None:
    try:
        await asyncio.get_running_loop().run_in_executor(None, work)
    except (CasError, CasRefusal) as error:
        _log.error("%s: %s", failure, error)
    except Exception as bug:  # its text may hold what must not be logged
        _log.error("%s: %s, which is a bug", failure, type(bug).__name__)


def _share_memory() -> None:
    """Let all threads share the same arenas of malloc, and return large blocks to the system when they are freed.

    Otherwise each thread keeps the memory that it has freed. C libraries other than glibc have neither this call nor
    such arenas.
    """
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, _ARENAS)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)


class HttpsServer(uvicorn.Server):
    """A uvicorn server with our protocol, whose TLS handshakes have a time limit, and one task in the background."""

    def __init__(
        self,
        app: object,
        context: ssl.SSLContext,
        limits: Limits,
        *,
        background: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,  # type: ignore[arg-type]  # uvicorn's own ASGI types are narrower than Starlette's
                loop="asyncio",
                http=CasProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                headers=[("x-sconectl-simulation", "true")],
                timeout_keep_alive=limits.idle_seconds,  # type: ignore[arg-type]  # any number does
                timeout_graceful_shutdown=_GRACE_SECONDS,
                h11_max_incomplete_event_size=limits.header_bytes,
            )
        )
        self._context = context
        self._limits = limits
        self._background = background
        self._task: asyncio.Task[None] | None = None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal comes."""
        before = sys.getswitchinterval(), gc.get_threshold()
        sys.setswitchinterval(_SWITCH_SECONDS)
        _share_memory()
        gc.freeze()
        gc.set_threshold(*_COLLECT)
        try:
            super().run(sockets)
        finally:
            sys.setswitchinterval(before[0])
            gc.set_threshold(*before[1])
            gc.unfreeze()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on `sockets`, and start the background task."""
        loop = asyncio.get_running_loop()

        def protocol(listening: CountingListener) -> CasProtocol:
            return CasProtocol(
                limits=self._limits,
                listener=listening,
                config=self.config,
                server_state=self.server_state,
                app_state={},
                _loop=loop,
            )

        # So many bytes are decrypted before other connections have their turn.
        asyncio.sslproto.SSLProtocol.max_size = _READ_BYTES
        self.servers = [
            await loop.create_server(
                partial(protocol, listening),
                sock=listening,
                ssl=self._context,
                backlog=_ACCEPTED_AT_ONCE,
                ssl_handshake_timeout=self._limits.handshake_seconds,
                ssl_shutdown_timeout=self._limits.goodbye_seconds,
            )
            for listening in sockets or []
            if isinstance(listening, CountingListener)
        ]
        for listening in sockets or []:
            listening.listen(_BACKLOG)
        if self._background is not None:
            self._task = asyncio.ensure_future(self._background())
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the background task, let running requests finish for a moment, and close all connections."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await super().shutdown(sockets)
