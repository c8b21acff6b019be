"""examples/env-tutorial: a mesh without values gets them, and the program of each service the ones that are meant."""

from __future__ import annotations

import re

import pytest

from .readme_walk import walk
from .world import World

TOKEN = re.compile(r"^TOKEN = 24 characters with the checksum ([0-9a-f]{16})$", re.M)


@pytest.mark.shows("env.superset", "env.precedence", "env.kinds", "env.missing", "env.operator")
def test_the_readme(walker: World) -> None:
    said = "".join(walk(walker, "env-tutorial").values())
    first, second, *again = TOKEN.findall(said)
    assert first != second and set(again) == {first} and len(again) == 2, said
    assert "evil" not in said.replace("LD_PRELOAD", "").replace("/evil.so", "")
