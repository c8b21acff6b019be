"""`make demo APP=NAME`, as a newcomer types it: the example runs, what to try is printed, and it can be ended."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from .readme_walk import alone
from .world import REPOSITORY, Outcome, must, run

DEMOS = REPOSITORY / ".demo"
WITH_MESH = sorted(mesh.parent.name for mesh in (REPOSITORY / "examples").glob("*/mesh.yaml"))
OTHERS = sorted({readme.parent.name for readme in (REPOSITORY / "examples").glob("*/README.md")} - {*WITH_MESH})


@pytest.fixture(autouse=True)
def alone_on_this_machine() -> Iterator[None]:
    with alone():
        yield


def demo(name: str) -> Outcome:
    return must(run(["make", "demo", f"APP={name}"], cwd=REPOSITORY))


@pytest.mark.parametrize("name", WITH_MESH)
def test_a_mesh_is_up_until_it_is_taken_down(name: str) -> None:
    said = demo(name).out
    down = said.partition("the end of it")[0].splitlines()[-1].strip()
    data = f"export XDG_DATA_HOME={DEMOS}/data; "
    try:
        assert f"{name} runs, attested by the CAS at " in said and said.count("\n  ") > 4, said
        shown = must(run(["bash", "-ec", f"{data} .venv/bin/sconectl ps"], cwd=REPOSITORY)).out
        states = {line.split()[3] for line in shown.splitlines()[1:]}
        assert states and states <= {"healthy", "running"}, shown
    finally:
        ended = run(["bash", "-ec", data + down], cwd=REPOSITORY)
        run(["bash", "-ec", f"{data} .venv/bin/sconectl cas stop"], cwd=REPOSITORY)
        shutil.rmtree(DEMOS / name, ignore_errors=True)
    assert down.startswith(".venv/bin/sconectl down ") and ended.code == 0, ended


@pytest.mark.parametrize("name", OTHERS)
def test_the_commands_of_a_readme_were_run(name: str) -> None:
    try:
        said = must(
            run(["make", "demo", f"APP={name}"], cwd=REPOSITORY, env={**os.environ, "TOKEN_OF_MINE": "a-secret"})
        ).out
        assert "a-secret" not in (DEMOS / name / "shell").read_text()
        assert f"bash --rcfile .demo/{name}/shell" in said, said
        asked = "type -t run ask variables; sconectl cas status"  # what the READMEs define
        shown = run(["bash", "--rcfile", DEMOS / name / "shell", "-ic", asked], cwd=REPOSITORY).out
        assert "function\n" in shown and "running at 172.17.0.1:8082" in shown, shown
    finally:
        ended = run(["bash", DEMOS / name / "clean-up"], cwd=REPOSITORY)
        left = subprocess.run(["bash", "-c", f". {DEMOS}/{name}/shell; sconectl cas status"], capture_output=True)
        shutil.rmtree(DEMOS / name, ignore_errors=True)
    assert left.returncode != 0, ended
