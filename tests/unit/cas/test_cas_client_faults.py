"""What a client is told when a clock or a proxy is at fault, and nobody is in between."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sconectl.cas.client.http_cas import HttpCas
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.keys import certificates
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.errors import CasNotTrusted, CasUnreachable, UsageError
from sconectl.runtime.link import CasLink, open_channel
from sconectl.runtime.log import LaunchRefused

from .conftest import Served, serving

pytestmark = pytest.mark.sockets
NOWHERE = "cas.example.invalid:8081"


@pytest.fixture(params=["not valid yet", "no longer valid"])
def other_time(request: pytest.FixtureRequest, cas: EmbeddedCas, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve a CAS whose server certificate is of another time: its clock was wrong, or the client's is."""
    if request.param == "not valid yet":
        monkeypatch.setattr(certificates, "CLOCK_SKEW", -timedelta(days=4000))
    else:
        monkeypatch.setattr(certificates, "FAR_FUTURE", datetime.now(UTC) - timedelta(hours=1))
    with serving(cas) as address:
        yield address


def test_a_wrong_clock_is_named(other_time: str, tmp_path: Path) -> None:
    with pytest.raises(CasNotTrusted) as caught:
        HttpCas(other_time, CasConfig(tmp_path / "c"))
    assert "clock of this machine or that of the CAS" in caught.value.message
    assert f"{datetime.now(UTC):%Y-%m-%d}" in caught.value.message and "date -u" in caught.value.hint
    assert "between" not in caught.value.message + caught.value.hint


def test_a_launcher_names_it_too(other_time: str, cas: EmbeddedCas) -> None:
    link = CasLink(other_time, cas.keys.cas_key_hash, open_channel(), timeout=5)
    with contextlib.closing(link), pytest.raises(LaunchRefused) as caught:
        link.call("GET", "/v1/version", None, deadline=time.monotonic() + 5)
    assert "clock" in str(caught.value) and "UTC" in caught.value.causes[0]


def test_another_key_is_no_matter_of_clocks(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who shows the chain of the right CAS and has not its key."""
    monkeypatch.setattr(EmbeddedCas(tmp_path / "other").keys.__class__, "chain_pem", served.cas.keys.chain_pem)
    with serving(EmbeddedCas(tmp_path / "other")) as address, pytest.raises(CasNotTrusted) as caught:
        HttpCas(address, CasConfig(tmp_path / "c"))
    assert "cannot prove" in caught.value.message and "between you and the CAS" in caught.value.hint


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A proxy that a variable names; its port is taken, but nobody listens yet."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        for name in ("ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2@127.0.0.1:{bound.getsockname()[1]}")
        yield bound


def refused(tmp_path: Path, address: str = NOWHERE) -> CasUnreachable:
    with pytest.raises(CasUnreachable) as caught:
        HttpCas(address, CasConfig(tmp_path / "c"))
    assert "hunter2" not in caught.value.message + caught.value.hint
    return caught.value


def test_a_dead_proxy_is_named(tmp_path: Path, proxy: socket.socket) -> None:
    error = refused(tmp_path)
    assert f"the proxy http://127.0.0.1:{proxy.getsockname()[1]} does not answer" in error.message
    assert "HTTPS_PROXY" in error.hint and f"{NOWHERE} to NO_PROXY" in error.hint and "cas serve" not in error.hint


def test_a_proxy_that_refuses_is_named(tmp_path: Path, proxy: socket.socket) -> None:
    import threading

    proxy.listen()

    def refuse() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = proxy.accept()
                with client:
                    client.recv(4096)
                    client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    threading.Thread(target=refuse, daemon=True).start()
    error = refused(tmp_path)
    proxy.shutdown(socket.SHUT_RDWR)
    assert "refuses: 403" in error.message and "NO_PROXY" in error.hint


def test_networks_in_no_proxy_are_reached_directly(
    tmp_path: Path, proxy: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """192.0.2.0/24 leads nowhere (RFC 5737): what matters is who is asked."""
    monkeypatch.setattr("sconectl.cas.client.connection._TIMEOUT", 0.2)
    monkeypatch.setattr("sconectl.cas.client.connection._FIRST_PAUSE", 0)
    assert "the proxy" in refused(tmp_path, "192.0.2.1").message
    monkeypatch.setenv("NO_PROXY", "198.51.100.0/24,192.0.2.0/24")
    assert "no CAS answers at 192.0.2.1" in refused(tmp_path, "192.0.2.1").message


def test_this_machine_needs_no_proxy(served: Served, tmp_path: Path, proxy: socket.socket) -> None:
    assert HttpCas(served.address, CasConfig(tmp_path / "c")).version()


def test_a_proxy_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "gopher://me:hunter2@proxy.test:70")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(UsageError, match=r"the proxy gopher://proxy\.test:70 cannot be used"):
        HttpCas(NOWHERE, CasConfig(tmp_path / "c"))
