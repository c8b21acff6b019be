"""Requests to other machines: each with one time limit for all of it, and few at a time.

In: where to, what, until when. Out: the status and body of the answer. The time counts for everything: looking up the
name, connecting, the handshake, and an answer that drips. Nobody waits for a machine on behalf of a client that has
hung up. Raises `Busy` if too many are under way, `TimeoutError`, `OSError` (TLS too), `ValueError`.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

from sconectl.cas.bounds.lanes import Abandoned, customer, elsewhere
from sconectl.cas.bounds.limits import DEFAULT, Limits
from sconectl.cas.bounds.refusal import Busy
from sconectl.cas.sessions.import_targets import EVERYWHERE, ImportTargets

_LOOK = 0.1  # seconds; how often it is asked whether the client is still there
_CHUNK = 1 << 16
_MOST_HEADER = 1 << 14
_MOST_PIECES = 2048
_HEADER_END = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) ")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*(?=\r\n)", re.IGNORECASE)


class Outgoing:
    """All requests that a CAS makes."""

    def __init__(self, limits: Limits = DEFAULT, targets: ImportTargets = EVERYWHERE) -> None:
        self._limits = limits
        self._targets = targets
        self._lock = threading.Lock()
        self._open: Counter[tuple[str, str]] = Counter()

    def exchange(
        self, context: ssl.SSLContext, method: str, address: str, path: str, content: bytes | None, until: float
    ) -> tuple[int, bytes]:
        """Return status and body of the answer from `address` (host:port); `until` is a time of `time.monotonic`."""
        asker = customer()
        self._targets.check(address)
        request = _Request(
            context, method, address, path, content, until, self._limits.remote_bytes, self._targets.check_number
        )
        places = (("", ""), ("target", request.host), ("asker", asker.address))
        self._take(places)
        thread = threading.Thread(target=request.run, args=(lambda: self._give_back(places),), daemon=True)
        with elsewhere():
            thread.start()
            while not request.done.wait(min(_LOOK, max(0.0, until - time.monotonic()))):
                if asker.gone.is_set():
                    request.abort()
                    raise Abandoned
                if time.monotonic() >= until:
                    request.abort()
                    raise TimeoutError("it took too long")
        return request.result()

    def _take(self, places: tuple[tuple[str, str], ...]) -> None:
        limits = self._limits
        most = (limits.remote_requests, limits.remote_per_target, limits.remote_per_address)
        with self._lock:
            if any(self._open.get(place, 0) >= bound for place, bound in zip(places, most, strict=True)):
                raise Busy("Too many other CASes are being asked")
            self._open.update(places)

    def _give_back(self, places: tuple[tuple[str, str], ...]) -> None:
        with self._lock:
            self._open.subtract(places)
            self._open += Counter()  # forget what is 0


def _head(header: bytes) -> tuple[int, int]:
    """Return the status of an answer and the length that it states; raises `ValueError`."""
    status = _STATUS.match(header)
    sizes = _LENGTH.findall(header)
    if status is None or len(sizes) != 1:
        raise ValueError("not an answer of HTTP/1.1 with its length")
    return int(status[1]), int(sizes[0])


class _Request:
    """One request, in a thread of its own: a name may take long to look up, and nothing can stop that."""

    def __init__(
        self,
        context: ssl.SSLContext,
        method: str,
        address: str,
        path: str,
        content: bytes | None,
        until: float,
        most: int,
        check_number: Callable[[str], None],
    ) -> None:
        parts = urlsplit(f"https://{address}")
        self.host, self._port = parts.hostname or "", parts.port or 443
        self._context = context
        length = f"Content-Length: {len(content)}\r\n" if content is not None else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{length}\r\n"
        self._asked = head.encode("ascii") + (content or b"")
        self._until = until
        self._most = most
        self._check_number = check_number
        self._socket: socket.socket | None = None
        self._answer: tuple[int, bytes] | None = None
        self._failure: Exception | None = None
        self.done = threading.Event()

    def run(self, ended: Callable[[], None]) -> None:
        """Ask, and note the answer or the failure."""
        try:
            with self._connected() as raw:
                self._socket = raw
                raw.settimeout(self._left())
                tls = self._context.wrap_socket(raw, server_hostname=self.host, do_handshake_on_connect=False)
                with tls as self._socket:
                    tls.do_handshake()
                    self._answer = self._asked_over(tls)
        except Exception as failure:  # `result` raises it
            self._failure = failure
        finally:
            self._socket = None
            ended()
            self.done.set()

    def abort(self) -> None:
        """Hang up, so that the thread ends."""
        if (found := self._socket) is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(found, socket.SHUT_RDWR)  # of the connection below TLS

    def result(self) -> tuple[int, bytes]:
        """Return the answer, or raise the failure."""
        if self._answer is None:
            raise self._failure or TimeoutError("there is no answer")
        return self._answer

    def _connected(self) -> socket.socket:
        failure = OSError("the name has no address")
        for family, kind, protocol, _, target in socket.getaddrinfo(self.host, self._port, type=socket.SOCK_STREAM):
            raw = socket.socket(family, kind, protocol)
            try:
                self._check_number(str(target[0]))
                raw.settimeout(self._left())
                raw.connect(target)
                return raw
            except OSError as error:
                raw.close()
                failure = error
        raise failure

    def _asked_over(self, connection: socket.socket) -> tuple[int, bytes]:
        """Send the request and return the answer, which has to state its length and come in pieces of a decent size.

        Answers of CASes do so. With any other form, the other side could choose how long this takes.
        """
        connection.sendall(self._asked)
        received = bytearray()
        pieces = 0
        end, size, status = -1, 0, 0
        while end < 0 or len(received) < end + size:
            connection.settimeout(self._left())
            piece = connection.recv(_CHUNK)
            pieces += 1
            received += piece
            if not piece or pieces > _MOST_PIECES:
                raise ValueError("the answer is cut off, or comes in too many pieces")
            if end < 0:
                end = received.find(_HEADER_END, max(0, len(received) - len(piece) - 3)) + len(_HEADER_END)
                if end < len(_HEADER_END):
                    end = -1
                    if len(received) > _MOST_HEADER:
                        raise ValueError("the header of the answer is too long")
                else:
                    status, size = _head(bytes(received[:end]))
                    if size > self._most:
                        raise ValueError("the answer is too large")
        return status, bytes(received[end : end + size])

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("it took too long")
        return left
