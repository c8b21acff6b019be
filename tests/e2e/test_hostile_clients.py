"""The campaign of hostile clients, shortly: strangers do their worst, and an honest program attests meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).parents[1] / "nightly" / "hostile_clients.py"


def test_an_honest_program_attests_whatever_strangers_do() -> None:
    # The nightly campaign asks for one second and 400 MB; both depend on how fast the machine serves the strangers.
    command = [sys.executable, str(CAMPAIGN), "--seconds", "25", "--seed", "9", "--slowest", "5", "--memory", "700"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode != 0:
        pytest.fail(f"{done.stdout}\n{done.stderr}", pytrace=False)
