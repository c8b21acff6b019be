"""A new version is rolled out and taken back: containers of both start, each with its own, until that is finished."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from .world import Outcome, World, docker, logs, must, running_world

PROGRAM = """
import hashlib, json, os, sys  # version %N
print(json.dumps({
    "words": sys.argv[1:], "variable": os.environ["VERSION"], "file": open("/etc/rolled").read(),
    "encrypted": open("/app/data/text").read(),
    "password": hashlib.sha256(os.environ["PASSWORD"].encode()).hexdigest(),
}))
"""
SERVICE = """
apiVersion: scone/5.8
kind: genservice
build:
  name: rolled
  kind: python
  to: IMAGE
  pwd: /app
  copy: [main.py, data]
  dirs: [/app/data]
  command: python3 main.py word%N
environment:
  local:
    - {name: VERSION, value: "%N"}
    - {name: PASSWORD, value: "$$SCONE::password$$"}
secrets:
  global:
    - {name: password, kind: ascii, size: 16}
injection_files:
  - {path: /etc/rolled, content: "file %N of $$SCONE::password$$"}
"""
MESH = """
apiVersion: scone/5.8
kind: mesh
cas:
  - {name: cas, alias: [image], cas_url: $CAS_URL}
policy:
  namespace: rolled
env: []
services:
  - {name: web, image: IMAGE}
"""


@dataclass
class Rolled:
    """A project of which each version has an image, a program, variables and encrypted files of its own."""

    world: World

    @property
    def folder(self) -> Path:
        return self.world.root / "project"

    def image(self, version: int) -> str:
        return self.world.image("rolled").replace(":1", f":{version}")

    def write(self, version: int) -> None:
        folder = self.folder
        (folder / "data").mkdir(parents=True, exist_ok=True)
        (folder / "data" / "text").write_text(f"encrypted {version}")
        (folder / "main.py").write_text(PROGRAM.replace("%N", str(version)))
        for name, text in (("service", SERVICE), ("mesh", MESH)):
            written = text.replace("IMAGE", self.image(version)).replace("%N", str(version))
            (folder / f"{name}.yaml").write_text(written)

    def apply(self, *words: str) -> Outcome:
        must(self.world.apply_service(self.folder / "service.yaml"))
        return must(self.world.apply_mesh(self.folder / "mesh.yaml", *words))

    def rollback(self, *words: str) -> Outcome:
        file = self.folder / "mesh.yaml"
        return must(self.world.sconectl("rollback", "-f", file, "--set", f"CAS_URL={self.world.address}", *words))

    def pod(self, version: int) -> str:
        """Return a container as the chart begins it."""
        chart: Path = self.world.target / "helm" / "charts" / "web" / "values.yaml"
        values: Any = YAML(typ="safe").load(chart.read_text())
        return self.world.create(self.image(version), config_id=values["scone"]["configId"])

    def pod_for(self, config_id: str, version: int) -> str:
        """Return a container that asks for the configuration of another version."""
        return self.world.create(self.image(version), config_id=config_id)

    def start(self, pod: str) -> tuple[int, str]:
        """Start a container, once more if it ran before; return its exit code and what it said this time."""
        before = len(logs(pod))
        must(docker("start", pod))
        code, text = self.world.finish(pod)
        return code, text[before:]

    def said(self, pod: str) -> dict[str, Any]:
        code, text = self.start(pod)
        assert code == 0, text
        line = next(line for line in text.splitlines() if line.startswith("{"))
        found: dict[str, Any] = json.loads(line)
        return found

    def refused(self, pod: str) -> str:
        code, text = self.start(pod)
        assert code != 0
        assert "encrypted" not in text
        return text


@pytest.fixture
def rolled(tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str, cache: Path) -> Iterator[Rolled]:
    with running_world(tmp_path_factory.mktemp("rolled"), base_image, ca_bundle, cache) as world:
        yield Rolled(world)


def test_rolled_out_finished_and_taken_back(rolled: Rolled) -> None:
    rolled.write(1)
    rolled.apply()
    old = rolled.pod(1)
    first = rolled.said(old)
    assert (first["words"], first["variable"], first["encrypted"]) == (["word1"], "1", "encrypted 1")

    rolled.write(2)
    rolled.apply("--rolling")
    new = rolled.pod(2)
    assert rolled.said(old) == first  # an old pod that starts again
    second = rolled.said(new)
    assert (second["words"], second["variable"], second["encrypted"]) == (["word2"], "2", "encrypted 2")
    assert second["file"].startswith("file 2 of ")
    assert second["password"] == first["password"]
    assert "Unexpected enclave" in rolled.refused(rolled.pod_for("rolled/web/python3", 2))

    helm = rolled.world.target / "helm"
    chart = {path: path.read_bytes() for path in helm.rglob("*") if path.is_file()}
    rolled.apply("--finish")
    assert {path: path.read_bytes() for path in helm.rglob("*") if path.is_file()} == chart
    assert rolled.said(new) == second
    assert "Service not found" in rolled.refused(old)

    done = rolled.rollback()
    assert "session rolled/web: taken back to " in done.out
    assert rolled.said(old) == first
    assert rolled.said(new) == second
    rolled.write(1)
    rolled.apply("--finish")
    assert rolled.said(rolled.pod(1)) == first
    assert "Service not found" in rolled.refused(new)
