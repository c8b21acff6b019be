"""Where containers find the embedded CAS: said without making one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sconectl.cas import daemon
from sconectl.cas.for_containers import CasPlace, find, start
from sconectl.cas.keys.cas_keys import load_or_create
from sconectl.errors import CasError

HOST = "192.0.2.1"


@pytest.mark.parametrize("is_there", [False, True])
def test_looking_for_a_cas_makes_none(tmp_path: Path, is_there: bool) -> None:
    directory = tmp_path / "cas"
    if is_there:
        directory.mkdir(mode=0o700)
    assert find(directory, "local", HOST) == CasPlace(f"{HOST}:8081", "", runs=False)
    assert list(tmp_path.rglob("*")) == ([directory] if is_there else [])


def test_a_cas_that_does_not_run_is_known_by_its_key(tmp_path: Path) -> None:
    key = load_or_create(tmp_path).cas_key_hash
    assert find(tmp_path, "local", HOST).key == key


@pytest.mark.parametrize("address", ["127.0.0.1:8081", "[::1]:8081", "0.0.0.0:1", "https://127.0.0.1"])
def test_an_address_that_containers_do_not_reach_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(CasError, match="where containers do not reach it"):
        find(tmp_path, address, HOST)


@pytest.mark.sockets
@pytest.mark.parametrize("address", ["cas.example.org:8081", "cas.example.org", "192.0.2.7:8081"])
def test_a_cas_elsewhere_is_not_ours(tmp_path: Path, address: str) -> None:
    place = find(tmp_path, address, HOST)
    assert place == CasPlace(address, "") and place.runs


@pytest.fixture
def directories(tmp_path: Path) -> Iterator[list[Path]]:
    """Directories of CASes, which are ended after the test."""
    found = [tmp_path / str(number) for number in range(3)]
    yield found
    for directory in found:
        if directory.is_dir() and daemon.status(directory):
            daemon.stop(directory)


@pytest.mark.sockets
@pytest.mark.parametrize("cas_url", ["local", "localhost", "localhost:1"])
def test_a_cas_that_listens_on_a_name(directories: list[Path], cas_url: str) -> None:
    daemon.start_detached(directories[0], "localhost", 0)
    with pytest.raises(CasError, match="where containers do not reach it"):
        find(directories[0], cas_url, HOST)


@pytest.mark.sockets
def test_a_cas_that_listens_on_a_name_of_this_machine(directories: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` stands for another name; what it resolves to is that of a machine."""
    running = daemon.start_detached(directories[0], "localhost", 0).running
    port = running.address.rpartition(":")[2]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    key = load_or_create(directories[0]).cas_key_hash
    assert find(directories[0], "local", HOST) == CasPlace(f"{HOST}:{port}", key)
    assert find(directories[0], f"{HOST}:{port}", HOST) == CasPlace(f"{HOST}:{port}", key)
    assert find(directories[0], f"{HOST}:1", HOST) == CasPlace(f"{HOST}:1", "")


@pytest.mark.sockets
def test_several_start_at_once(directories: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """All find the port free, and one gets it: the others take another one, each its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        wanted = CasPlace(f"127.0.0.1:{probe.getsockname()[1]}", "", runs=False)
    together = threading.Barrier(len(directories))
    started = daemon.start_detached
    waited = threading.local()

    def at_once(directory: Path, host: str, port: int) -> daemon.Started:
        if not hasattr(waited, "yes"):
            waited.yes = True
            together.wait()
        return started(directory, host, port)

    monkeypatch.setattr(daemon, "start_detached", at_once)
    with ThreadPoolExecutor(len(directories)) as pool:
        places = list(pool.map(lambda directory: start(directory, wanted, anywhere=True), directories))
    assert wanted.address in {place.address for place in places}
    assert len({place.address for place in places}) == len({place.key for place in places}) == len(directories)


@pytest.mark.sockets
def test_a_port_that_is_taken(directories: list[Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = CasPlace(f"127.0.0.1:{other.getsockname()[1]}", "", runs=False)
        with pytest.raises(CasError, match="cannot listen"):
            start(directories[0], taken, anywhere=False)
        assert start(directories[0], taken, anywhere=True).address != taken.address


@pytest.mark.sockets
def test_an_address_that_is_not_of_this_machine(directories: list[Path]) -> None:
    with pytest.raises(CasError, match=f"cannot listen on {HOST}:8081: Cannot assign requested address"):
        start(directories[0], CasPlace(f"{HOST}:8081", "", runs=False), anywhere=True)
