"""What a client may cost the server, and what noise on the port does to it: nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sconectl.cas.bounds.limits import Limits
from sconectl.ports import StoredSession

from .fake_cas import Running, running

pytestmark = pytest.mark.sockets

QUICK = Limits(
    handshake_seconds=0.6,
    header_seconds=0.6,
    body_seconds=0.6,
    stalled_seconds=0.6,
    idle_seconds=1,
    lingering_seconds=0.3,
    goodbye_seconds=0.3,
    body_bytes=4096,
    connections=8,
)
REQUEST = b"GET /livez HTTP/1.1\r\nHost: cas\r\n\r\n"
POST = b"POST /v1/sessions HTTP/1.1\r\nHost: cas\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture
def server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Running]:
    caplog.set_level(logging.INFO)
    with running(tmp_path, QUICK) as server:
        yield server
        assert server.ask("GET", "/livez")[0] == 200  # whatever was done to it
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


@contextlib.contextmanager
def tls(server: Running, who: str | None = "alice") -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw,
        server.context(who).wrap_socket(raw, server_hostname="localhost") as wrapped,
    ):
        yield wrapped


def everything(connection: ssl.SSLSocket) -> bytes:
    """Return what comes until the server hangs up."""
    content = b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLError):
        while chunk := connection.recv(65536):
            content += chunk
    return content


def answer(connection: ssl.SSLSocket) -> bytes:
    """Return one answer to a request for `/livez`."""
    content = b""
    while not content.endswith(b"}"):
        content += (chunk := connection.recv(65536))
        assert chunk
    return content


def status(content: bytes) -> int:
    return int(content.split(b" ", 2)[1]) if content else 0


def problem(content: bytes) -> list[str]:
    found = json.loads(content.partition(b"\r\n\r\n")[2])
    assert found["simulation"] is True
    assert found["version"]
    return list(found["msg"])


def requests_logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith(("sconectl", "uvicorn"))][1:]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: c", 408),
        (b"POST /v1/sessions HTTP/1.1\r\nHost: cas\r\nContent-Length: 10\r\n\r\nabc", 408),
        (b"POST /v1/sessions HTTP/1.1\r\nHost: cas\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 408),
        (b"GET /\r\n", 408),
        (b"", 0),
    ],
)
def test_what_does_not_arrive_in_time_is_refused(server: Running, sent: bytes, expected: int) -> None:
    with tls(server) as connection:
        started = time.monotonic()
        connection.sendall(sent)
        content = everything(connection)
        assert 0.4 < time.monotonic() - started < 5
    assert status(content) == expected
    if expected:
        assert "too long" in problem(content)[0]
        assert b"x-sconectl-simulation: true" in content.lower()
    assert server.cas.calls == []


@pytest.mark.parametrize("sent", [REQUEST[:-2] + b"X-A: ", POST % 3000])
def test_dripping_does_not_buy_time(server: Running, sent: bytes) -> None:
    with tls(server) as connection:
        connection.sendall(sent)
        connection.settimeout(0.05)
        started = time.monotonic()
        content = b""
        while time.monotonic() - started < 8:
            try:
                connection.sendall(b"a")
                content += connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            if content:
                break
        assert time.monotonic() - started < 4
    assert status(content) == 408


def test_a_kept_connection_gets_the_same_time_for_each_header(server: Running) -> None:
    with tls(server) as connection:
        connection.sendall(REQUEST)
        assert status(answer(connection)) == 200
        time.sleep(0.3)
        connection.sendall(REQUEST)
        assert status(answer(connection)) == 200
        connection.sendall(REQUEST[:10])
        started = time.monotonic()
        assert status(everything(connection)) == 408
        assert 0.4 < time.monotonic() - started < 0.95  # sooner than an idle connection is closed


def test_idle_connections_are_closed_without_a_word(server: Running) -> None:
    with tls(server) as connection:
        connection.sendall(REQUEST)
        assert status(answer(connection)) == 200
        started = time.monotonic()
        assert everything(connection) == b""
        assert 0.7 < time.monotonic() - started < 4


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_handshakes_have_a_time(server: Running, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(sent)
        started = time.monotonic()
        assert raw.recv(10) == b""
        assert 0.4 < time.monotonic() - started < 4


def test_answers_that_nobody_reads_end(server: Running) -> None:
    server.cas.answers["read"] = StoredSession("x" * (40 << 20), "ab" * 32)
    with tls(server) as connection:
        connection.sendall(b"GET /v1/sessions/acme HTTP/1.1\r\nHost: cas\r\n\r\n")
        deadline = time.monotonic() + 10
        while server.server.server_state.connections or not server.cas.calls:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("announced", [True, False])
def test_large_bodies(server: Running, announced: bool) -> None:
    body = b"a" * 4097
    chunked = b"POST /v1/sessions HTTP/1.1\r\nHost: cas\r\nTransfer-Encoding: chunked\r\n\r\n1001\r\n" + body
    with tls(server) as connection:
        connection.sendall(POST % 4097 if announced else chunked)  # the announcement is enough
        content = everything(connection)
    assert status(content) == 413
    assert "4096 bytes" in problem(content)[0]
    assert server.ask("POST", "/v1/sessions", body[1:])[0] == 201
    assert server.ask("POST", "/v1/sessions", body)[0] == 413
    assert [call[0] for call in server.cas.calls] == ["put"]


def test_what_follows_a_refused_body_is_not_a_request(server: Running) -> None:
    with tls(server) as connection:
        connection.sendall(POST % 4200 + b"a" * 4200 + REQUEST)
        content = b""
        while content.count(b"HTTP/1.1") < 2:
            content += (chunk := connection.recv(65536))
            assert chunk
    assert [int(part[:3]) for part in content.split(b"HTTP/1.1 ")[1:]] == [413, 200]


def test_who_has_waited_longest_makes_room(tmp_path: Path) -> None:
    with running(tmp_path, Limits(connections=6)) as server, contextlib.ExitStack() as stack:

        def opened(count: int) -> list[socket.socket]:
            address = ("127.0.0.1", server.port)
            return [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(count)]

        old = opened(6)
        assert [connection.recv(1) for connection in opened(2)] == [b""] * 2  # nobody has waited for long
        time.sleep(1.2)
        new = opened(4)
        assert [connection.recv(1) for connection in old[:4]] == [b""] * 4
        assert server.listening.open == 6
        assert server.ask("GET", "/livez")[0] == 200
        for connection in new:
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)


def test_nobody_is_closed_while_its_request_is_worked_on(tmp_path: Path) -> None:
    release = threading.Event()

    def slow(name: str, principal: object, hash_: object = None) -> StoredSession:
        assert release.wait(60)
        return StoredSession("name: x", "ab" * 32)

    with running(tmp_path, Limits(connections=4)) as server, contextlib.ExitStack() as stack:
        server.cas.read = slow  # type: ignore[method-assign]
        busy = [stack.enter_context(tls(server)) for _ in range(4)]
        for connection in busy:
            connection.sendall(b"GET /v1/sessions/acme HTTP/1.1\r\nHost: cas\r\n\r\n")
        deadline = time.monotonic() + 30
        while any(found.waiting_since is not None for found in server.listening._open.values()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(OSError), tls(server):
            pass
        release.set()
        assert [status(answer(connection)) for connection in busy] == [200] * 4


NOISE = {
    "http-0.9": b"GET /\r\n\r\n",
    "http-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "protobuf": b"\x00\x00\x00\x1b\n\x07message\x12\x10\x08\x96\x01\x12\x0b\xff\xfe\r\n\r\n",
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "bad-length": b"POST /session HTTP/1.1\r\nHost: cas\r\nContent-Length: -1\r\n\r\n",
    "two-lengths": b"POST /session HTTP/1.1\r\nHost: c\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "bad-chunk": b"POST /session HTTP/1.1\r\nHost: cas\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "bad-coding": b"POST /session HTTP/1.1\r\nHost: cas\r\nTransfer-Encoding: gzip\r\n\r\n",
    "nul": b"GET /\0 HTTP/1.1\r\nHost: cas\r\n\r\n",
    "tls-in-tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    "empty-lines": b"\r\n" * 50,
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_is_refused_in_one_line(server: Running, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with tls(server) as connection:
        connection.sendall(NOISE[name])
        content = everything(connection)
    assert status(content) in (400, 501)
    assert problem(content)
    assert len(requests_logged(caplog)) <= 1
    assert server.cas.calls == []


@pytest.mark.parametrize("header", [b"X-A: " + b"a" * 40_000, b"X-A: a\r\n" * 6000, b"Cookie: " + b"\r\n " * 20_000])
def test_large_headers(server: Running, header: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with tls(server) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: cas\r\n" + header)
        content = everything(connection)
    assert status(content) in (400, 431)
    assert len(requests_logged(caplog)) <= 1


def test_random_bytes_inside_and_outside_of_tls(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    source = random.Random(3)
    for number in range(30):
        noise = source.randbytes(source.choice([1, 7, 100, 5000]))
        if number % 2:
            noise = b"\x16\x03\x03" + len(noise).to_bytes(2, "big") + noise
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
            with contextlib.suppress(OSError):
                raw.sendall(noise)
                raw.shutdown(socket.SHUT_WR)
                raw.recv(100)
        with tls(server) as connection, contextlib.suppress(OSError):
            connection.sendall(noise)
    assert len(requests_logged(caplog)) <= 30


def test_clients_that_leave(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    for sent in (REQUEST, REQUEST[:20], POST % 100 + b"abc", POST % 100, b""):
        for abruptly in (True, False):
            with tls(server) as connection:
                connection.sendall(sent)
                if abruptly:  # a reset instead of a goodbye
                    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    deadline = time.monotonic() + 5
    while server.server.server_state.connections:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert server.cas.calls == []


def test_pipelined_requests_are_answered_in_order(server: Running) -> None:
    with tls(server) as connection:
        connection.sendall(REQUEST * 20)
        content = b""
        while content.count(b"HTTP/1.1 200") < 20:
            content += (chunk := connection.recv(65536))
            assert chunk


def test_upgrades_are_not_taken_and_not_talked_about(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA"}
    assert server.ask("GET", "/livez", None, None, **headers)[0] == 200
    assert server.ask("GET", "/livez", Connection="Upgrade", Upgrade="websocket")[0] == 200
    assert requests_logged(caplog) == []


def test_one_slow_client_does_not_keep_others_waiting(server: Running) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(tls(server)).sendall(POST % 100)
        started = time.monotonic()
        assert server.ask("POST", "/v1/sessions", b"quick")[0] == 201
        assert time.monotonic() - started < 0.5


def test_a_server_that_stops_lets_requests_finish(tmp_path: Path) -> None:
    release, entered = threading.Event(), threading.Event()
    answers: list[int] = []
    with running(tmp_path) as server:
        real = server.cas.put

        def slow(body: bytes, principal: object) -> object:
            entered.set()
            assert release.wait(10)
            return real(body, None)

        server.cas.put = slow  # type: ignore[method-assign,assignment]
        asking = threading.Thread(target=lambda: answers.append(server.ask("POST", "/session", b"x")[0]))
        asking.start()
        assert entered.wait(10)
        server.server.should_exit = True
        time.sleep(0.3)
        release.set()
        asking.join(10)
    assert answers == [201]
    with pytest.raises((OSError, http.client.HTTPException)):
        server.ask("GET", "/livez")
