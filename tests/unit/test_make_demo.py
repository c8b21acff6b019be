"""`make demo APP=NAME`: what it says of a name that it cannot start."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "no such demo: 'nothing'"),
        ("../examples/hello-user", "no such demo"),
        ("it's; echo", "no such demo: 'it's; echo'"),
    ],
)
def test_a_name_that_is_no_demo(name: str, said: str) -> None:
    done = subprocess.run(["make", "-s", "demo", f"APP={name}"], cwd=REPOSITORY, capture_output=True, text=True)
    names = [readme.parent.name for readme in sorted((REPOSITORY / "examples").glob("*/README.md"))]
    assert done.returncode == 2 and said in done.stderr and f"There are: {' '.join(names)}\n" in done.stderr
