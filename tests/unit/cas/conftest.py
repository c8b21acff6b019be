"""A CAS of its own for each test: in-process, and served over real TLS on a free port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sconectl.cas import daemon
from sconectl.cas.client.identity import CasConfig, ClientIdentity
from sconectl.cas.http import https_server
from sconectl.cas.sessions.access import Principal
from sconectl.cas.sessions.embedded import EmbeddedCas


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sockets: opens sockets on this machine (see tests/conftest.py)")


MEASUREMENT = "ab" * 32


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cas"


@pytest.fixture
def cas(directory: Path) -> EmbeddedCas:
    return EmbeddedCas(directory)


@pytest.fixture
def identities(tmp_path: Path) -> Callable[[str], ClientIdentity]:
    return lambda name: CasConfig(tmp_path / "identities" / name).identity()


@pytest.fixture
def principals(identities: Callable[[str], ClientIdentity]) -> Callable[[str], Principal]:
    return lambda name: Principal.of(identities(name).certificate_pem.encode())


@pytest.fixture
def alice(principals: Callable[[str], Principal]) -> Principal:
    return principals("alice")


@pytest.fixture
def bob(principals: Callable[[str], Principal]) -> Principal:
    return principals("bob")


@dataclass
class Served:
    """A running server with its CAS, address and chain file."""

    cas: EmbeddedCas
    address: str
    chain: Path


@contextmanager
def serving(cas: EmbeddedCas) -> Iterator[str]:
    """Serve `cas` over real TLS on a free port; yields the address."""
    listening = daemon.listen("127.0.0.1", 0)
    server = https_server.build_server(cas, ["127.0.0.1"])
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)
    listening.close()
    assert not thread.is_alive()


@pytest.fixture
def served(cas: EmbeddedCas, tmp_path: Path) -> Iterator[Served]:
    chain = tmp_path / "chain.pem"
    chain.write_text(cas.keys.chain_pem)
    with serving(cas) as address:
        yield Served(cas, address, chain)


def session_text(name: str = "acme", body: str = "") -> str:
    return f'name: {name}\nversion: "0.3.11"\n{body}'
