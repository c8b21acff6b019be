"""Short ways to make the values that tests begin with; each goes through the real reader and the real plan."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from fakes.workspace import FakeKeys
from sconectl.apply.image_sessions import salt_of
from sconectl.cli.wiring import toolchain_traits
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.model.secrets import Secret
from sconectl.manifest.reading.reader import Manifest, read_manifest
from sconectl.plan.facts.image_facts import BuildRecord, Fspf, ImageFacts
from sconectl.plan.facts.naming import without_tag
from sconectl.plan.mesh.mesh import MeshInput, MeshPlan, plan_mesh
from sconectl.plan.service.service import ServicePlan, image_facts
from sconectl.text.yaml_text import dump
from sconectl.toolchains.sim.toolchain import SimToolchain
from sconectl.usecases.check_service import check_service

MEASUREMENT = "ab" * 32
TOOLCHAINS = toolchain_traits()
SIM = SimToolchain.traits


def service_text(name: str = "web", **changes: Any) -> str:
    """Return a service manifest; keyword arguments replace fields of `build`, or whole sections."""
    build: dict[str, Any] = {
        "name": name,
        "kind": "python",
        "to": f"registry.example.org/{name}:1",
        "pwd": "/app",
        "command": "python3 main.py",
    }
    document: dict[str, Any] = {"apiVersion": "scone/5.8", "kind": "genservice", "build": build, "environment": {}}
    for field, value in changes.items():
        section = document if field in ("environment", "secrets", "injection_files") else build
        section[field.rstrip("_")] = value
    return dump(document)


def service_plan(text: str, *, mode: str = "production") -> ServicePlan:
    manifest = read_manifest(text, "service.yaml", {})
    assert isinstance(manifest.model, GenService)
    return check_service(manifest, mode=mode, bases={"python": "base:1"}, toolchain=SIM).planned()


def facts(name: str = "web", *, machine: str = "a", **changes: Any) -> ImageFacts:
    """Return the facts of the image that a service manifest with these changes gives on `machine`."""
    plan = service_plan(service_text(name, **changes))
    found = image_facts(
        plan,
        measurement=MEASUREMENT,
        root="cd" * 32,
        outside=plan.outside,
        fspf=Fspf(path="/scone/image/fs.fspf", tag="0e" * 16) if plan.sealed else None,
        image_environment={"PATH": "/usr/bin"},
        salt="",
    )
    key = FakeKeys(machine).image_key(without_tag(plan.image))
    return found.model_copy(update={"salt": salt_of(found, key)})


def record(given: ImageFacts, image_id: str = "sha256:1") -> BuildRecord:
    return BuildRecord(image_id=image_id, inputs="inputs", facts=given)


def mesh_text(services: Sequence[str] = ("web",), *, env: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """Return a mesh of these services; `env` gives the sections in order."""
    return dump(
        {
            "apiVersion": "scone/5.8",
            "kind": "mesh",
            "cas": [{"name": "cas", "cas_url": "cas.example.org"}],
            "policy": {"namespace": "shop"},
            "env": [
                {"service": name, "env": [{"name": key, "value": value} for key, value in values.items()]}
                for name, values in (env or {}).items()
            ],
            "services": [{"name": name, "image": f"registry.example.org/{name}:1"} for name in services],
        }
    )


def read_mesh(text: str) -> tuple[Mesh, Manifest]:
    manifest = read_manifest(textwrap.dedent(text), "mesh.yaml", {})
    assert isinstance(manifest.model, Mesh)
    return manifest.model, manifest


def compiled(
    *images: ImageFacts,
    env: Mapping[str, Mapping[str, str]] | None = None,
    release: str = "",
    replaced: Mapping[str, Sequence[Secret]] | None = None,
    text: str = "",
) -> MeshPlan:
    """Compile the mesh of these images; services are called like their images."""
    mesh, manifest = read_mesh(text or mesh_text([given.name for given in images], env=env))
    known = {given.name: given for given in images}
    return plan_mesh(MeshInput(mesh, manifest.document, known, replaced or {}, release, "0.0.0", toolchains=TOOLCHAINS))


def session(plan: MeshPlan, service: str) -> Mapping[str, Any]:
    """Return the session document of a service."""
    return next(entry.document for entry in plan.sessions if entry.file == service)


def environment(plan: MeshPlan, service: str) -> dict[str, str]:
    """Return the variables that a service gets."""
    values: dict[str, str] = session(plan, service)["services"][0]["environment"]
    return values
