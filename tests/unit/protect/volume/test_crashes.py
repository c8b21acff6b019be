"""Whenever the launcher dies, one committed state is opened, and none that is older than what was acknowledged."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protect.volume.programs import lives

EXAMPLES = int(os.environ.get("SCONECTL_CRASHES", "25"))
LIFE = st.tuples(st.integers(0, 2**32), st.integers(1, 400), st.sampled_from([1, 100_000, 64 << 20]), st.booleans())


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(LIFE, min_size=1, max_size=5))
def test_a_crash_at_any_system_call(seeds: list[tuple[int, int, int, bool]]) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        mount, memory = Path(folder, "mount"), Path(folder, "memory")
        mount.mkdir()
        memory.mkdir()
        for status, allowed, found, _ in lives(mount, memory, seeds):
            assert status in (0, 9)
            assert found in allowed
