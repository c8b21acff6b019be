"""Which machines a CAS connects to on behalf of a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from sconectl.cas.keys.simulated_machine import load_machine
from sconectl.cas.sessions.import_targets import EVERYWHERE, ImportTargets


@pytest.mark.parametrize(
    "number",
    [
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
    ],
)
def test_what_never_is_a_cas(number: str) -> None:
    with pytest.raises(PermissionError, match="no CAS is asked"):
        EVERYWHERE.check_number(number)
    ImportTargets(["meta.example.org:80"]).check_number(number)  # whoever names a CAS knows where it is


@pytest.mark.parametrize("number", ["127.0.0.1", "::1", "10.0.0.7", "192.168.1.1", "172.17.0.1", "fd00::1", "8.8.8.8"])
def test_where_other_cases_are(number: str) -> None:
    EVERYWHERE.check_number(number)


def test_a_list_is_exact() -> None:
    EVERYWHERE.check("cas.example.org:8081")
    ImportTargets(["cas.example.org:8081"]).check("cas.example.org:8081")
    for address in ("cas.example.org:80", "example.org:8081", "cas.example.org.evil:8081", "CAS.example.org:8081"):
        with pytest.raises(PermissionError):
            ImportTargets(["cas.example.org:8081"]).check(address)
    with pytest.raises(PermissionError):
        ImportTargets([]).check("cas.example.org:8081")


def test_the_list_is_remembered(tmp_path: Path) -> None:
    assert load_machine(tmp_path).import_from is None
    load_machine(tmp_path, import_from=("cas:8081",))
    assert load_machine(tmp_path).import_from == ("cas:8081",)
    load_machine(tmp_path, import_from=())
    assert load_machine(tmp_path).import_from == ()
    load_machine(tmp_path, import_from=None)
    assert load_machine(tmp_path).import_from is None
