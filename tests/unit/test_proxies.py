"""Which proxy is asked for which host."""

from __future__ import annotations

import socket

import pytest

from sconectl.proxies import is_here, proxy_for, shown_proxy

pytestmark = pytest.mark.sockets  # own addresses are found by binding
PROXY = "http://proxy.test:3128"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("HTTPS_PROXY", PROXY, PROXY),
        ("https_proxy", PROXY, PROXY),
        ("ALL_PROXY", "proxy.test:3128", PROXY),
        ("HTTP_PROXY", PROXY, None),
        ("HTTPS_PROXY", "", None),
    ],
)
def test_where_it_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str | None) -> None:
    monkeypatch.setenv(variable, value)
    assert proxy_for("cas.example.org", 8081) == expected


@pytest.mark.parametrize(
    ("listed", "host", "direct"),
    [
        ("*", "cas.example.org", True),
        ("example.org", "cas.example.org", True),
        (".example.org", "cas.example.org", True),
        ("*.example.org", "cas.example.org", True),
        ("EXAMPLE.org", "CAS.Example.org.", True),
        ("ample.org", "cas.example.org", False),
        ("cas.example.org:8081", "cas.example.org", True),
        ("cas.example.org:443", "cas.example.org", False),
        ("other.org, cas.example.org ,", "cas.example.org", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("192.168.1.7/24", "192.168.1.99", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:8081", "10.1.2.3", True),
        ("10.1.2.3:1", "10.1.2.3", False),
        ("10.1.2", "10.1.2.3", False),
        ("fd00::/8", "fd12::1", True),
        ("[fd12::1]", "fd12::1", True),
        ("[fd12::1]:8081", "fd12::1", True),
        ("[fd12::1]:1", "fd12::1", False),
        ("10.0.0.0/8", "fd12::1", False),
        ("10.0.0.0/99", "10.1.2.3", False),
        ("10.0.0.0/8", "ten.example.org", False),
        ("", "10.1.2.3", False),
        ("", "192.168.255.254", False),
        ("", "127.0.0.1", True),
        ("", "127.9.9.9", True),
        ("", "::1", True),
        ("", "localhost", True),
    ],
)
def test_who_is_reached_directly(monkeypatch: pytest.MonkeyPatch, listed: str, host: str, direct: bool) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", listed)
    assert (proxy_for(host, 8081) is None) is direct


def test_every_own_address_is_here() -> None:
    """Whatever address this machine has: containers reach it under that of a bridge."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing, but chooses the own address
        except OSError:
            pytest.skip("this machine has no address besides loopback")
        own = str(probe.getsockname()[0])
    assert is_here(own)
    assert not is_here("192.0.2.1") and not is_here("cas")


def test_a_password_is_never_shown() -> None:
    assert shown_proxy("http://me:hunter2@proxy.test:3128") == PROXY
