"""Customers of the shop: they ask all the time, and remember every answer that they did not get.

A customer trusts the authority that the CAS shows to everybody: one of them as it was when the shop opened, the other
as it is now. Each asks for the greeting, and for the store: nginx passes that on over mutual TLS, and redis is asked
over mutual TLS.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import Any

_PAUSE = 0.1
_PATIENCE = 30.0


def trusting(authority: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority)


def ask(address: str, path: str, trust: ssl.SSLContext, host_name: str) -> Any:
    """Return what the shop answers. Raises `OSError` (as TLS does), and `ValueError` if it answers anything else."""
    host, port = address.split(":")
    with (
        socket.create_connection((host, int(port)), _PATIENCE) as raw,
        trust.wrap_socket(raw, server_hostname=host_name) as stream,
    ):
        stream.sendall(f"GET {path} HTTP/1.0\r\nHost: {host_name}\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: stream.recv(65536), b"")).decode().partition("\r\n\r\n")
    if " 200 " not in head.split("\r\n")[0]:
        raise ValueError(head)
    return json.loads(body)


@dataclass
class Customers:
    """They ask from the beginning to the end of a `with`."""

    address: str
    host_name: str
    at_first: ssl.SSLContext
    now: ssl.SSLContext
    answers: list[Any] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    _gone: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Customers:
        self._thread = threading.Thread(target=self._ask_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._gone.set()
        self._thread.join()

    def _ask_on(self) -> None:
        while not self._gone.wait(_PAUSE):
            for trust in (self.at_first, self.now):
                try:
                    assert ask(self.address, "/ping", trust, self.host_name) == ["+OK", "+PONG"]
                    self.answers.append(ask(self.address, "/", trust, self.host_name))
                except (OSError, ValueError, AssertionError) as error:
                    self.unanswered.append(f"{type(error).__name__} {error}")

    def answered_since(self, number: int) -> list[Any]:
        """Return the answers after the first `number`; every question so far was answered."""
        assert not self.unanswered, self.unanswered
        assert len(self.answers) > number
        return self.answers[number:]
