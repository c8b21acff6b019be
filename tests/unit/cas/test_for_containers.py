"""Where containers find the embedded CAS: said without making one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sconectl.cas.for_containers import CasPlace, find
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
