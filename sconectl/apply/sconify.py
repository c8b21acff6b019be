"""Converts an existing image in one call: the same plans as a service manifest and a mesh of one service.

In: the request as the command line gives it. Out: the image, and its session in the CAS.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

import sconectl
from sconectl.apply.genservice import ServiceWorld, apply_service
from sconectl.apply.image_sessions import share_key
from sconectl.apply.mesh import check_sessions
from sconectl.apply.sessions import put_session
from sconectl.artefacts.session import policy_files
from sconectl.errors import CasRefused, PlanImpossible, UsageError
from sconectl.findings import Position
from sconectl.manifest.faults import findings_of
from sconectl.manifest.genservice import GenService
from sconectl.manifest.mesh import Mesh
from sconectl.plan.mesh import MeshInput, plan_mesh
from sconectl.plan.service import plan_service
from sconectl.ports import ImageInfo
from sconectl.yaml_tree import Document, parse

COMMAND_LINE = Document("command line", {}, {(): Position("command line", 1, 1)})
"""Stands for the positions of a manifest that nobody wrote."""


@dataclass(frozen=True)
class SconifyRequest:
    """What to convert, and how. `secrets` and `injected_files` are YAML sections as text, or empty."""

    source: str
    to: str
    name: str
    namespace: str
    service_name: str
    cas: str
    command: str = ""
    binaries: Sequence[str] = ()
    dirs: Sequence[str] = ()
    plains: Sequence[str] = ()
    plain_files: Sequence[str] = ()
    host_paths: Sequence[str] = ()
    environment: Mapping[str, str] | None = None
    secrets: str = ""
    injected_files: str = ""


def service_manifest(request: SconifyRequest, native: ImageInfo) -> GenService:
    """Return the service manifest that the request stands for. Raises `PlanImpossible` and `InvalidInput`."""
    words = [*(native.config.get("Entrypoint") or ()), *(native.config.get("Cmd") or ())]
    command = request.command or shlex.join(words)
    if not command:
        raise PlanImpossible(f"{request.source} has no entry point and no command", hint="give one with --command")
    local = [{"name": name, "value": value} for name, value in (request.environment or {}).items()]
    value: dict[str, Any] = {
        "apiVersion": "scone/5.8",
        "kind": "genservice",
        "build": {
            "name": request.name,
            "kind": "sconify_image",
            "from": request.source,
            "to": request.to,
            "command": command,
            "pwd": native.config.get("WorkingDir") or "/",
            "binaries": list(request.binaries),
            "dirs": list(request.dirs),
            "plains": list(request.plains),
            "plain_files": list(request.plain_files),
            "host_paths": list(request.host_paths),
        },
        "environment": {"local": local},
        "secrets": {"global": _section(request.secrets, "secrets")},
        "injection_files": _section(request.injected_files, "injection_files"),
    }
    return _validated(GenService, value)


def mesh_manifest(request: SconifyRequest, image: str) -> Mesh:
    """Return the mesh of one service that the request stands for."""
    value = {
        "apiVersion": "scone/5.8",
        "kind": "mesh",
        "cas": [{"name": "cas", "alias": ["image"], "cas_url": request.cas}],
        "policy": {"namespace": request.namespace},
        "env": [],
        "services": [{"name": request.name, "image": image}],
    }
    return _validated(Mesh, value)


def convert(request: SconifyRequest, world: ServiceWorld, *, create_namespace: bool) -> None:
    """Make the confidential image and put its session into the CAS of `world`, if there is one.

    Raises `InvalidInput`, `PlanImpossible`, `BuildFailed` and `CasError`.
    """
    if world.store is not None and not create_namespace and world.store.read(request.namespace) is None:
        message = f"the namespace {request.namespace} does not exist"
        raise CasRefused(message, status=404, hint="add --create-namespace")
    native = world.engine.inspect(request.source) or world.engine.pull(request.source, world.detail)
    plan = plan_service(service_manifest(request, native), COMMAND_LINE, bases={}, mode="production")
    facts = apply_service(plan, (), None, world).facts
    mesh = mesh_manifest(request, facts.image)
    names = {request.name: facts}
    compiled = plan_mesh(MeshInput(mesh, COMMAND_LINE, names, {}, "", sconectl.__version__, request.service_name))
    check_sessions(compiled)
    if world.store is not None:
        namespace, session = compiled.sessions
        if create_namespace:
            put_session(world.store, namespace.document)
        for share in compiled.shares:
            share_key(world.store, share, world.keys)
        put_session(world.store, session.document)
    world.workspace.write({f"policies/{path}": text for path, text in policy_files(compiled).items()}, private=True)


def default_name(image: str) -> str:
    """Return the name of a session for an image: its reference without slashes, as a DNS label."""
    return re.sub(r"[^a-z0-9]+", "-", image.lower()).strip("-")[:63].strip("-") or "image"


_Model = TypeVar("_Model", GenService, Mesh)


def _validated(model: type[_Model], value: dict[str, Any]) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        findings = findings_of(error, COMMAND_LINE, model)
        said = "; ".join(f"{finding.path}: {finding.message}" for finding in findings)
        raise UsageError(f"the options do not describe an image to convert: {said}") from None


def _section(text: str, name: str) -> list[Any]:
    """Return the entries of a YAML section given as text, with or without its own key."""
    if not text.strip():
        return []
    value = parse(text, name).value
    if isinstance(value, dict) and set(value) == {name}:
        value = value[name]
    if not isinstance(value, list):
        raise UsageError(f"the section {name} is not a list", hint=f"write `{name}:` and its entries below")
    return value
