"""What clients may store: much at once, little with time, and nobody can use up what is another's."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from sconectl.cas.bounds.limits import DEFAULT
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.secrets.session_secrets import Stored
from sconectl.cas.store.quota import LOCAL, Quota, Room

MIB = 1 << 20


class Timed:
    """A quota with a clock of its own."""

    def __init__(self, directory: Path, **limits: int) -> None:
        self.seconds = 0.0
        chosen = replace(DEFAULT, **limits)
        self.quota = Quota(chosen, Room(directory, replace(chosen, reserve_bytes=1)), lambda: self.seconds)

    def stores(self, address: str, size: int) -> bool:
        try:
            self.quota.upload(address, "x" * (size - 1500), {})
        except CasRefusal as refusal:
            assert refusal.status == 429
            return False
        return True


@pytest.fixture
def timed(tmp_path: Path) -> Timed:
    return Timed(tmp_path)


def test_an_owner_uploads_a_thousand_services_twice(timed: Timed) -> None:
    row = Stored("ascii", '{"size":20}', b"x" * 20, False, None, None)
    for _ in range(2000):
        timed.quota.upload("10.0.0.1", "x" * 5000, {"a": row, "b": row})


@pytest.mark.parametrize("size", [2000, 40_000, MIB])
def test_strangers_fill_little_in_ten_minutes(timed: Timed, size: int) -> None:
    stored = 0
    for second in range(600):
        timed.seconds = second
        for number in range(9):
            while timed.stores(f"127.0.0.{number}", size):
                stored += size
    assert stored < 36 * MIB


def test_who_comes_late_can_store_something_all_the_same(timed: Timed) -> None:
    for number in range(4):
        while timed.stores(f"10.0.0.{number}", 100_000):
            pass
    assert timed.stores("10.0.9.9", 50_000)
    timed.seconds = 600
    for number in range(50):
        while timed.stores(f"10.0.1.{number}", 100_000):
            pass
    assert timed.stores("10.0.9.9", 50_000)


def test_one_large_session_is_paid_back_later(timed: Timed) -> None:
    while timed.stores("a", 10_000):
        pass
    assert not timed.stores("a", MIB)
    with pytest.raises(CasRefusal, match=r"Try again in .* seconds"):
        timed.quota.expect_upload("a", MIB)
    timed.seconds += 61
    assert timed.stores("a", MIB)
    assert not timed.stores("a", MIB)


def test_commands_on_the_directory_have_no_bound(timed: Timed) -> None:
    for _ in range(100):
        assert timed.stores(LOCAL, MIB)
    for _ in range(DEFAULT.attestations + 10):
        timed.quota.attestation(LOCAL, "s")


def test_attestations_of_strangers_do_not_touch_those_of_others(tmp_path: Path) -> None:
    timed = Timed(tmp_path, attestations=5, attestations_per_second=1)
    for _ in range(5):
        timed.quota.attestation("10.0.0.1", "theirs/app")
    with pytest.raises(CasRefusal, match="Try again in 1 seconds"):
        timed.quota.attestation("10.0.0.1", "theirs/other")
    timed.quota.attestation("10.0.0.1", "mine/app")
    timed.quota.attestation("10.0.0.2", "theirs/app")
    timed.seconds = 1
    timed.quota.attestation("10.0.0.1", "theirs/app")


def test_the_reserve_is_not_for_uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"bytes": 100 * MIB}
    real = os.statvfs(tmp_path)

    def statvfs(_: object) -> os.statvfs_result:
        values = list(real)
        values[0] = values[1] = 4096
        values[2], values[4] = 4096 * MIB // 4096, free["bytes"] // 4096
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "statvfs", statvfs)
    room = Room(tmp_path, DEFAULT)
    quota = Quota(DEFAULT, room)
    quota.upload("10.0.0.1", "x", {})
    free["bytes"] = 60 * MIB
    assert not room.is_there()
    with pytest.raises(CasRefusal, match="disk is full") as refused:
        quota.upload("10.0.0.1", "x", {})
    assert refused.value.status == 507
    quota.attestation("10.0.0.1", "mine/app")
    quota.upload(LOCAL, "x", {})
