"""Giving up every way to another user, as a launcher does that cannot read all files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from fakes.nobody import NOBODY, as_nobody, needs_root

from sconectl.runtime import identity

pytestmark = needs_root


def no_new_privileges() -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("NoNewPrivs:"))


def test_the_capabilities_are_those_that_the_kernel_tells() -> None:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    told = int(status["CapPrm"], 16) | int(status["CapInh"], 16)
    numbers = {f"CAP_{name}": number for number, name in enumerate(identity._NAMES)}
    assert sum(1 << numbers[name] for name in identity.capabilities()) == told
    assert "CAP_SETUID" in identity.capabilities() and numbers["CAP_CHECKPOINT_RESTORE"] == 40
    assert as_nobody(identity.capabilities) == frozenset()


def test_a_user_without_capabilities_stays_the_same_for_good() -> None:
    def become(command: list[str]) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def tried() -> tuple[str, tuple[str, ...], str, str]:
        before = no_new_privileges()
        obstacles = identity.stay_the_same()
        return before, obstacles, no_new_privileges(), become(["sh", "-c", "grep NoNewPrivs: /proc/self/status"])

    assert as_nobody(tried) == ("0", (), "1", "NoNewPrivs:\t1")


def test_whoever_may_change_the_user_is_told_so_and_keeps_everything() -> None:
    def tried() -> tuple[tuple[str, ...], str]:
        return identity.stay_the_same(), no_new_privileges()

    ([obstacle], left) = as_nobody(tried, become=lambda: None)
    assert obstacle.startswith("it has CAP_") and "CAP_SETUID" in obstacle and "CAP_NET_RAW" not in obstacle
    assert left == "0"


@pytest.mark.parametrize("which", ["user", "group"])
def test_two_users_at_a_time_are_an_obstacle(which: str) -> None:
    def become() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, 1 if which == "group" else NOBODY)
        os.setresuid(NOBODY, NOBODY, 1 if which == "user" else NOBODY)

    assert as_nobody(identity.stay_the_same, become) == ("it has more than one user or group at the same time",)


def test_a_kernel_that_refuses_is_an_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise OSError(1, "no_new_privs could not be set")

    monkeypatch.setattr(identity, "_renounce", refused)
    [obstacle] = as_nobody(identity.stay_the_same)
    assert "cannot give up new privileges" in obstacle
