"""The client's connection: kept, repeated where that is safe, and never believed without proof."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from sconectl.cas.bounds.limits import Limits
from sconectl.cas.client import connection as module
from sconectl.cas.client import trust
from sconectl.cas.client.http_cas import HttpCas
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.client.tolerance import parse
from sconectl.cas.connect import connect
from sconectl.cas.keys.cas_keys import load_or_create
from sconectl.errors import CasError, CasNotTrusted, CasRefused, CasUnreachable, Refused, UsageError
from sconectl.key_hash import key_hash
from sconectl.ports import ListedSession, StoredSession

from .fake_cas import HASH, Running, Taken, refusal, running

pytestmark = pytest.mark.sockets


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "server", Limits(goodbye_seconds=0.2)) as server:
        yield server


@pytest.fixture
def store(server: Running, tmp_path: Path) -> Iterator[HttpCas]:
    with contextlib.closing(HttpCas(server.address, CasConfig(tmp_path / "config"))) as store:
        server.cas.calls.clear()
        yield store


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=pauses.append))
    return pauses


def test_what_a_store_can_do(store: HttpCas, server: Running) -> None:
    assert store.read("acme/web") == StoredSession("name: x\n", HASH)
    assert store.hash_of("/") == HASH
    assert store.read("acme/web", HASH) == StoredSession("name: x\n", HASH)
    assert store.list_sessions() == store.list_sessions("/") == (ListedSession("acme", HASH),)
    server.cas.answers["list_sessions"] = [{"name": "acme/web"}, {"name": "acme/db", "hash": HASH}]
    assert store.list_sessions("acme") == (ListedSession("acme/db", HASH), ListedSession("acme/web", None))
    assert store.put("name: x") == HASH
    assert store.put('{"encrypted_session": "ä"}') == HASH
    assert store.version()
    assert store.encryption_key() == server.cas.keys.encryption.public_key().public_bytes_raw().hex()
    assert server.cas.calls[2][3] == HASH
    assert [(call[0], call[1]) for call in server.cas.calls] == [
        ("read", "acme/web"),
        ("hash_of", "/"),
        ("read", "acme/web"),
        ("list_sessions", "/"),
        ("list_sessions", "/"),
        ("list_sessions", "acme"),
        ("put", b"name: x"),
        ("put", '{"encrypted_session": "ä"}'.encode()),
    ]


def test_refusals_and_what_does_not_exist(store: HttpCas, server: Running) -> None:
    server.cas.refusal = refusal(404, "Session not found: no")
    assert store.read("x") is None
    assert store.hash_of("x") is None
    for status, word in ((413, "smaller"), (507, "free space"), (500, "log"), (403, "another identity")):
        server.cas.refusal = refusal(status)
        for ask in (lambda: store.read("x"), lambda: store.put("x"), lambda: store.list_sessions("x")):
            with pytest.raises(CasRefused) as caught:
                ask()
            assert (caught.value.status, caught.value.causes) == (status, ("No", "because"))
            assert word in caught.value.hint


def test_warnings_are_told(server: Running, tmp_path: Path) -> None:
    told: list[str] = []
    with contextlib.closing(HttpCas(server.address, CasConfig(tmp_path / "c"), notify=told.append)) as store:
        told.clear()
        server.cas.answers["put"] = Taken(warnings=("first", "second"))
        store.put("x")
    assert [line.partition("says: ")[2] for line in told] == ["first", "second"]


def test_one_connection_serves_many_requests(store: HttpCas, server: Running) -> None:
    for _ in range(20):
        store.read("x")
        store.put("x")
    assert len(server.server.server_state.connections) == 1


def test_a_connection_that_the_server_closed_is_made_anew(store: HttpCas, server: Running) -> None:
    for ask in (lambda: store.read("x"), lambda: store.put("x")):
        ask()
        [connection] = server.server.server_state.connections
        connection.loop.call_soon_threadsafe(connection.transport.close)
        while server.server.server_state.connections:
            threading.Event().wait(0.01)
        ask()
    assert [call[0] for call in server.cas.calls] == ["read", "read", "put", "put"]


def test_many_threads_share_a_store(store: HttpCas, server: Running) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(store.read("x"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(server.cas.calls) == 12


class Flaky:
    """Fails as often as told, then passes requests on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: type[httpx.TransportError], failures: int) -> None:
        self.calls = 0
        real = module.Connection._exchange

        def exchange(connection: module.Connection, *arguments: Any) -> Any:
            self.calls += 1
            if self.calls <= failures:
                raise error("the line went dead")
            return real(connection, *arguments)

        monkeypatch.setattr(module.Connection, "_exchange", exchange)


@pytest.mark.parametrize("error", [httpx.ReadError, httpx.RemoteProtocolError, httpx.ConnectError, httpx.ReadTimeout])
def test_reads_are_repeated(
    store: HttpCas, monkeypatch: pytest.MonkeyPatch, error: type[httpx.TransportError], no_pauses: list[float]
) -> None:
    flaky = Flaky(monkeypatch, error, 2)
    assert store.read("x") is not None
    assert flaky.calls == 3
    assert len(set(no_pauses)) == 2  # never the same pause twice
    assert 0.1 <= no_pauses[0] <= 0.3 and 0.2 <= no_pauses[1] <= 0.6
    flaky = Flaky(monkeypatch, error, 99)
    with pytest.raises(CasUnreachable):
        store.read("x")
    assert flaky.calls == 3


def test_uploads_are_repeated_only_if_nothing_was_sent(store: HttpCas, monkeypatch: pytest.MonkeyPatch) -> None:
    error: type[httpx.TransportError]
    for error in (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadTimeout):
        with monkeypatch.context() as patch:
            flaky = Flaky(patch, error, 1)
            with pytest.raises(CasUnreachable, match="not known"):
                store.put("x")
        assert flaky.calls == 1
    for error in (httpx.ConnectError, httpx.ConnectTimeout):
        with monkeypatch.context() as patch:
            flaky = Flaky(patch, error, 2)
            assert store.put("x") == HASH
        assert flaky.calls == 3


def test_a_busy_server_is_asked_again(store: HttpCas, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    server.cas.refusal = refusal(503, "busy")
    with pytest.raises(CasRefused):
        store.read("x")
    assert len(server.cas.calls) == 3
    server.cas.calls.clear()
    with pytest.raises(CasRefused):
        store.put("x")
    assert len(server.cas.calls) == 1


def test_the_number_of_repetitions_can_be_given(server: Running, tmp_path: Path) -> None:
    for retries in (0, 4):
        demanded = parse(f"--retries {retries}")
        with contextlib.closing(HttpCas(server.address, CasConfig(tmp_path / "c"), tolerance=demanded)) as store:
            server.cas.calls.clear()
            server.cas.refusal = refusal(503, "busy")
            with pytest.raises(CasRefused):
                store.read("x")
            assert len(server.cas.calls) == retries + 1
            server.cas.refusal = None


def test_a_report_that_proves_nothing(server: Running, tmp_path: Path) -> None:
    others = load_or_create(tmp_path / "others")
    genuine = trust.make_report(server.cas.keys, "00" * 32, "1", datetime.now(UTC))
    for answer, reason in (
        (genuine, "not made for this request"),
        (genuine | {"signature": "AAAA"}, "not signed"),
        ({"report": {}}, "not understood"),
    ):
        server.cas.answers["report"] = answer
        with pytest.raises(CasNotTrusted, match=reason):
            HttpCas(server.address, CasConfig(tmp_path / "c"))
    server.cas.report = lambda nonce: trust.make_report(others, nonce, "1", datetime.now(UTC))  # type: ignore[method-assign]
    with pytest.raises(CasNotTrusted, match="signed for another CAS key"):
        HttpCas(server.address, CasConfig(tmp_path / "c"))
    assert CasConfig(tmp_path / "c").pinned(server.address) is None


def test_tolerance_is_honoured(server: Running, tmp_path: Path) -> None:
    def to(flags: str, **more: Any) -> Any:
        return connect(server.address, config_dir=tmp_path / "c", data_dir=tmp_path, tolerance=flags, **more)

    keys = server.cas.keys
    wrong = key_hash(keys.quoting.public_key())
    with pytest.raises(UsageError):
        to("-Z")
    with pytest.raises(CasNotTrusted, match="which is not the expected key"):
        to(f"-c {wrong}")
    with pytest.raises(CasNotTrusted, match="CAS software key"):
        to(f"-s {wrong}")
    with pytest.raises(CasNotTrusted, match="cannot show the measurement"):
        to("-GCS --mrenclave " + "ab" * 32)
    assert CasConfig(tmp_path / "c").pinned(server.address) is None  # nothing of this made it a known CAS
    told: list[str] = []
    to(f"-GCS -c {keys.cas_key_hash} -s {keys.software_key_hash}", notify=told.append).close()
    assert told == [f"warning: the CAS {server.address} is a simulation; no hardware protects what it keeps"]
    assert CasConfig(tmp_path / "c").pinned(server.address) == keys.cas_key_hash


def test_hardware_can_be_required(server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCONECTL_REQUIRE", "hardware")
    for url in (server.address, "local"):
        for flags in (None, "-GCS"):
            with pytest.raises(Refused, match="simulation"):
                connect(url, config_dir=tmp_path / "c", data_dir=tmp_path / "d", tolerance=flags)


def test_a_closed_port_is_tried_again_and_then_named(tmp_path: Path, no_pauses: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(CasUnreachable, match="no CAS answers"):
        HttpCas(f"127.0.0.1:{port}", CasConfig(tmp_path))
    assert len(no_pauses) == 2


def test_large_answers_are_not_read(store: HttpCas, server: Running) -> None:
    server.cas.answers["read"] = StoredSession("x" * (9 << 20), HASH)
    with pytest.raises(CasError, match="too large"):
        store.read("x")
