"""In which order services fail: another one in each run, and the same again for whoever gives the printed number."""

from __future__ import annotations

import os
import random
import time

VARIABLE = "SCONECTL_TEST_RESTARTS"


def drawn_order() -> random.Random:
    """Return what draws the order of a test; its number is printed, which pytest shows if the test fails."""
    seed = int(os.environ.get(VARIABLE, "") or time.time())
    print(f"{VARIABLE}={seed} draws the same order")  # noqa: T201
    return random.Random(seed)
