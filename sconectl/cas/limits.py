"""What one client may cost the server: times, sizes and numbers, and a listening socket that counts connections.

In: a TCP socket. Out: at most so many connections at a time, counted from the moment they are accepted, so that
unfinished TLS handshakes count too. The times and sizes are kept by `protocol`, `https` and `requests`.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limits:
    """Times in seconds, sizes in bytes."""

    handshake: float = 10.0
    header: float = 10.0
    body: float = 30.0
    stalled: float = 30.0  # how long a client may leave an answer unread
    idle: int = 75
    lingering: float = 2.0  # how long what follows an early answer is thrown away before the connection is closed
    goodbye: float = 5.0
    header_bytes: int = 32 << 10
    body_bytes: int = 1 << 20
    connections: int = 512
    writers: int = 4


DEFAULT = Limits()


class CountingListener(socket.socket):
    """A listening socket that closes what comes in while `limit` accepted connections are open."""

    limit: int = DEFAULT.connections
    refused: int = 0
    _open: int = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection; raises `ConnectionAbortedError` after closing one too many."""
        accepted, peer = super().accept()
        connection = _Counted(self.family, self.type, self.proto, fileno=accepted.detach())
        if self._open >= self.limit:
            connection.close()
            self.refused += 1
            raise ConnectionAbortedError("too many connections")
        self._open += 1
        connection.listener = self
        return connection, peer

    def _closed_one(self) -> None:
        self._open -= 1


class _Counted(socket.socket):
    """An accepted connection."""

    listener: CountingListener | None = None

    def close(self) -> None:
        """Close the connection; its place is free again."""
        listener, self.listener = self.listener, None
        super().close()
        if listener is not None:
            listener._closed_one()
