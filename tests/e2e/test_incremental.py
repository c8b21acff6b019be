"""A second build costs nothing, and a change costs what was changed: observed at the engine's socket and a registry."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .engine_calls import Tap, tapped
from .registry import Registry, running_registry
from .world import Outcome, World, docker, inspected, must

SERVICE = """
apiVersion: scone/5.8
kind: genservice
build:
  name: incremental
  kind: python
  to: {image}
  pwd: /app
  command: python3 main.py
  copy: [main.py, data]
  dirs: [/app/data]
  run:
    - mkdir /opt/made && cp main.py /opt/made/size && echo made >/opt/made/text && rm /opt/made/size
environment: {{}}
"""
LOADED = 2_000_000
"""More than a small change needs, and far less than the launcher or a base image."""


@dataclass(frozen=True)
class Project:
    """A service whose image is built and pushed."""

    world: World
    folder: Path
    image: str
    registry: Registry

    def apply(self, *, tap: Path) -> tuple[Outcome, Tap]:
        with tapped(tap) as (host, heard):
            file = self.folder / "service.yaml"
            return must(self.world.sconectl("apply", "-f", file, "--cas", self.world.address, DOCKER_HOST=host)), heard

    def layers(self) -> list[str]:
        found: list[str] = inspected(self.image)["RootFS"]["Layers"]
        return found

    def state(self) -> tuple[str, list[str]]:
        """Return the image's id, and the registry's requests so far."""
        return str(inspected(self.image)["Id"]), self.registry.requests()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def project(module_world: World, registry: Registry) -> Iterator[Project]:
    folder = module_world.root / "incremental"
    (folder / "data").mkdir(parents=True)
    (folder / "main.py").write_text("print(open('/app/data/text').read())\n")
    (folder / "data" / "text").write_text("a text\n" * 1000)
    image = f"{registry.address}/sconectl-test/{module_world.name}-incremental:1"
    (folder / "service.yaml").write_text(SERVICE.format(image=image))
    made = Project(module_world, folder, image, registry)
    done, heard = made.apply(tap=module_world.root)
    assert "built, pushed" in done.out and heard.making()
    yield made
    docker("rmi", "-f", image)


def nothing_happened(project: Project, tap: Path) -> None:
    """Apply, and require that neither the engine nor the registry had anything to do."""
    before, started = project.state(), time.time()
    done, heard = project.apply(tap=tap)
    assert "unchanged" in done.out and "built" not in done.out and "pushed" not in done.out
    assert heard.calls and not heard.making(), heard.calls
    assert project.state() == before
    events = ["events", "--since", f"{started:.3f}", "--until", f"{time.time():.3f}", "--filter", "type=image"]
    assert project.image not in must(docker(*events)).out


def test_nothing_is_done_for_unchanged_input(project: Project, tmp_path: Path) -> None:
    nothing_happened(project, tmp_path)


def test_times_of_sources_do_not_matter(project: Project, tmp_path: Path) -> None:
    for path in (*project.folder.rglob("*"), project.folder):
        os.utime(path, (0, 1_000_000_000))
    nothing_happened(project, tmp_path)
    main = project.folder / "main.py"
    shutil.copy(main, tmp_path / "copy.py")
    main.unlink()
    shutil.copy(tmp_path / "copy.py", main)  # another file with the same content
    nothing_happened(project, tmp_path)


def test_a_changed_source_costs_its_layer(project: Project, tmp_path: Path) -> None:
    before, uploads = project.layers(), project.registry.uploads()
    main = project.folder / "main.py"
    main.write_text(main.read_text() + "print('changed')\n")
    done, heard = project.apply(tap=tmp_path)
    assert "built, pushed" in done.out
    after = project.layers()
    assert len(after) == len(before)
    changed = [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert len(changed) == 2 and changed[-1] == len(after) - 1, (before, after)  # the program, and the enclave's files
    base = inspected(project.world.base_image)["RootFS"]["Layers"]
    assert after[: len(base)] == base
    assert heard.sent < LOADED, heard.calls
    assert project.registry.uploads() - uploads == 3, project.registry.requests()  # two layers, and the configuration


def test_a_removed_image_is_made_again_as_it_was(project: Project, tmp_path: Path) -> None:
    before = inspected(project.image)["Id"]
    must(docker("rmi", "-f", project.image))
    uploads = project.registry.uploads()
    done, _ = project.apply(tap=tmp_path)
    assert "built" in done.out
    assert inspected(project.image)["Id"] == before
    assert project.registry.uploads() == uploads
