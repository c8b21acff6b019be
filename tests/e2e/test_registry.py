"""Pushing to a real registry, and a mesh that learns its facts without the image being on the machine."""

from __future__ import annotations

import re
import shutil

from .world import GREETING, World, docker, must, snapshot


def test_push_and_learn_from_the_registry(world: World, registry: str) -> None:
    project = world.hello()
    image = f"{registry}/team/hello:1"
    for file in ("service.yaml", "mesh.yaml"):
        path = project / file
        path.write_text(path.read_text().replace(world.image(), image))
    try:
        pushed = must(world.sconectl("apply", "-f", project / "service.yaml", "--cas", world.address))
        assert "built, pushed" in pushed.out
        again = must(world.sconectl("apply", "-f", project / "service.yaml", "--cas", world.address))
        assert "unchanged" in again.out and "pushed" not in again.out
        must(world.apply_mesh(project / "mesh.yaml"))
        before = snapshot(world.target / "policies"), snapshot(world.target / "helm")
        values = (world.target / "helm/charts/pythonservice/values.yaml").read_text()
        assert re.search(f'^image: "{image}@sha256:[0-9a-f]{{64}}"$', values, re.MULTILINE)
        must(docker("rmi", "-f", image))
        shutil.rmtree(world.target / "images")  # as on another machine: label and image session have to do
        done = must(world.apply_mesh(project / "mesh.yaml"))
        assert done.out.count("unchanged") == 4
        assert (snapshot(world.target / "policies"), snapshot(world.target / "helm")) == before
        assert docker("inspect", image).code != 0  # never pulled
        assert GREETING in world.log_with(world.start(image), GREETING)  # pulled by `docker run`
    finally:
        world.remove_containers()
        docker("rmi", "-f", image)
