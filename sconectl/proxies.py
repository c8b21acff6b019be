"""Which proxy a host is reached through, by the variables of the environment that other tools read as well.

In: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY in either case, and a host. Out: the address of a proxy, or none.
This very machine is always reached directly, under whatever address; other private addresses are like any other.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def proxy_for(host: str, port: int) -> str | None:
    """Return the URL of the proxy for requests to `host`, or None if it is reached directly."""
    given = getproxies_environment()
    proxy = given.get("https") or given.get("all")
    if not proxy or is_here(host) or _excepted(host, port, given.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def shown_proxy(proxy: str) -> str:
    """Return a proxy as messages may show it: without a password."""
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def is_here(host: str) -> bool:
    """Say whether `host` is this machine: by the name localhost, a loopback address, or that of an own interface."""
    address = _address(host)
    if address is None:
        return host.lower() == "localhost"
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as own:
            own.bind((str(address), 0))  # only addresses of own interfaces can be bound; nothing is sent
    except OSError:
        return False
    return True


def _excepted(host: str, port: int, listed: str) -> bool:
    """Say whether NO_PROXY names a host: `*`, a name with all below it, an address (either with `:PORT`), a network."""
    host, address = host.lower().rstrip("."), _address(host)
    return any(_names(entry.strip().lower(), host, port, address) for entry in listed.split(","))


def _names(entry: str, host: str, port: int, address: Address | None) -> bool:
    if entry in ("", "*"):
        return entry == "*"
    if address is not None:
        network = _network(entry.strip("[]"))
        if network is not None:
            return address in network
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit():
        if int(number) != port:
            return False
        entry = name
    if address is not None:
        return _address(entry.strip("[]")) == address
    name = entry.removeprefix("*").strip(".")
    return host == name or host.endswith(f".{name}")


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
