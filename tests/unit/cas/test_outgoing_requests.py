"""Answers of other CASes that are made to cost time: they are refused, and quickly."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time

import pytest

from sconectl.cas.bounds.limits import DEFAULT
from sconectl.cas.sessions.import_targets import EVERYWHERE
from sconectl.cas.sessions.outgoing_requests import _Request

OK = b"HTTP/1.1 200 OK\r\n"


def asked(answer: bytes, *, piece: int = 1 << 20) -> tuple[int, bytes]:
    """Return what becomes of an answer that is sent in pieces."""
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 10)

    def send() -> None:
        with theirs:
            theirs.recv(65536)
            try:
                for start in range(0, len(answer), piece):
                    theirs.sendall(answer[start : start + piece])
                    if piece < len(answer):
                        time.sleep(0.0002)  # else what was sent separately arrives together
            except OSError:
                return

    thread = threading.Thread(target=send)
    thread.start()
    until, most = time.monotonic() + 30, DEFAULT.remote_bytes
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    request = _Request(context, "GET", "cas.test:1", "/", None, until, most, lambda _: None)
    try:
        return request._asked_over(ours)
    finally:
        ours.close()
        thread.join()


def test_an_answer_that_says_its_length_is_taken() -> None:
    assert asked(OK + b"content-length: 5\r\n\r\nhello") == (200, b"hello")


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n",
        OK + b"\r\n" + b"x" * 1_000_000,
        OK + b"content-length: 2097153\r\n\r\n" + b"x" * 2_097_153,
        OK + b"x: y\r\n" * 100_000,
    ],
    ids=["chunks", "until it ends", "too large", "header"],
)
def test_other_answers_are_not_read(answer: bytes) -> None:
    started = time.process_time()
    with pytest.raises((ValueError, http.client.HTTPException)):
        asked(answer)
    assert time.process_time() - started < 0.5


def test_an_answer_in_too_many_pieces_is_not_read_to_its_end() -> None:
    with pytest.raises(ValueError, match="pieces"):
        asked(OK + b"content-length: 4000\r\n\r\n" + b"x" * 4000, piece=1)


@pytest.mark.parametrize("number", ["169.254.169.254", "100.100.100.200"])
def test_no_connection_to_a_metadata_service_is_attempted(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if a name stands for it, next to an address that may be asked."""
    tried: list[str] = []

    def found(host: str, port: int, **_: object) -> list[object]:
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, ("127.0.0.1", port)), (*kind, (number, port))]

    class Noted(socket.socket):
        def connect(self, address: tuple[str, int]) -> None:  # type: ignore[override]
            tried.append(address[0])
            raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", found)
    monkeypatch.setattr(socket, "socket", Noted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    until, most = time.monotonic() + 30, DEFAULT.remote_bytes
    request = _Request(context, "GET", "cas.test:80", "/", None, until, most, EVERYWHERE.check_number)
    request.run(lambda: None)
    with pytest.raises(PermissionError, match=number):
        request.result()
    assert tried == ["127.0.0.1"]
