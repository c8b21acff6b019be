"""HTTP/1.1 on one TLS connection: who the peer is, and how long it may take.

In: bytes after the TLS handshake. Out: requests whose scope tells the peer's certificates, and an end to connections
whose header, body or reading is late, or that speak anything but HTTP/1 (RFC 9112; status codes of RFC 9110, RFC 6585).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from sconectl.cas.bounds.lanes import Customer
from sconectl.cas.bounds.limits import Limits
from sconectl.cas.http.listener import Accepted, CountingListener, address_of
from sconectl.cas.http.responses import PROBLEM_TYPE, SIMULATION_HEADER, problem

PEER_CERTIFICATE = "peer_certificate"
"""The key of the state of the ASGI scope with the client's certificate (DER), or None."""
PEER_CHAIN = "peer_chain"
"""The key with a function for all certificates that the client presented (DER), its own first."""

CUSTOMER = "customer"
"""The key with the `Customer` of this connection."""
READ = "read"
"""The key with a function to await until the client has read (nearly) everything that was sent to it."""

_LATE = "The request took too long to arrive"
_NOT_HTTP = "This is not a request of HTTP/1.1"
_TOO_LARGE = "The header of the request is too large"
_TOO_MANY_CHUNKS = "The body comes in too many pieces"
_REFUSED = {413: _TOO_MANY_CHUNKS, 431: _TOO_LARGE}
_HEADER_END = re.compile(rb"\n\r?\n")


class _Counting(h11.Connection):
    """Stops reading a request whose header has too many lines, or whose body has too many pieces: each takes time."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(h11.SERVER, limits.header_bytes)
        self._limits = limits
        self._pieces = 0

    def next_event(self) -> Any:
        """Return the next event; raises `h11.RemoteProtocolError` with the status to answer."""
        if self.their_state is h11.IDLE:
            waiting = self.trailing_data[0]
            end = _HEADER_END.search(waiting)
            if waiting.count(b"\n", 0, end.start() if end else len(waiting)) > self._limits.header_lines:
                raise h11.RemoteProtocolError(_TOO_LARGE, error_status_hint=431)
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._pieces += 1
            if self._pieces > self._limits.body_chunks:
                raise h11.RemoteProtocolError(_TOO_MANY_CHUNKS, error_status_hint=413)
        elif isinstance(event, h11.Request):
            self._pieces = 0
        return event


class CasProtocol(H11Protocol):
    """One connection, with timers for what the client owes: a header, a body, reading the answer."""

    def __init__(self, *, limits: Limits, listener: CountingListener, **rest: Any) -> None:
        super().__init__(**rest)
        self.conn = _Counting(limits)
        self._listener = listener
        self._accepted: Accepted | None = None
        self._customer = Customer()
        self.access_log = False  # `application` logs requests
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take over a connection after its handshake."""
        super().connection_made(transport)
        self._tls = transport.get_extra_info("ssl_object")
        certificate = self._tls.getpeercert(True)
        peer = transport.get_extra_info("peername")
        self._accepted = self._listener.found(peer)
        self._customer = Customer(address_of(peer), hashlib.sha256(certificate or b"").hexdigest())
        self.app_state = {
            PEER_CERTIFICATE: certificate,
            PEER_CHAIN: self._tls.peer_chain,
            CUSTOMER: self._customer,
            READ: self.flow.drain,
        }
        self._owed(self._limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection and its timers."""
        self._settled()
        self._read_again()
        self._customer.hang_up()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.cycle = None  # type: ignore[assignment]  # it refers to this object: both would wait for the collector

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first ones of a header start its time."""
        if self.transport.is_closing():
            return
        if self._timer is None:
            self._owed(self._limits.header_seconds)
        super().data_received(data)

    def handle_events(self) -> None:
        """Handle complete events, and set a time for the rest that the client still owes."""
        before = self.cycle
        super().handle_events()
        if self.transport.is_closing():
            return
        if self.cycle is not before:
            self._tls.overhead = 0
        if self.cycle is not before and not self.scope["http_version"].startswith("1."):
            self._refuse(400, _NOT_HTTP)  # the preface of HTTP/2 looks like a request
            return
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            if self.cycle is not before:
                self._owed(self._limits.body_seconds)
        elif state is not h11.IDLE or self.timeout_keep_alive_task is not None:
            self._settled()
        if self._accepted is not None:
            working = state is not h11.SEND_BODY and self.cycle is not None and not self.cycle.response_complete
            self._accepted.client_owes(not working)

    def on_response_complete(self) -> None:
        """Go on with the next request; the rest of a body that nobody wants is thrown away for a moment."""
        if self._accepted is not None:
            self._accepted.client_owes(True)
        if not self.flow.write_paused:
            self._read_again()
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self._owed(self._limits.lingering_seconds)

    def pause_writing(self) -> None:
        """Wait for a client that does not read its answer, but not for ever: the whole of it has one time limit."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.stalled_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client reads again."""
        super().resume_writing()
        if self.cycle is None or self.cycle.response_complete:
            self._read_again()

    def shutdown(self) -> None:
        """End the connection after the current request."""
        if not self.transport.is_closing():
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP/1.1; called while the fault is being handled."""
        fault = sys.exc_info()[1]
        hint = fault.error_status_hint if isinstance(fault, h11.RemoteProtocolError) else 400
        if hint in _REFUSED:
            self._refuse(hint, _REFUSED[hint])
        else:
            self._refuse(400, _NOT_HTTP)

    def _should_upgrade(self) -> bool:
        return False  # and no warnings about it: the client goes on with HTTP/1.1

    def _read_again(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _owed(self, seconds: float) -> None:
        self._settled()
        self._timer = self.loop.call_later(seconds, self._late)

    def _settled(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()  # nothing was asked, so there is nothing to answer
        else:
            self._refuse(408, _LATE)

    def _refuse(self, status: int, text: str) -> None:
        """Answer, unless an answer is already on its way, and hang up."""
        self._settled()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not self.transport.is_closing():
            body = problem(text)
            headers = [
                (b"content-type", PROBLEM_TYPE),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
                SIMULATION_HEADER,
            ]
            answer = h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status])
            self.transport.write(self.conn.send(answer) or b"")
            if not (self.scope and self.scope["method"] == "HEAD"):
                self.transport.write(self.conn.send(h11.Data(data=body)) or b"")
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
