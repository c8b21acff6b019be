"""A socket before an engine's own that lets everything pass, until the engine is to die in the middle of something."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Breaker:
    """Calls `action` once, when `limit` bytes of a request that matches `pattern`, or of its answer, have passed."""

    engine: Path
    pattern: re.Pattern[bytes]
    limit: int
    action: Callable[[], None]
    done: threading.Event = field(default_factory=threading.Event)
    ends: list[socket.socket] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    _passed: int = 0
    _armed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            self.ends += [client, server]
            try:
                server.connect(str(self.engine))
            except OSError:
                client.shutdown(socket.SHUT_RDWR)
                continue
            for source, target in ((client, server), (server, client)):
                self.threads.append(threading.Thread(target=self._pump, args=(source, target)))
                self.threads[-1].start()

    def close(self) -> None:
        for end in self.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        for end in self.ends:
            end.close()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._look(data)
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _look(self, data: bytes) -> None:
        with self._lock:
            if not self._armed and self.pattern.match(data):
                self._armed = True
            if self._armed and not self.done.is_set():
                self._passed += len(data)
                if self._passed >= self.limit:
                    self.action()
                    self.done.set()


@contextmanager
def breaking_socket(
    path: Path, engine: Path, pattern: bytes, limit: int, action: Callable[[], None]
) -> Iterator[Breaker]:
    """Listen at `path` for clients of the engine whose socket is `engine`."""
    breaker = Breaker(engine, re.compile(pattern), limit, action)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        thread = threading.Thread(target=breaker.serve, args=(listener,), daemon=True)
        thread.start()
        yield breaker
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        breaker.close()
    path.unlink()
