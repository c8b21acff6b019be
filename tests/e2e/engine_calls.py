"""A tap on the container engine's socket: what one program asks of the engine, whoever else uses it meanwhile."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_REQUEST = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) (?:/v[0-9.]+)?(/[^ ]*) HTTP/1\.1\r\n")
_BLOCK = 1 << 18
SOCKET = "/var/run/docker.sock"

MAKING = re.compile(r"POST /(build|commit|containers|images/(load|create)|images/.*/push|session|exec)")
"""Calls that build, load, push, pull or start something."""


class Tap:
    """Stands between a program and the engine. `calls` are like `POST /images/load`, `sent` is their size in bytes.

    `before` is told of each call before the engine is.
    """

    def __init__(self, listening: socket.socket, engine: str, before: Callable[[str], None]) -> None:
        self._before = before
        self.calls: list[str] = []
        self.sent = 0
        self._listening = listening
        self._engine = engine

    def making(self) -> list[str]:
        return [call for call in self.calls if MAKING.match(call)]

    def serve(self) -> None:
        connections = []
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                break
            connections.append(threading.Thread(target=self._connect, args=(client,)))
            connections[-1].start()
        for connection in connections:
            connection.join()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._engine)
            answers = threading.Thread(target=_forward, args=(engine, client, lambda _data: None))
            answers.start()
            _forward(client, engine, self._hear)
            answers.join()

    def _hear(self, data: bytes) -> None:
        self.sent += len(data)
        for verb, path in _REQUEST.findall(data):
            self.calls.append(f"{verb.decode()} {path.decode()}")
            self._before(self.calls[-1])


def _forward(source: socket.socket, target: socket.socket, hear: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while data := source.recv(_BLOCK):
            hear(data)
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def tapped(folder: Path, before: Callable[[str], None] = lambda _call: None) -> Iterator[tuple[str, Tap]]:
    """Provide another DOCKER_HOST for the same engine, and what is heard there."""
    place = folder / "engine.sock"
    engine = os.environ.get("DOCKER_HOST", f"unix://{SOCKET}").removeprefix("unix://")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen()
        tap = Tap(listening, engine, before)
        serving = threading.Thread(target=tap.serve)
        serving.start()
        try:
            yield f"unix://{place}", tap
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()
            place.unlink()
