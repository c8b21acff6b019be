"""A real CAS over TLS, and servers that are not one."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sconectl.cas import daemon
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.http import https_server
from sconectl.cas.keys.cas_keys import load_or_create
from sconectl.cas.sessions.access import Principal
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.key_hash import key_hash
from sconectl.runtime.link import open_channel


@dataclass
class Served:
    """A running CAS, its address and the hash of its key."""

    cas: EmbeddedCas
    owner: Principal
    address: str
    key: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("cas")
    cas = EmbeddedCas(folder / "state")
    listening = daemon.listen("127.0.0.1", 0)
    server = https_server.build_server(cas, ["127.0.0.1"])
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    owner = Principal.of(CasConfig(folder / "identity").identity().certificate_pem.encode())
    root = load_or_create(folder / "state").chain_pem
    from cryptography import x509

    key = key_hash(x509.load_pem_x509_certificates(root.encode())[-1].public_key())
    yield Served(cas, owner, f"127.0.0.1:{listening.getsockname()[1]}", key)
    server.should_exit = True
    thread.join(20)
    listening.close()
    assert not thread.is_alive()


Answer = Callable[[bytes], bytes]
"""From the head of a request to the bytes of the answer."""


def read_request(connection: ssl.SSLSocket) -> bytes:
    request = b""
    while data := connection.recv(65536):
        request += data
        head, end, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if end and len(body) >= int(length[1] if length else 0):
            break
    return request


@pytest.fixture
def pretender(tmp_path: Path) -> Iterator[Callable[[Answer], str]]:
    """Return a function that starts a TLS server with a key of its own and any answer, and returns its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "pretender.pem").write_bytes(open_channel().pem)
    context.load_cert_chain(tmp_path / "pretender.pem")
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def serve(listening: socket.socket, answer: Answer) -> None:
        with listening:
            listening.settimeout(0.02)
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listening.accept()
                    connection.settimeout(5)
                    with context.wrap_socket(connection, server_side=True) as tls:
                        tls.sendall(answer(read_request(tls)))

    def start(answer: Answer) -> str:
        listening = socket.create_server(("127.0.0.1", 0))
        threads.append(threading.Thread(target=serve, args=(listening, answer)))
        threads[-1].start()
        return f"127.0.0.1:{listening.getsockname()[1]}"

    yield start
    stop.set()
    for thread in threads:
        thread.join(10)
