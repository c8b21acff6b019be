"""A listening socket that counts connections, and closes those that wait for their client when there are too many.

In: a TCP socket and limits. Out: at most so many connections at a time, counted from the moment they are accepted, so
that unfinished TLS handshakes count too. Whoever was waited for longest makes room for who comes now: idle connections
and slow requests keep nobody out. A connection whose request is being worked on is never closed for that.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from functools import lru_cache
from typing import Any

from sconectl.cas.bounds.limits import DEFAULT, Limits

_PATIENCE = 1.0  # seconds in which a client that does what it should has gone on, so that it is not taken for idle
_NETWORK = 64  # bits of an IPv6 address that one customer has to himself at least


def address_of(peer: Any) -> str:
    """Return by which address a peer (as sockets name it) is counted: an IPv4 address, or an IPv6 network."""
    return _counted_as(str(peer[0])) if isinstance(peer, tuple) and peer else "unknown"


@lru_cache(maxsize=4096)
def _counted_as(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    mapped = address.ipv4_mapped
    return str(mapped or ipaddress.IPv6Network((address, _NETWORK), strict=False))


class CountingListener(socket.socket):
    """A listening socket whose accepted connections are bounded by `limits`."""

    limits: Limits = DEFAULT

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._open: dict[Any, Accepted] = {}

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection; raises `ConnectionAbortedError` if it had to be closed at once."""
        accepted, peer = super().accept()
        connection = Accepted(self.family, self.type, self.proto, fileno=accepted.detach())
        connection.address = address_of(peer)
        own = [other for other in self._open.values() if other.address == connection.address]
        if len(own) >= self.limits.connections_per_address:
            self._make_room(connection, own)
        elif len(self._open) >= self.limits.connections:
            self._make_room(connection, list(self._open.values()))
        self._open[peer] = connection
        connection.listener, connection.peer = self, peer
        return connection, peer

    def found(self, peer: Any) -> Accepted | None:
        """Return the open connection with this peer."""
        return self._open.get(peer)

    @property
    def open(self) -> int:
        """The number of open connections."""
        return len(self._open)

    def _make_room(self, newcomer: Accepted, among: list[Accepted]) -> None:
        late = time.monotonic() - _PATIENCE
        waiting = [found for found in among if found.waiting_since is not None and found.waiting_since < late]
        if not waiting:
            newcomer.close()
            raise ConnectionAbortedError("too many connections")
        min(waiting, key=lambda connection: connection.waiting_since or 0.0).hang_up()

    def _closed_one(self, connection: Accepted) -> None:
        if self._open.get(connection.peer) is connection:
            del self._open[connection.peer]


class Accepted(socket.socket):
    """An accepted connection; `waiting_since` is None while its request is worked on."""

    listener: CountingListener | None = None
    peer: Any = None
    address: str = "unknown"
    waiting_since: float | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.waiting_since = time.monotonic()

    def client_owes(self, owes: bool) -> None:
        """Note who has to act next: the client (it has to send, read, or hang up) or the server."""
        if not owes:
            self.waiting_since = None
        elif self.waiting_since is None:
            self.waiting_since = time.monotonic()

    def hang_up(self) -> None:
        """End the connection; its owner notices at once, and its place is free."""
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)
        self._leave()

    def close(self) -> None:
        """Close the connection; its place is free again."""
        super().close()
        self._leave()

    def _leave(self) -> None:
        listener, self.listener = self.listener, None
        if listener is not None:
            listener._closed_one(self)
