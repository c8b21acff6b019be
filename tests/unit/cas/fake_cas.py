"""A CAS that remembers what it was asked, behind the real server over real TLS."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sconectl.cas import daemon
from sconectl.cas.bounds.limits import DEFAULT, Limits
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.client import trust
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.http import https_server
from sconectl.cas.keys.cas_keys import CasKeys, load_or_create
from sconectl.cas.sessions.access import Principal
from sconectl.ports import StoredSession

if TYPE_CHECKING:
    from sconectl.cas.sessions.embedded import EmbeddedCas

HASH = "ab" * 32
TAG = "0b" * 16
VOLUME = {"name": "v", "tag": None, "files": "encrypted", "in_use": None, "accepted": None}
NOTE = {"kind": "string", "value": "42", "expires": None, "renew": None}


@dataclass
class Taken:
    hash: str = HASH
    outcome: str = "created"
    warnings: tuple[str, ...] = ()


class FakeEnclaves:
    def __init__(self, cas: FakeCas) -> None:
        self._cas = cas

    def nonce(self) -> dict[str, Any]:
        return self._cas.seen("nonce") or {"nonce": "00ff"}

    def quote(self, report: Any) -> dict[str, Any]:
        return self._cas.seen("quote", report) or {"quote": {"report": report}}

    def attest(self, config_id: str, quote: Any, channel_der: bytes, access_token: str | None) -> dict[str, Any]:
        answer = {"config": {"argv": []}, "version": ""}
        return self._cas.seen("attest", config_id, quote, channel_der, access_token) or answer

    def fill(self, channel_der: bytes, files: Any) -> dict[str, Any]:
        return self._cas.seen("fill", channel_der, files) or {"files": [{"path": "/a", "content": ""}]}

    def take_lease(self, channel_der: bytes, volume: str, holder: str, name: str) -> dict[str, Any]:
        return self._cas.seen("take_lease", channel_der, volume, holder, name) or {"tag": None, "seconds": 30}

    def release_lease(self, channel_der: bytes, volume: str, holder: str, name: str) -> dict[str, Any]:
        return self._cas.seen("release_lease", channel_der, volume, holder, name) or {"tag": TAG, "seconds": 0}

    def update_tag(
        self, channel_der: bytes, subject: str, old: str | None, new: str, holder: str | None
    ) -> dict[str, Any]:
        return self._cas.seen("update_tag", channel_der, subject, old, new, holder) or {"tag": TAG}


class FakeVolumes:
    def __init__(self, cas: FakeCas) -> None:
        self._cas = cas

    def listed(self, name: str, principal: Principal | None) -> list[dict[str, Any]]:
        return self._cas.seen("volumes", name, principal) or [VOLUME]

    def accept(
        self, name: str, volume: str, old: str | None, new: str | None, principal: Principal | None
    ) -> dict[str, Any]:
        return self._cas.seen("accept", name, volume, old, new, principal) or {"tag": TAG}


class FakeCas:
    """Answers everything; `refusal` makes the next answers refusals, `answers` gives others."""

    def __init__(self, directory: Path) -> None:
        self.keys: CasKeys = load_or_create(directory)
        self.enclaves = FakeEnclaves(self)
        self.volumes = FakeVolumes(self)
        self.calls: list[tuple[Any, ...]] = []
        self.refusal: Exception | None = None
        self.answers: dict[str, Any] = {}
        self.renewals = 0

    def seen(self, *call: Any) -> Any:
        self.calls.append(call)
        if self.refusal is not None:
            raise self.refusal
        return self.answers.get(call[0])

    def put(self, body: bytes, principal: Principal | None) -> Taken:
        return self.seen("put", body, principal) or Taken()

    def read(self, name: str, principal: Principal | None, hash_: str | None = None) -> StoredSession:
        return self.seen("read", name, principal, hash_) or StoredSession("name: x\n", HASH)

    def list_sessions(self, namespace: str, principal: Principal | None) -> list[dict[str, str]]:
        return self.seen("list_sessions", namespace, principal) or [{"name": "acme", "hash": HASH}]

    def hash_of(self, name: str, principal: Principal | None) -> str:
        return self.seen("hash_of", name, principal) or HASH

    def quick_value(self, name: str, secret: str) -> None:
        """Leave everything to `public_value`."""

    def public_value(self, name: str, secret: str) -> dict[str, Any]:
        return self.seen("public_value", name, secret) or NOTE

    def public_values(self, name: str) -> dict[str, dict[str, Any]]:
        return self.seen("public_values", name) or {"note": NOTE}

    def report(self, nonce: str) -> dict[str, Any]:
        return self.seen("report", nonce) or trust.make_report(self.keys, nonce, "0.test", datetime.now(UTC))

    def export(self, request: dict[str, Any], peer_chain: list[bytes]) -> dict[str, Any]:
        return self.seen("export", request, peer_chain) or {"value": {}}

    def check(self) -> None:
        self.seen("check")

    def tend(self) -> None:
        """Nothing is ever due."""

    def renew(self) -> int:
        self.renewals += 1
        return 0


@dataclass
class Running:
    """A server on a free port, and ways to talk to it."""

    cas: FakeCas
    port: int
    chain: Path
    identities: Path
    server: Any
    listening: Any = field(repr=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def context(self, who: str | None = "alice") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.chain))
        if who:
            context.load_cert_chain(CasConfig(self.identities / who).identity().file)
        return context

    def connection(self, who: str | None = "alice") -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=self.context(who))

    def ask(
        self, method: str, path: str, body: bytes | None = None, who: str | None = "alice", **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Return status, body (plain values if it is JSON) and headers in lower case."""
        with contextlib.closing(self.connection(who)) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
            found = {name.lower(): value for name, value in response.getheaders()}
        assert found["x-sconectl-simulation"] == "true"
        is_json = found.get("content-type", "").startswith("application/json") and content
        return response.status, json.loads(content) if is_json else content.decode(), found


@contextlib.contextmanager
def running(directory: Path, limits: Limits = DEFAULT) -> Iterator[Running]:
    """Serve a fake CAS in `directory`."""
    cas = FakeCas(directory / "cas")
    listening = daemon.listen("127.0.0.1", 0, limits)
    server = https_server.build_server(cast("EmbeddedCas", cas), ["127.0.0.1"], limits)
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    chain = directory / "chain.pem"
    chain.write_text(cas.keys.chain_pem)
    try:
        yield Running(cas, listening.getsockname()[1], chain, directory / "identities", server, listening)
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
    assert not thread.is_alive()


def refusal(status: int, *causes: str) -> CasRefusal:
    return CasRefusal(status, *(causes or ("No", "because")))
