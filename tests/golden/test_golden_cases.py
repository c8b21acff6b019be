"""Manifests and facts in, target/policies and target/helm out: compared byte for byte."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes.workspace import FakeKeys, MemoryWorkspace

from sconectl.apply.image_secrets import read_image_secrets
from sconectl.apply.image_sessions import salt_of
from sconectl.apply.mesh import MeshWorld, apply_mesh
from sconectl.errors import SconectlError
from sconectl.manifest.genservice import GenService
from sconectl.manifest.mesh import Mesh
from sconectl.manifest.reader import read_manifest
from sconectl.plan.availability import require_available
from sconectl.plan.environment import service_values
from sconectl.plan.facts import Fspf, ImageFacts
from sconectl.plan.mesh import MeshInput, builtin_names, plan_mesh
from sconectl.plan.naming import without_tag
from sconectl.plan.service import image_facts, plan_service

CASES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if path.is_dir())
KEPT_AS = ".expected"  # at the end of names that only Helm asks for, like _helpers.tpl
VERSION = "0.0.0"  # the chart names the version that wrote it; releases must not change every case


def image(file: Path, learnt: dict[str, Any]) -> ImageFacts:
    manifest = read_manifest(file.read_bytes(), file.name, learnt["variables"])
    assert isinstance(manifest.model, GenService)
    plan = plan_service(manifest.model, manifest.document, bases={}, mode="production")
    seen = learnt["images"][plan.name]
    facts = image_facts(
        plan,
        measurement=seen["measurement"],
        root=seen["root"],
        outside=plan.outside,
        fspf=Fspf(path="/scone/image/fs.fspf", tag=seen["fspf_tag"]) if plan.sealed else None,
        image_environment=seen["environment"],
        salt="",
    )
    return facts.model_copy(update={"salt": salt_of(facts, FakeKeys().image_key(without_tag(plan.image)))})


def compile_case(case: Path) -> dict[str, bytes]:
    """Return the files of target/ that a case gives."""
    learnt = json.loads((case / "facts.json").read_text())
    images = {facts.image: facts for facts in (image(file, learnt) for file in sorted(case.glob("*.service.yaml")))}
    manifest = read_manifest((case / "mesh.yaml").read_bytes(), "mesh.yaml", learnt["variables"])
    mesh = manifest.model
    assert isinstance(mesh, Mesh)
    require_available(mesh, manifest.document)
    facts = {service.name: images[service.image] for service in mesh.services}
    replaced = {}
    for service in mesh.services:
        if service.image_secrets:
            others = [known for name, known in facts.items() if name != service.name]
            names = service_values(mesh, service.name, facts[service.name], others)
            names |= builtin_names(mesh, learnt["release"], service, facts[service.name])
            raw = (case / service.image_secrets).read_bytes()
            replaced[service.name] = read_image_secrets(raw, service.image_secrets, names.get)
    plan = plan_mesh(MeshInput(mesh, manifest.document, facts, replaced, learnt["release"], VERSION))
    workspace = MemoryWorkspace()
    apply_mesh(plan, MeshWorld(None, None, FakeKeys(), workspace, lambda _text: None))
    return workspace.content


def result(case: Path) -> dict[str, bytes]:
    try:
        return compile_case(case)
    except SconectlError as error:
        lines = [*map(str, error.findings), f"error: {error.message}", f"exit code {error.exit_code}", ""]
        return {"findings.txt": "\n".join(lines).encode()}


def files_below(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix().removesuffix(KEPT_AS): path.read_bytes() for path in files}


def kept_as(path: str) -> str:
    """Return the name of an expected file in this folder."""
    return path + KEPT_AS if path.rpartition("/")[2].startswith("_") else path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Path, request: pytest.FixtureRequest) -> None:
    found, expected = result(case), case / "expected"
    if request.config.getoption("--update-golden", default=False):
        shutil.rmtree(expected, ignore_errors=True)
        for path, content in found.items():
            file = expected / kept_as(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    wanted = files_below(expected)
    assert sorted(found) == sorted(wanted)
    for path, content in wanted.items():
        assert found[path].decode() == content.decode(), path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden_values_stay_out_of_the_chart_and_of_messages(case: Path) -> None:
    for path, content in files_below(case / "expected").items():
        if not path.startswith("policies/"):
            assert b"hunter" not in content, path


def test_there_are_cases_of_both_kinds() -> None:
    refused = [case.name for case in CASES if (case / "expected/findings.txt").is_file()]
    assert len(refused) >= 2
    assert len(CASES) - len(refused) >= 2
