"""Others give every name to another image between any two calls to the engine: what was asked for comes out.

A name is looked up once, at the beginning. After that, whoever builds, tags or pulls at the same time changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.builders import service_plan, service_text
from fakes.engine import PYTHON, FakeEngine, Image, image, of_layers, tar_of
from fakes.stores import MemorySessionStore

from sconectl.adapters.workspace_disk import DiskWorkspace
from sconectl.apply.sources.requirements import Requirements
from sconectl.plan.service.service import ServicePlan
from sconectl.toolchains.sim.commands import ENTRYPOINT

from .one_project import IMAGE, Bench

EVIL = of_layers(
    [tar_of({"/usr/bin/python3": (0o755, b"evil"), "/app/main.py": (0o644, b"evil"), "/scone": (0o755, b"evil")})],
    {"Env": ["EVIL=1"], "Entrypoint": list(ENTRYPOINT)},
)
ASKED = {"base:1", "native:1"}


class Mover:
    """Gives names to an evil image after each call; those of base images once they were looked up."""

    def __init__(self, engine: FakeEngine, only: int | None = None) -> None:
        self.engine, self.only, self.count = engine, only, 0
        engine.nameless[EVIL.info.id] = EVIL
        engine.meanwhile = self.move

    def move(self) -> None:
        self.count += 1
        if self.only is not None and self.count != self.only:
            return
        looked_up = {call.split()[1] for call in self.engine.calls if call.startswith("inspect ")}
        for name in (set(self.engine.images) - ASKED) | (ASKED & looked_up):
            self.engine.rename(EVIL.info.id, name)


def plan() -> ServicePlan:
    return service_plan(service_text(run=["write /made by-run"]))


def fresh(tmp_path: Path, name: str) -> Iterator[Bench]:
    folder = tmp_path / name
    folder.mkdir()
    engine = FakeEngine(images={"base:1": PYTHON, "native:1": image({"/usr/bin/python3": b"native"})})
    yield Bench(engine, MemorySessionStore(folder), DiskWorkspace(folder / "target"), folder)


def made(bench: Bench) -> Image:
    """Return the image that was recorded."""
    found = bench.engine.nameless[bench.record().image_id]
    assert all(b"evil" not in (content or b"") for _, content in found.root.values() if not isinstance(content, str))
    assert not any("EVIL" in variable for variable in found.info.config.get("Env", ()))
    assert found.root["/app/main.py"][1] == b"print(1)"
    assert found.root["/made"][1] == b"by-run"
    return found


@pytest.mark.parametrize("asked", [None, Requirements("r.txt", {"r.txt": b"humanize\n"})], ids=["plain", "wheels"])
def test_every_name_moves_after_every_call(tmp_path: Path, asked: Requirements | None) -> None:
    [honest] = fresh(tmp_path, "honest")
    honest.apply(plan(), requirements=asked)
    [bench] = fresh(tmp_path, "moving")
    Mover(bench.engine)
    done = bench.apply(plan(), requirements=asked)
    assert made(bench).info.id == honest.record().image_id
    assert bench.engine.remote[IMAGE].info.id == bench.record().image_id, "what was pushed is what was built"
    assert done.facts == honest.record().facts


def test_one_move_after_each_single_call(tmp_path: Path) -> None:
    [honest] = fresh(tmp_path, "honest")
    honest.apply(plan())
    calls = len(honest.engine.calls)
    assert calls > 10
    for number in range(1, calls + 1):
        [bench] = fresh(tmp_path, str(number))
        Mover(bench.engine, only=number)
        bench.apply(plan())
        assert made(bench).info.id == honest.record().image_id, honest.engine.calls[number - 1]
        assert bench.engine.remote[IMAGE].info.id == bench.record().image_id


def test_a_second_run_does_not_take_anothers_image_for_its_own(bench: Bench) -> None:
    bench.apply(plan())
    bench.quiet()
    Mover(bench.engine)
    done = bench.apply(plan())
    assert (done.built, done.pushed) == (False, False)
    assert made(bench).info.id == bench.record().image_id


def test_a_launcher_of_somebody_else_is_not_used(bench: Bench, tmp_path: Path) -> None:
    bench.apply(plan())
    names = [name for name in bench.engine.images if name.startswith("sconectl-launcher:")]
    assert len(names) == 1
    foreign = of_layers([tar_of({"/scone/runtime": (0o644, b"a foreign launcher")})], {"Entrypoint": list(ENTRYPOINT)})
    [other] = fresh(tmp_path, "other")  # whose cache is empty
    other.engine.images[names[0]] = foreign
    other.apply(plan())
    assert made(other).root["/scone/runtime"][1] == b"the launcher"
