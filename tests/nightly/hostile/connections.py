"""Attacks below whole requests: connections that are idle, slow, half-open, chopped up, or never read."""

from __future__ import annotations

import contextlib
import socket
import ssl
from functools import cache

from . import documents
from .requests import Strike, drawn
from .wire import Hostile, outcome_of

HELD = (0.5, 3, 8)
"""For how many seconds a strike may hold what it has opened."""


def idle_connections(client: Hostile) -> None:
    """A12: many, of every state of completeness, and nothing comes."""
    with contextlib.ExitStack() as opened:
        kind = client.rng.choice(("tcp", "tls", "header", "asked"))
        for _ in range(client.rng.choice((20, 150))):
            try:
                link = opened.enter_context(client.socket() if kind == "tcp" else client.tls())
                if kind == "header":
                    link.sendall(b"POST /v1/sessions HTTP/1.1\r\nhost: c")
                elif kind == "asked":
                    link.sendall(b"GET /livez HTTP/1.1\r\nhost: cas\r\n\r\n")
                    link.recv(1000)
            except OSError as error:
                client.note(outcome_of(error))
                break
            client.note("opened")
            client.breathe()
        client.rest(client.rng.choice(HELD))


def slow_handshakes(client: Hostile) -> None:
    """The first message of TLS, byte by byte, or half of it."""
    hello = _hello(client)
    with contextlib.ExitStack() as opened:
        links = [opened.enter_context(client.socket()) for _ in range(client.rng.choice((1, 20)))]
        half = client.rng.randrange(1, len(hello))
        for link in links:
            link.sendall(hello[:half])
        for byte in range(half, half + 12):
            client.breathe()
            for link in links:
                link.sendall(hello[byte % len(hello) : byte % len(hello) + 1])
            client.rest(0.5)
        client.note("dripped")


def _hello(client: Hostile) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client.context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def handshake_flood(client: Hostile) -> None:
    """Handshakes, as many as the share of a processor allows, and nothing else."""
    for _ in range(60):
        client.breathe()
        client.tls().close()
        client.note("shaken hands")


def half_handshakes(client: Hostile) -> None:
    """The CAS signs, and nobody reads its signature."""
    hello = _hello(client)
    for _ in range(80):
        client.breathe()
        with client.socket() as link:
            link.sendall(hello)
        client.note("left")


def garbage(client: Hostile) -> None:
    """What is not TLS, and what is not HTTP."""
    starts = (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 70_000)
    for _ in range(20):
        raw = client.rng.random() < 0.5
        with client.socket() if raw else client.tls() as link:
            link.sendall(client.rng.choice((*starts, client.rng.randbytes(3000))))
            if client.rng.random() < 0.5:
                link.recv(1000)
        client.note("sent")
        client.breathe()


def dripped(client: Hostile) -> None:
    """A header or a body that arrives slowly, on many connections."""
    body = drawn(client, (documents.invalid,), client.fresh())
    request = b"POST /v1/sessions HTTP/1.1\r\nhost: cas\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    start = client.rng.choice((1, 40, len(request) // 2, len(request) - 20))
    with contextlib.ExitStack() as opened:
        links = [opened.enter_context(client.tls()) for _ in range(client.rng.choice((1, 15)))]
        for link in links:
            link.sendall(request[:start])
        for byte in range(start, min(start + 16, len(request) - 1)):
            client.breathe()
            for link in links:
                link.sendall(request[byte : byte + 1])
            client.rest(0.5)
        client.note("dripped")


def tiny_chunks(client: Hostile) -> None:
    """A13: a body in pieces of one byte, up to a million of them."""
    count = client.rng.choice((1000, 100_000, 1_000_000))
    piece = client.rng.choice((b"1\r\na\r\n", b"1;" + b"x" * 20 + b"\r\na\r\n"))
    with client.tls() as link:
        link.sendall(b"POST /v1/sessions HTTP/1.1\r\nhost: cas\r\ntransfer-encoding: chunked\r\n\r\n")
        block = _repeated(piece, 10_000)
        for _ in range(max(1, count // 10_000)):
            client.breathe()
            link.sendall(block)
        end = client.rng.choice((b"0\r\n\r\n", b"0\r\n" + b"x: y\r\n" * 3000 + b"\r\n", b""))
        link.sendall(end)
        client.note(link.recv(12)[9:].decode(errors="replace") or "connection closed")


@cache
def _repeated(piece: bytes, number: int) -> bytes:
    return piece * number


def pipelined(client: Hostile) -> None:
    """Hundreds of requests at once; the answers are read late, or not."""
    requests = (
        b"GET /openapi.json HTTP/1.1\r\nhost: cas\r\n\r\n",
        b"GET /v1/sessions/x HTTP/1.1\r\nhost: cas\r\n\r\n",
        b"GET /v1/attest?nonce=00 HTTP/1.1\r\nhost: cas\r\n\r\n",
        b"POST /v1/sim/nonce HTTP/1.1\r\nhost: cas\r\ncontent-length: 0\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nhost: cas\r\ncontent-length: 4\r\n\r\na: 1",
    )
    with client.tls(receive=4096) as link:
        link.settimeout(3)
        link.sendall(client.rng.choice(requests) * client.rng.choice((50, 1000)))
        client.note("sent")
        client.rest(client.rng.choice(HELD))
        link.recv(65536)


def large_headers(client: Hostile) -> None:
    """Headers of every length, in one line or many."""
    size = client.rng.choice((1000, 16 << 10, 31 << 10, 33 << 10, 200 << 10))
    line = client.rng.choice(
        (b"x: " + b"y" * size + b"\r\n", b"x: y\r\n" * (size // 6), b"cookie: a=b\r\n" * (size // 13))
    )
    with client.link() as kept:
        for _ in range(5):
            client.ask(
                kept, "GET", "/" + "p" * client.rng.choice((10, 20_000)) + "?" + "a=b&" * client.rng.choice((1, 4000))
            )
    for _ in range(10):
        with client.tls() as link:
            link.sendall(b"GET /livez HTTP/1.1\r\nhost: cas\r\n" + line + b"\r\n")
            client.note(link.recv(12)[9:].decode(errors="replace") or "connection closed")


def slow_readers(client: Hostile) -> None:
    """Large answers that nobody takes."""
    name = client.fresh()
    body = documents.session(secrets=documents.large_secrets(900_000))
    with client.link() as kept:
        client.upload(kept, body.replace(documents.NAME, name.encode()))
    path = client.rng.choice((f"/v1/sessions/{name}", "/openapi.json", f"/session/{name}")).encode()
    with contextlib.ExitStack() as opened:
        for _ in range(client.rng.choice((3, 40))):
            link = opened.enter_context(client.tls(receive=2048))
            link.sendall(b"GET %s HTTP/1.1\r\nhost: cas\r\n\r\n" % path * client.rng.choice((1, 5)))
            client.note("asked")
            client.breathe()
        client.rest(client.rng.choice(HELD))


def resets(client: Hostile) -> None:
    """Connections that end with RST in the middle of everything."""
    for _ in range(40):
        with client.tls() as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            link.sendall(b"POST /v1/sim/attest HTTP/1.1\r\nhost: cas\r\ncontent-length: 9999\r\n\r\n{")
        client.note("reset")
        client.breathe()


CONNECTIONS: tuple[tuple[int, Strike], ...] = (
    (4, idle_connections), (3, slow_handshakes), (2, handshake_flood), (2, half_handshakes), (2, garbage), (3, dripped),
    (4, tiny_chunks), (3, pipelined), (2, large_headers), (3, slow_readers), (2, resets),
)  # fmt: skip
