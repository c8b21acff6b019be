"""What `validate`, `plan` and `apply` ask about manifests is worked out once for each, however many there are."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from fakes.builders import mesh_text, service_text

from sconectl.apply.gather import gather_facts
from sconectl.apply.native import collect_sources
from sconectl.apply.sources.service_files import read_service_files
from sconectl.plan.advice.advice import advise
from sconectl.plan.batch import collisions
from sconectl.plan.mesh.availability import remarks, unavailable_in_mesh, unavailable_in_service
from sconectl.plan.mesh.mesh import draft_mesh
from sconectl.plan.mesh.mesh_checks import image_limits, key_faults, mode_faults, name_faults, volumes_faults
from sconectl.plan.secrets.secret_references import check_references
from sconectl.plan.secrets.secret_use import check_mesh_values, check_placeholders, unusable_secrets
from sconectl.plan.secrets.wiring import wire
from sconectl.plan.service.protection import overlaps
from sconectl.plan.service.service import plan_service, service_faults
from sconectl.plan.values.helm_values import helm_values
from sconectl.usecases.check_mesh import check_mesh
from sconectl.usecases.check_service import check_service

from .conftest import Run

SERVICE = (
    plan_service,
    service_faults,
    overlaps,
    check_placeholders,
    check_references,
    check_service,
    unavailable_in_service,
)
MESH = (
    *(draft_mesh, wire, unusable_secrets, helm_values, check_mesh_values, check_mesh, read_service_files),
    *(key_faults, mode_faults, name_faults, volumes_faults, unavailable_in_mesh),
)
EVERY = (remarks, advise)
COUNTED: dict[Any, str] = {f.__code__: f.__name__ for f in (*SERVICE, *MESH, *EVERY, collect_sources, gather_facts)}
COUNTED |= {f.__code__: f.__name__ for f in (image_limits, collisions)}
FILES = ("-f", "web.yaml", "-f", "db.yaml", "-f", "mesh.yaml")
BASE = ("--base-image", "python=base:1")


def calls(action: Callable[[], object]) -> Counter[str]:
    """Return how often each of the functions is entered meanwhile; a generator that goes on is not entered again."""
    found: Counter[str] = Counter()
    begun: set[int] = set()
    kept: list[FrameType] = []  # so that no other frame gets the same id

    def seen(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code in COUNTED and id(frame) not in begun:
            begun.add(id(frame))
            kept.append(frame)
            found[COUNTED[frame.f_code]] += 1

    sys.setprofile(seen)
    try:
        action()
    finally:
        sys.setprofile(None)
    return found


@pytest.fixture
def manifests(project: Path) -> Path:
    """Two services and their mesh, in the current directory; the first has an encrypted directory and a secret."""
    (project / "main.py").write_text("print(1)")
    secrets = {"global": [{"name": "password", "kind": "ascii", "size": 10}]}
    (project / "web.yaml").write_text(service_text("web", copy=["main.py"], secrets=secrets, dirs=["/app"]))
    (project / "db.yaml").write_text(service_text("db", secrets={"import": ["password"]}))
    (project / "mesh.yaml").write_text(mesh_text(["web", "db"]).replace("cas.example.org", "local"))
    return project


def expected(*, sources: int, facts: int, run: int) -> dict[str, int]:
    counts = {f.__name__: 2 for f in SERVICE} | {f.__name__: 1 for f in MESH} | {f.__name__: 3 for f in EVERY}
    counts |= {"collect_sources": sources, "gather_facts": facts, "collisions": run, "image_limits": 1}
    return {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("command", ["validate", "plan", "apply"])
@pytest.mark.usefixtures("manifests")
def test_each_manifest_is_planned_once(run: Run, command: str, again: bool) -> None:
    words = () if command == "validate" else BASE
    if again:
        assert run("apply", *FILES, *BASE).code == 0
    codes = []
    found = calls(lambda: codes.append(run(command, *FILES, *words).code))
    assert codes == [0]
    offline = command == "validate"
    assert found == expected(sources=0 if offline else 2, facts=0 if offline else 1, run=0 if offline else 1)


def test_a_fault_is_looked_for_once_in_each_manifest(run: Run, manifests: Path) -> None:
    (manifests / "mesh.yaml").write_text(mesh_text(["web", "db"]).replace("web:1", "web:2"))
    (manifests / "db.yaml").write_text(service_text("db", dirs=["/"]))
    for command in ("validate", "plan", "apply"):
        found = calls(partial(run, command, *FILES))
        assert {found[f.__name__] for f in SERVICE} == {1, 2}  # what has an error is not planned
        assert {found[f.__name__] for f in MESH} == {1}
        assert not found["gather_facts"]  # it is the fault in the service that leaves its image unknown
