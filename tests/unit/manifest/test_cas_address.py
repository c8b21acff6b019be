"""Where a CAS is: the same addresses are good in manifests, in sessions, in their schemas, and for the client."""

from __future__ import annotations

import re

import pytest

from sconectl.cas.client.http_cas import normal_address
from sconectl.cas_address import CAS_ADDRESS, PORT
from sconectl.errors import UsageError


def test_ports_are_exactly_the_ones_that_exist() -> None:
    good = {number for number in range(100_000) if re.fullmatch(PORT, str(number))}
    assert good == set(range(1, 65536))
    assert not any(re.fullmatch(PORT, text) for text in ("", "08081", "+1", "1 ", "-1", "٣", "8081a"))


@pytest.mark.parametrize("port", ["0", "65536", "99999", "100000", "080", "", "-1"])
@pytest.mark.parametrize("host", ["cas", "cas.example.org", "10.0.0.1", "[::1]"])
def test_no_other_port_passes(host: str, port: str) -> None:
    assert re.fullmatch(CAS_ADDRESS, f"{host}:{port}") is None
    if port not in ("", "080"):  # these the client reads as anybody would
        with pytest.raises(UsageError, match="no address of a CAS"):
            normal_address(f"{host}:{port}")


@pytest.mark.parametrize("host", ["cas", "cas.example.org", "10.0.0.1", "[::1]"])
def test_addresses(host: str) -> None:
    assert normal_address(host) == f"{host}:8081"
    for port in ("1", "8081", "65535"):
        match = re.fullmatch(CAS_ADDRESS, f"https://{host}:{port}/")
        assert match and match.groups() == (host, f":{port}")
        assert normal_address(f"https://{host}:{port}/") == f"{host}:{port}"
