"""`make demo APP=NAME`: what it says of a name that it cannot start."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("counter", "examples/counter/README.md has its commands"),
        ("flask-sconify", "examples/flask-sconify/README.md has its commands"),
        ("two-cases", "no mesh.yaml that `up` could start; examples/two-cases/README.md has its commands"),
        ("nothing", "no such demo: 'nothing'"),
        ("../examples/hello-user", "no such demo"),
        ("it's; echo", "no such demo: 'it's; echo'"),
    ],
)
def test_a_name_that_is_no_demo(name: str, said: str) -> None:
    done = subprocess.run(["make", "-s", "demo", f"APP={name}"], cwd=REPOSITORY, capture_output=True, text=True)
    with_mesh = [mesh.parent.name for mesh in sorted((REPOSITORY / "examples").glob("*/mesh.yaml"))]
    assert done.returncode == 2 and said in done.stderr and f"There are: {' '.join(with_mesh)}\n" in done.stderr
