"""What `plan` says before a build holds after it; `inspect` and `measure` agree with `apply`, whoever asks and how."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .world import World, docker, inspected, must, snapshot

SERVICE = """
apiVersion: scone/5.8
kind: genservice
build:
  name: planned
  kind: python
  to: {image}
  pwd: /app
  copy: [main.py, data]
  run: [python3 -m compileall -q /app]
  command: python3 main.py
  dirs: [/app/data]
  plains: [/var/cache]
  host_paths: [/srv]
  signature: {{sign: true}}
environment:
  local:
    - name: GREETING
      value: hunter2
secrets:
  global:
    - name: key
      kind: ascii
injection_files:
  - path: /etc/planned.conf
    content: hunter3
"""


@dataclass(frozen=True)
class Planned:
    """A project that was planned, built, and planned again."""

    world: World
    file: Path
    image: str
    before: dict[str, Any]
    printed: str
    after: dict[str, Any]

    @property
    def measurement(self) -> str:
        [found] = re.findall("^measurement ([0-9a-f]{64})$", self.printed, re.MULTILINE)
        return str(found)


@pytest.fixture(scope="module")
def planned(module_world: World) -> Planned:
    world = module_world
    project = world.root / "planned"
    (project / "data").mkdir(parents=True)
    (project / "data" / "names.txt").write_text("Ada\n")
    (project / "main.py").write_text("print('hello')\n")
    file = project / "service.yaml"
    image = world.image("planned")
    file.write_text(SERVICE.format(image=image))
    words = ("plan", "-f", file, "-n", "--output", "json")
    files = set(snapshot(project))
    before = json.loads(must(world.sconectl(*words)).out)
    assert docker("image", "inspect", image).code != 0, "a plan builds nothing"
    assert set(snapshot(project)) == files
    assert not world.target.exists()
    printed = must(world.apply_service(file)).out
    after = json.loads(must(world.sconectl(*words)).out)
    return Planned(world, file, image, before, printed, after)


def test_before_the_build_the_plan_names_every_class(planned: Planned) -> None:
    plan = planned.before
    base = inspected(planned.world.base_image)
    assert plan["base"] == {"reference": planned.world.base_image, "digest": base["Id"], "missing": ""}
    states = {step["step"]: step["state"] for step in plan["steps"]}
    assert [step["step"] for step in plan["steps"]] == [
        *("image", "copy", "run", "launcher", "protect", "sign", "load", "session"),
    ]
    assert all(states[step] == "to do" for step in ("copy", "run", "protect", "sign", "load"))
    paths = {row["path"]: row["protection"] for row in plan["paths"]}
    assert paths["/app/main.py"] == "binary-fs"
    assert paths["/app/data/names.txt"] == "encrypted"
    assert paths["/etc/planned.conf"] == "injected"
    assert paths["/etc/passwd"] == "binary-fs"
    assert plan["unknown"] == ["made by run (python3 -m compileall -q /app): not known before the build"]
    assert any(finding["message"].startswith(f"{len(plan['setuid'])} protected file") for finding in plan["findings"])
    assert "hunter" not in json.dumps(plan)


def test_after_the_build_nothing_is_left_to_do(planned: Planned) -> None:
    assert {step["state"] for step in planned.after["steps"]} == {"unchanged", "checked"}


def test_the_built_image_has_the_classes_of_the_plan(planned: Planned, tmp_path: Path) -> None:
    """Compare every path of the plan with the index that the launcher checks."""
    container = must(docker("create", planned.image)).out.strip()
    planned.world.containers.append(container)
    must(docker("cp", f"{container}:/scone/image/index.json", tmp_path / "index.json"))
    planned.world.remove_containers()
    index = json.loads((tmp_path / "index.json").read_bytes())
    classes = {row["path"]: row["protection"] for row in planned.before["paths"]}
    measured = {path for path, protection in classes.items() if protection in ("binary-fs", "injected")}
    assert measured <= set(index["entries"])
    others = {path for path, protection in classes.items() if protection not in ("binary-fs", "injected")}
    assert set(index["entries"]) & others == {"/app/data"}, "an encrypted directory is a link in the image"
    assert all("__pycache__" in path for path in set(index["entries"]) - measured - {"/app/data"})
    assert index["sealed"] == ["/app/data"]
    named = {row["path"] for row in planned.before["classes"] if row["protection"] not in ("binary-fs", "injected")}
    assert set(index["outside"]) == named - {"/app/data"}
    assert {row["path"] for row in planned.before["paths"]} - set(index["entries"]) == others - {"/app/data"}


def test_measure_inspect_and_apply_say_the_same(planned: Planned) -> None:
    value = planned.measurement
    measured = must(planned.world.sconectl("measure", planned.image))
    assert measured.out == f"{value}\n"
    shown = json.loads(must(planned.world.sconectl("inspect", planned.image, "--layers", "--output", "json")).out)
    assert shown["measurement"] == value
    assert shown["simulation"] is True
    assert shown["protected"]["encrypted"] == ["/app/data"]
    assert shown["protected"]["unprotected"] == ["/srv", "/var/cache"]
    assert shown["signer"] is not None
    assert (shown["variables"]["local"], shown["secrets"]) == (["GREETING"], ["key"])
    base = [layer.removeprefix("sha256:") for layer in inspected(planned.world.base_image)["RootFS"]["Layers"]]
    assert [layer["digest"] for layer in shown["layers"] if layer["origin"] == "base"] == base
    assert "hunter" not in json.dumps(shown)
    text = must(planned.world.sconectl("inspect", planned.image)).out
    assert value in text
    assert "SIMULATION" in text


def test_an_archive_is_measured_without_an_engine(planned: Planned, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    must(docker("save", "-o", archive, planned.image))
    nowhere = "unix:///nonexistent"
    measured = must(planned.world.sconectl("measure", archive, DOCKER_HOST=nowhere))
    assert measured.out == f"{planned.measurement}\n"
    assert planned.world.sconectl("measure", planned.image, DOCKER_HOST=nowhere).code == 5


def test_a_changed_image_is_no_longer_what_it_says(planned: Planned, tmp_path: Path) -> None:
    tag = planned.world.image("tampered")
    changes = {
        "sed -i s/hello/hullo/ /app/main.py": "changed: /app/main.py",
        "echo >> /scone/runtime/__main__.pyc": "the launcher itself",
        "touch '/usr/lib/new file'": "added: /usr/lib/new file",
        "rm /etc/issue": "missing: /etc/issue",
    }
    step = json.dumps(["/bin/sh", "-c", " && ".join(changes)])
    (tmp_path / "Dockerfile").write_text(f"FROM {planned.image}\nUSER 0\nENTRYPOINT []\nRUN {step}\n")
    must(docker("build", "-q", "-t", tag, tmp_path))
    done = planned.world.sconectl("measure", tag)
    assert done.code == 7, done.text
    assert done.out == ""
    assert all(named in done.err for named in changes.values()), done.err
    assert planned.measurement in done.err


def test_images_that_are_not_confidential(planned: Planned) -> None:
    for command in ("inspect", "measure"):
        done = planned.world.sconectl(command, planned.world.base_image)
        assert done.code == 4, done.text
        assert "no confidential image of sconectl" in done.err
