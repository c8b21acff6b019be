"""Names of images that others use at the same time: what an apply made is known by id, never by a name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from docker import DockerClient

from .bad_inputs import tiny_program
from .engine_calls import SOCKET, tapped
from .name_pairs import Pair, file_of, import_image
from .registry import running_registry
from .world import World, docker, must


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str, cache: Path) -> Iterator[Pair]:
    world = World(tmp_path_factory.mktemp("pairs"), base_image, ca_bundle, cache=cache)
    world.configure()
    made = Pair(world)
    made.make_base()
    yield made
    made.close()
    world.close()


def test_ten_pairs_at_the_same_time(pair: Pair) -> None:
    """One pair after the other, half of them with one name for both images. `make nightly` takes 200."""
    for number in range(10):
        pair.together(number, same_tag=number % 2 == 1)


class Mover:
    """Gives names to an evil image before each call that it hears; a base image only once it was looked up."""

    def __init__(self, evil: str, names: set[str], base: str) -> None:
        self.evil, self.names, self.base = evil, names, base
        self.moves = 0
        self._client = DockerClient(os.environ.get("DOCKER_HOST", f"unix://{SOCKET}"))

    def __call__(self, call: str) -> None:
        for name in sorted(self.names):
            repository, _, tag = name.rpartition(":")
            self._client.api.tag(self.evil, repository, tag)
            self.moves += 1
        if self.base in call:
            self.names.add(self.base)

    def close(self) -> None:
        self._client.close()


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_names_that_move_before_every_call(pair: Pair, tmp_path: Path, buildkit: str) -> None:
    world = pair.world
    evil = f"sconectl-test/{world.name}-evil:1"
    files = {"bin/program": tiny_program(), "etc/origin": b"evil", "app/main.txt": b"evil"}
    with running_registry(tmp_path) as registry:
        image = f"{registry.address}/team/{world.name}:1"
        folder = pair.project("moved", f"an honest program, {buildkit}", image)
        shutil.rmtree(folder / "target", ignore_errors=True)
        pair.make_base()
        names = {f"sconectl-native/pair-{world.name}:latest", image}
        try:
            mover = Mover(import_image(evil, files, 'ENV EVIL="1"'), names, pair.base)
            with closing(mover), tapped(tmp_path, mover) as (host, heard):
                variables = {"DOCKER_HOST": host, "DOCKER_BUILDKIT": buildkit}
                done = world.sconectl(
                    "apply", "-f", "service.yaml", "--no-push", "--cas", "local", cwd=folder, **variables
                )
                must(done)
            assert mover.moves > 2 * len(heard.calls) > 20
            made = pair.recorded(folder)
            assert file_of(made, "/app/main.txt").decode() == f"an honest program, {buildkit}"
            assert file_of(made, "/etc/origin") == b"the base image"
            # Whoever moves the name while it is pushed pushes something else: that is seen, and said.
            mover = Mover(evil, {image}, pair.base)
            with closing(mover), tapped(tmp_path, mover) as (host, _):
                pushed = world.sconectl("apply", "-f", "service.yaml", "--cas", "local", cwd=folder, DOCKER_HOST=host)
            assert pushed.code == 5 and "again and again while it is pushed" in pushed.err, pushed.text
            assert '"pushed": ""' in next((folder / "target" / "images").glob("*.json")).read_text()
            # Without such a neighbour, the right image is pushed, although the name is still the other's.
            must(world.sconectl("apply", "-f", "service.yaml", "--cas", "local", cwd=folder))
            must(docker("rmi", "-f", image, made))
            must(docker("pull", image))
            assert file_of(image, "/app/main.txt").decode() == f"an honest program, {buildkit}"
        finally:
            for name in (*names, evil):
                docker("rmi", "-f", name)
