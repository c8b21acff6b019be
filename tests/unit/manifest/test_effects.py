"""Every property of both published schemas, one by one, changes something: image, session, chart, or what is said."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.builders import SIM, TOOLCHAINS, facts
from fakes.workspace import FakeKeys, MemoryWorkspace

from sconectl.errors import SconectlError
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.mesh.availability import remarks
from sconectl.plan.mesh.mesh import GivenFile, MeshInput, MeshPlan, ServiceFiles, plan_mesh
from sconectl.plan.service.service import ServicePlan, image_facts
from sconectl.usecases.apply_mesh import MeshWorld, apply_mesh
from sconectl.usecases.check_service import check_service

from .forms import MESH, SERVICE, read, with_field
from .test_published_schemas import FIELDS

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
CHART = {"Chart.yaml": b"apiVersion: v2\nname: x\nversion: 0.1.0\n"}
FILES = ServiceFiles(
    policy=GivenFile("session.yaml", b"services: [{name: python3, pwd: /other}]"),
    secrets=GivenFile("secrets.yaml", b"- {name: more, kind: ascii}"),
    variables=GivenFile("envs.yaml", b"- {name: A}\n- {name: MORE, value: x}"),
    chart=CHART,
)

# Properties whose effect is not in the plan, and where it is; the source named there has to use them.
ELSEWHERE = {
    "genservice Build.binaries": ("image/program/program_check.py", "binaries"),
    "genservice Build.copy": ("apply/native.py", "build.copied"),
    "genservice Build.requirements": ("apply/native.py", "build.requirements"),
    "genservice Build.fs_dirs": ("plan/service/protection.py", "fs_dirs"),
    "genservice Build.fs_files": ("plan/service/protection.py", "fs_files"),
    "mesh Cas.tolerance": ("usecases/check_mesh.py", "cas.tolerance"),
    "genservice Manifest.apiVersion": ("manifest/model/fields.py", "ApiVersion"),
    "mesh Manifest.apiVersion": ("manifest/model/fields.py", "ApiVersion"),
    "genservice Manifest.kind": ("manifest/reading/reader.py", '"genservice"'),
    "mesh Manifest.kind": ("manifest/reading/reader.py", '"mesh"'),
}

_SECTIONS = [{"service": name, "env": [{"name": "A", "value": name}]} for name in ("global", "helm")]
# What is written where the other table writes what holds anyhow.
OTHERWISE: dict[str, tuple[Any, ...]] = {
    "genservice Signature.sign": (("build", "signature", "sign"), "true", True),
    "mesh Manifest.extra_policies": (("extra_policies",), [{"name": "p.yaml"}], None),
    "mesh ServiceKeyValue.service": (("env", 0, "service"), "web", "web", ("env",), _SECTIONS),
}


def effect_of_service(manifest: Manifest) -> Any:
    """Return everything that follows from a service manifest by itself and in a mesh, but for the model."""
    check = check_service(manifest, mode="production", bases={}, toolchain=SIM)
    said = [f.code + f.path for f in check.findings if f.severity == "error"]
    said += [f.code + f.path for f in [*check.limits, *remarks(manifest.model, manifest.document)]]
    if any(code.startswith("SC1") for code in said):
        return said
    plan = check.planned()
    decided = [field.name for field in dataclasses.fields(plan)]
    decided += [name for name, value in vars(ServicePlan).items() if isinstance(value, property)]
    made = {name: getattr(plan, name) for name in decided if name not in ("model", "build")}
    image = image_facts(
        plan, measurement="ab" * 32, root="cd" * 32, outside=plan.outside, fspf=None, image_environment={}, salt=""
    )
    given = with_field(MESH, ("env", 0, "env"), [{"name": name, "value": "v"} for name in ("A", "B", "api_host")])
    return made, said, image.to_json(), effect_of_mesh(read(given), image)


def effect_of_mesh(manifest: Manifest, image: ImageFacts) -> Any:
    """Return the files that follow from a mesh, and what is said about it."""
    mesh = manifest.model
    assert isinstance(mesh, Mesh)
    said = [(f.severity, f.code, f.path) for f in remarks(mesh, manifest.document)]
    try:
        plan = plan_mesh(_input(mesh, manifest, image))
        return said, plan.limits, plan.repo, plan.mode, _files(plan)
    except SconectlError as error:
        return said, [(f.code, f.path) for f in error.findings]


def _input(mesh: Mesh, manifest: Manifest, image: ImageFacts) -> MeshInput:
    named: dict[str, ServiceFiles] = {}
    for service in mesh.services:
        named[service.name] = ServiceFiles(
            FILES.policy if service.image_policy else None,
            FILES.secrets if service.image_secrets else None,
            FILES.variables if service.env else None,
            FILES.chart if service.helm_chart else None,
        )
    known = {service.name: image for service in mesh.services}
    access = "access_policy: {read: [CREATOR], update: [CREATOR]}"
    extra = tuple(
        (number, GivenFile(entry.name, f"name: {entry.name.replace('/', '.')}\nversion: 0.3.12\n{access}\n".encode()))
        for number, entry in enumerate(mesh.extra_policies)
        if entry.mode != "debug"
    )
    return MeshInput(mesh, manifest.document, known, {}, "demo", "0", files=named, extra=extra, toolchains=TOOLCHAINS)


def _files(plan: MeshPlan) -> Mapping[str, bytes]:
    workspace = MemoryWorkspace()
    apply_mesh(plan, MeshWorld(None, None, FakeKeys(), workspace, lambda _text: None, signing_key=lambda: KEY))
    return workspace.content


@pytest.mark.parametrize(
    ("name", "base", "entry"), [pytest.param(name, base, entry, id=name) for name, base, entry in FIELDS]
)
def test_a_property_has_an_effect(name: str, base: dict[str, Any], entry: tuple[Any, ...]) -> None:
    path, written, _, *surroundings = OTHERWISE.get(name, entry)
    before = with_field(base, *surroundings) if surroundings else base
    after = with_field(before, path, written)
    if base is SERVICE:
        same = effect_of_service(read(before)) == effect_of_service(read(after))
    else:
        role = {"name": "ROLE", "value": '{{cas.image.cas_url | default(value="none")}}'}
        values = [{"name": name, "value": "d"} for name in ("A", "database_user")]
        image = facts("web", environment={"global": values, "local": [role]})
        same = effect_of_mesh(read(before), image) == effect_of_mesh(read(after), image)
    assert same is (name in ELSEWHERE)


def test_what_has_its_effect_elsewhere_has_one_there() -> None:
    package = Path(__file__).parents[3] / "sconectl"
    for name, (files, word) in ELSEWHERE.items():
        for file in files.split():
            assert word in (package / file).read_text(), (name, file)
