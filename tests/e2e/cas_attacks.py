"""Clients that mean harm, and one program that wants to attest, over real TLS against a CAS of its own process.

In: a served CAS and client certificates made by openssl. Out: answers, tarpits, and what the CAS's process has used.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .black_box import Client, OutsideCas

MIB = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")
HEAD = 'name: {}\nversion: "0.3.11"\naccess_policy: {{read: [CREATOR], update: [CREATOR]}}\n'
PROGRAM = "security: {attestation: {mode: none}}\nservices: [{name: app, command: app}]\n"


@dataclass(frozen=True)
class Got:
    """An answer; `seconds` is how long it took."""

    status: int
    body: bytes
    headers: dict[str, str]
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Wire:
    """Connections to a CAS as one client."""

    cas: OutsideCas
    client: Client

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.cas.chain))
        context.load_cert_chain(self.client.certificate, self.client.key)
        return context

    def connection(self, timeout: float = 60) -> http.client.HTTPSConnection:
        host, _, port = self.cas.address.rpartition(":")
        return http.client.HTTPSConnection(host, int(port), timeout=timeout, context=self.context())

    def raw(self) -> socket.socket:
        host, _, port = self.cas.address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=60)

    def tls(self) -> ssl.SSLSocket:
        return self.context().wrap_socket(self.raw(), server_hostname="localhost")

    def ask(self, method: str, path: str, body: str | bytes | dict[str, Any] | None = None) -> Got:
        """Send one request over a connection of its own."""
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        started = time.monotonic()
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, content)
            answer = connection.getresponse()
            found = answer.read()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Got(answer.status, found, headers, time.monotonic() - started)

    def upload(self, name: str, rest: str) -> Got:
        return self.ask("POST", "/v1/sessions", HEAD.format(name) + rest)

    def attest(self, config_id: str) -> Got:
        """Get a quote, and attest with it; each over a new connection, as programs that start do."""
        der = ssl.PEM_cert_to_DER_cert(self.client.certificate.read_text())
        started = time.monotonic()
        report = {
            "toolchain": "sim",
            "measurement": "ab" * 32,
            "debug": False,
            "report_data": hashlib.sha512(der).hexdigest(),
            "nonce": self.ask("POST", "/v1/sim/nonce", {}).json()["nonce"],
        }
        quote = self.ask("POST", "/v1/sim/quote", {"report": report}).json()["quote"]
        got = self.ask("POST", "/v1/sim/attest", {"config_id": config_id, "quote": quote})
        return Got(got.status, got.body, got.headers, time.monotonic() - started)


@dataclass(frozen=True)
class Process:
    """The process of a CAS."""

    number: int

    @classmethod
    def of(cls, cas: OutsideCas) -> Process:
        found = re.search(rb"process (\d+)", cas.command("cas", "status", "--dir", cas.directory))
        assert found
        return cls(int(found[1]))

    def peak(self) -> int:
        """Return the most bytes of memory that it ever had."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.number}/status").read_text())
        assert found
        return int(found[1]) << 10

    def processor_time(self) -> float:
        """Return the seconds that it has computed."""
        fields = Path(f"/proc/{self.number}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK


@contextlib.contextmanager
def tarpit(drip: bytes = b"") -> Iterator[tuple[str, threading.Semaphore]]:
    """Take connections and answer not at all, or with a byte of `drip` a second; tells address and connections."""
    taken = threading.Semaphore(0)
    ended = threading.Event()

    def hold(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            taken.release()
            for byte in drip * 100 or b"\0" * 100:
                if drip:
                    connection.sendall(bytes([byte]))
                if ended.wait(1):
                    return

    def accept() -> None:
        with contextlib.suppress(OSError):
            while not ended.is_set():
                threading.Thread(target=hold, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}", taken
        finally:
            ended.set()
