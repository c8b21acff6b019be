"""A CAS with a volume, its clock, and the network between it and the launcher, which a test can cut."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from sconectl.cas import daemon
from sconectl.cas.attest.channels import Channels
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.http import https_server
from sconectl.cas.keys.cas_keys import load_or_create
from sconectl.cas.sessions.access import Principal
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.key_hash import key_hash
from sconectl.runtime.attest import Attester, fetch_configuration
from sconectl.runtime.configuration import Host
from sconectl.runtime.link import CasLink, open_channel
from sconectl.runtime.volumes.attested_cas import AttestedCas
from sconectl.runtime.volumes.lease import Holder, Lease

ONE, TWO = Holder("11" * 16, "pod-1"), Holder("22" * 16, "pod-2")
MEASUREMENT = "ab" * 32
SESSION = f"""
name: acme
version: "0.3.11"
security: {{attestation: {{mode: simulation}}}}
services:
  - {{name: app, command: app, pwd: /, image_name: image, attestation: [{{mrenclave: {MEASUREMENT}}}]}}
images: [{{name: image, volumes: [{{name: V1, path: /data}}]}}]
volumes: [{{name: V1}}]
"""


class Network:
    """What lies between launcher and CAS."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.is_open = True
        self.answers = True
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ended = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listening.getsockname()[1]}"

    def cut(self) -> None:
        """Let no connection through, and end those that are there."""
        self.is_open = False
        self._end_connections()

    def lose_answers(self) -> None:
        """Let requests through, and nothing back."""
        self.answers = False

    def mend(self) -> None:
        self.answers = self.is_open = True

    def close(self) -> None:
        self._ended = True
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._end_connections()
        self._thread.join(5)

    def _end_connections(self) -> None:
        """Shut down; each thread closes its own two sockets, so that no number of a file is used again too early."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def _accept(self) -> None:
        while not self._ended:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if not self.is_open:
                near.close()
                continue
            self.connections += 1
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:  # that server is gone
                near.close()
                continue
            self._sockets += [near, far]
            threading.Thread(target=self._forward, args=(near, far), daemon=True).start()

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, contextlib.suppress(OSError):
            while True:
                for source in select.select([near, far], [], [])[0]:
                    data = source.recv(65536)
                    if not data or (source is far and not self.answers):
                        return
                    (far if source is near else near).sendall(data)


class CasWorld:
    """The CAS, who owns the session in it, and the network."""

    def __init__(self, folder: Path) -> None:
        self.ahead = timedelta()
        self._attested: list[AttestedCas] = []
        self.cas = EmbeddedCas(folder / "state", anchor=folder / "anchor", clock=self.now)
        self.owner = Principal.of(CasConfig(folder / "identity").identity().certificate_pem.encode())
        root = load_or_create(folder / "state").chain_pem
        self.key = key_hash(x509.load_pem_x509_certificates(root.encode())[-1].public_key())
        self.put()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def wait(self, seconds: float) -> None:
        """Set the clock of the CAS forward."""
        self.ahead += timedelta(seconds=seconds)

    def put(self, session: str = SESSION, more: str = "") -> None:
        with contextlib.suppress(Exception):
            more += f"predecessor: {self.cas.hash_of('acme', self.owner)}\n"
        self.cas.put(session + more, self.owner)

    def forget(self) -> None:
        """Forget the channels, as a restart would."""
        self.cas.enclaves._channels = Channels()

    @contextlib.contextmanager
    def served(self) -> Iterator[Network]:
        listening = daemon.listen("127.0.0.1", 0)
        server = https_server.build_server(self.cas, ["127.0.0.1"])
        thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        self.network = Network(listening.getsockname()[1])
        try:
            yield self.network
        finally:
            for attested in self._attested:
                attested.close()
            self.network.close()
            server.should_exit = True
            thread.join(20)
            listening.close()
            self.cas.close()

    def attested(self, cas_key: str | None = None) -> AttestedCas:
        """Attest as a launcher does at the start of its program."""
        attester = Attester(
            self.network.address, self.key if cas_key is None else cas_key, "", "acme/app",
            {"measurement": MEASUREMENT, "debug": False}, "", Host(),
        )  # fmt: skip
        channel = open_channel()
        link = CasLink(attester.cas_address, attester.cas_key, channel, timeout=5)
        config = fetch_configuration(
            link, link, channel, config_id=attester.config_id, identity=attester.identity, host=attester.host,
            patience=0,
        )  # fmt: skip
        self._attested.append(AttestedCas(attester, link, config.volumes))
        return self._attested[-1]

    def lease(self, holder: Holder = ONE, volume: str = "V1") -> Lease:
        return Lease(self.attested(), volume, holder)

    @property
    def tag(self) -> bytes | None:
        """The tag of the volume, in the store."""
        with self.cas._store.reading() as transaction:
            row = transaction.stored_secret("acme", "volume:V1")
            assert row is not None
            found = transaction.tag("acme", f"volume:V1:{row.parameters}")
        return None if found is None else bytes.fromhex(found)

    def set_tag(self, tag: bytes) -> None:
        """Let somebody else have written."""
        with self.cas._store.writing() as transaction:
            row = transaction.stored_secret("acme", "volume:V1")
            assert row is not None
            transaction.set_tag("acme", f"volume:V1:{row.parameters}", tag.hex())

    def events(self, name: str) -> int:
        """Return how often something is in the audit log."""
        with self.cas._store.reading() as transaction:
            return sum(f'"event": "{name}"' in line for line in transaction.audit_lines())
