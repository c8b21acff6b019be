"""One hostile client: an address of its own, keys of its own, and a record of what the CAS answered.

In: the address of the CAS, and texts that no answer may hold. Out: connections in every state of completeness, and a
`Tally` of outcomes. A client spends a bounded share of a processor, so that what is measured is the CAS.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import random
import re
import socket
import ssl
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from sconectl.runtime.link import Channel, open_channel

PATIENCE = 15.0
KEPT = 1 << 16
SHARE = 0.2
"""The share of one processor that a process of hostile clients may spend."""

_REASON = re.compile(rb'"msg":\s*\["((?:[^"\\]|\\.)*)"')
_VARIABLE = re.compile(r"(?:[\w./~-]*\d[\w./~-]*)|'[^']*'|\"[^\"]*\"")


class Over(Exception):
    """The time of the campaign is over; a strike ends in the middle."""


@dataclass
class Tally:
    """What one process of clients saw. `spans` say when each strike began and ended; `faults` are its own."""

    outcomes: dict[str, Counter[str]] = field(default_factory=partial(defaultdict, Counter))
    strikes: Counter[str] = field(default_factory=Counter)
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    largest: int = 0
    leaks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def merge(self, other: Tally) -> None:
        for attack, outcomes in other.outcomes.items():
            self.outcomes[attack].update(outcomes)
        self.strikes.update(other.strikes)
        self.spans += other.spans
        self.largest = max(self.largest, other.largest)
        self.leaks += other.leaks
        self.faults += other.faults


@dataclass(frozen=True)
class Answer:
    """Status 0 stands for none; `body` is only the beginning of a large one."""

    status: int
    body: bytes = b""
    retry_after: str | None = None

    def field(self, name: str) -> str:
        """Return a text of a JSON answer, or nothing."""
        try:
            return str(json.loads(self.body)[name])
        except (ValueError, KeyError, TypeError):
            return ""


def context_for(channel: Channel | None) -> ssl.SSLContext:
    """Return the TLS settings of a client with this key, or of one without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if channel is not None:
        handle = os.memfd_create("hostile", os.MFD_CLOEXEC)
        try:
            os.write(handle, channel.pem)
            context.load_cert_chain(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)
    return context


@dataclass
class Hostile:
    """A client at `address`; several threads of it strike at the same time, each with its own `rng`."""

    address: str
    cas: tuple[str, int]
    until: float
    canaries: tuple[bytes, ...]
    targets: tuple[tuple[str, str], ...]
    rng: random.Random
    tally: Tally
    attack: str = ""
    channel: Channel = field(default_factory=open_channel)

    def __post_init__(self) -> None:
        self.context = context_for(self.channel)
        self.name = f"h{self.rng.getrandbits(40):x}"

    def fresh(self) -> str:
        """Return a session name that nobody has used."""
        return f"{self.name}-{self.rng.getrandbits(48):x}"

    def new_key(self) -> None:
        """Be somebody else from now on."""
        self.channel = open_channel()
        self.context = context_for(self.channel)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    def note(self, outcome: str) -> None:
        self.tally.outcomes[self.attack][outcome] += 1

    def rest(self, seconds: float) -> None:
        """Wait, but not beyond the end."""
        time.sleep(max(0.0, min(seconds, self.until - time.monotonic())))

    def breathe(self) -> None:
        """Wait while this process has spent more than its share of a processor; raises `Over` at the end."""
        while not self.over and time.process_time() > SHARE * (time.monotonic() - _STARTED) + 2:
            time.sleep(0.05)
        if self.over:
            raise Over

    def socket(self, *, timeout: float = PATIENCE, receive: int = 0) -> socket.socket:
        """Return a TCP connection; raises `OSError`, and `Over` at the end."""
        self.breathe()
        made = socket.socket()
        try:
            if receive:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
            made.settimeout(timeout)
            made.bind((self.address, 0))
            made.connect(self.cas)
        except OSError:
            made.close()
            raise
        return made

    def tls(self, *, timeout: float = PATIENCE, receive: int = 0) -> ssl.SSLSocket:
        """Return a connection after its handshake; raises `OSError`."""
        made = self.socket(timeout=timeout, receive=receive)
        try:
            return self.context.wrap_socket(made)
        except OSError:
            made.close()
            raise

    @contextlib.contextmanager
    def link(self, timeout: float = PATIENCE) -> Iterator[http.client.HTTPSConnection]:
        """Lend a connection that is kept open between requests."""
        made = http.client.HTTPSConnection(
            *self.cas, timeout=timeout, context=self.context, source_address=(self.address, 0)
        )
        try:
            yield made
        finally:
            made.close()

    def ask(
        self, link: http.client.HTTPSConnection, method: str, path: str, body: bytes | dict[str, object] | None = None
    ) -> Answer:
        """Send one request, note what became of it, and return the answer."""
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        self.breathe()
        try:
            link.request(method, path, content)
            got = link.getresponse()
            start, size = got.read(KEPT), 0
            while more := got.read(KEPT):
                size += len(more)
                self.look(more)
        except (OSError, http.client.HTTPException) as error:
            link.close()
            self.note(outcome_of(error))
            return Answer(0)
        self.look(start)
        self.tally.largest = max(self.tally.largest, len(start) + size)
        answer = Answer(got.status, start, got.getheader("retry-after"))
        self.note(shown(answer))
        return answer

    def look(self, content: bytes) -> None:
        """Note if an answer holds what belongs to the honest client."""
        if any(canary in content for canary in self.canaries):
            self.tally.leaks.append(f"{self.attack}: …{content[:300]!r}")

    def quote(self, link: http.client.HTTPSConnection, measurement: str) -> object:
        """Return a genuine quote over this connection for a measurement that is claimed."""
        nonce = self.ask(link, "POST", "/v1/sim/nonce").field("nonce")
        report = {"toolchain": "sim", "measurement": measurement, "debug": False, "nonce": nonce,
                  "report_data": self.channel.report_data()}  # fmt: skip
        answer = self.ask(link, "POST", "/v1/sim/quote", {"report": report})
        try:
            return json.loads(answer.body)["quote"]
        except (ValueError, KeyError):
            return forged(self, nonce or "00")

    def upload(self, link: http.client.HTTPSConnection, body: bytes) -> Answer:
        return self.ask(link, "POST", "/v1/sessions", body)


def forged(client: Hostile, nonce: str) -> dict[str, object]:
    """Return a quote that no quoting key has signed."""
    digits = f"{client.rng.getrandbits(256):064x}"
    report = {"toolchain": "sim", "measurement": digits, "debug": False, "nonce": nonce,
              "report_data": client.channel.report_data()}  # fmt: skip
    platform = {"id": digits[:32], "issues": [], "advisories": []}
    signature = base64.b64encode(client.rng.randbytes(71)).decode()
    return {"report": report, "platform": platform, "key": digits[:50], "signature": signature}


def outcome_of(error: Exception) -> str:
    """Say how a connection ended."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError | ConnectionResetError | BrokenPipeError | ssl.SSLError):
        return "connection closed"
    return "connection closed" if isinstance(error, http.client.HTTPException) else type(error).__name__


def shown(answer: Answer) -> str:
    """Return status and first cause, without what differs from one request to the next."""
    if answer.status < 400:
        return str(answer.status)
    found = _REASON.search(answer.body)
    reason = found[1].decode(errors="replace") if found else "(no reason)"
    waiting = " (Retry-After)" if answer.retry_after else ""
    return f"{answer.status} {_VARIABLE.sub('…', reason)[:90]}{waiting}"


_STARTED = time.monotonic()
