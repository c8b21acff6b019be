"""The real implementations that need no engine: the disk, and the embedded CAS in-process and over TLS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.stores import MemorySessionStore

from sconectl.cas import daemon
from sconectl.cas.client.http_cas import HttpCas
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.http import https_server
from sconectl.cas.local import LocalCas
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.ports import SessionStore

Stores = Callable[[str], SessionStore]
"""Connects to one CAS as the identity of this name."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, EmbeddedCas]]:
    cas = EmbeddedCas(tmp_path_factory.mktemp("served") / "cas")
    listening = daemon.listen("127.0.0.1", 0)
    server = https_server.build_server(cas, ["127.0.0.1"])
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"127.0.0.1:{listening.getsockname()[1]}", cas
    server.should_exit = True
    thread.join(20)
    listening.close()


@pytest.fixture(params=["local", "https", "fake"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    if request.param == "fake":
        return lambda name: MemorySessionStore(tmp_path, name)
    if request.param == "local":
        return lambda name: LocalCas(tmp_path / "cas", CasConfig(tmp_path / name))
    address, _ = request.getfixturevalue("served")
    return lambda name: HttpCas(address, CasConfig(tmp_path / name))
