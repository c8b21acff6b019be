"""Converts an existing image in one call: the same plans as a service manifest and a mesh of one service.

In: the request as the command line gives it. Out: the image, and its session in the CAS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

import sconectl
from sconectl.apply.image_sessions import share_image
from sconectl.apply.native import NativeSources
from sconectl.apply.session_template import SessionTemplate, injected_by
from sconectl.apply.sessions import put_session
from sconectl.apply.signing import load_signing_key
from sconectl.artefacts.session import policy_files
from sconectl.errors import CasRefused, InvalidInput, PlanImpossible, UsageError
from sconectl.image.settings.native_places import image_pwd
from sconectl.manifest.model.faults import findings_of
from sconectl.manifest.model.fields import LITERAL_PATHS, CommandLine, path_fault
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.model.program_input import Secrets
from sconectl.manifest.model.secrets import Secret
from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.facts.toolchain_traits import ToolchainTraits
from sconectl.plan.mesh.availability import refuse
from sconectl.plan.mesh.chart_plan import ChartPlan
from sconectl.plan.mesh.mesh import MeshInput, MeshPlan, SessionPlan, plan_mesh
from sconectl.plan.service.service import ServicePlan
from sconectl.ports import ImageInfo
from sconectl.text.findings import Finding, Position
from sconectl.text.yaml_tree import Document, parse
from sconectl.usecases.apply_mesh import check_sessions
from sconectl.usecases.apply_service import ServiceWorld, apply_service
from sconectl.usecases.check_service import check_service

COMMAND_LINE = Document("command line", {}, {(): Position("command line", 1, 1)})
"""Stands for the positions of a manifest that nobody wrote."""

WEAK_PLATFORM = "hyperthreading, insecure-igpu, outdated-tcb, software-hardening-needed, insecure-configuration"
"""What --allow-tcb-vulnerabilities tolerates, besides every advisory."""


_OPTIONS = {
    "binaries": "--binary", "command": "--command", "dirs": "--dir", "from": "--from", "fs_dirs": "--fs-dir",
    "fs_files": "--fs-file", "host_paths": "--host-path", "plain_files": "--plain-file", "plains": "--plain",
    "to": "--to", "volumes": "--volume",
}  # fmt: skip
"""Where the fields of `build` come from."""
_FIELD = re.compile(r"\bbuild\.([a-z_]+)\b(?:\[([0-9]+)\])?")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./+:,-]+\Z")


@dataclass(frozen=True)
class Attested:
    """What the session demands of enclaves. Without `anything`, everybody may use it."""

    anything: bool = True
    weak_platform: bool = False
    debug_mode: bool = False
    azure: str = ""


@dataclass(frozen=True)
class SconifyRequest:
    """What to convert, and how. `secrets` and `injected_files` are YAML sections as text, or empty.

    `protection` are the lists of paths of a service manifest's `build`, by name.
    """

    source: str
    to: str
    name: str
    namespace: str
    service_name: str
    cas: str
    toolchain: ToolchainTraits
    command: str = ""
    protection: Mapping[str, Sequence[str]] = field(default_factory=dict)
    volumes: Sequence[Mapping[str, Any]] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    copy_environment: bool = True
    secrets: str = ""
    injected_files: str = ""
    template: SessionTemplate | None = None
    signing_key: str = ""
    attested: Attested = Attested()
    create_namespace: bool = False
    update: bool = True

    @property
    def session(self) -> str:
        """The full name of the session."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Converted:
    """The result of a request: the facts of the image, and the session as it was or would be uploaded."""

    facts: ImageFacts
    session: Mapping[str, Any]
    plan: MeshPlan


def _own_command(source: str, native: ImageInfo) -> CommandLine:
    """Return the command line of the native image. Raises `PlanImpossible`."""
    words = [*(native.config.get("Entrypoint") or ()), *(native.config.get("Cmd") or ())]
    if not words or not words[0]:
        raise PlanImpossible(f"{source} has no entry point and no command", hint="give one with --command")
    return CommandLine.of(words)


def planned(request: SconifyRequest, native: ImageInfo) -> ServicePlan:
    """Return the plan of the image. The command of the native image is in it as it is: its text is no template."""
    manifest = service_manifest(request, native)
    check = check_service(
        Manifest(manifest, COMMAND_LINE, ()), mode="production", bases={}, toolchain=request.toolchain
    )
    refuse(check.limits)
    try:
        plan = check.planned()
    except InvalidInput as error:
        raise InvalidInput(_as_options(error.findings, manifest.build.model_dump())) from None
    if request.command:
        return plan
    return replace(plan, command=_own_command(request.source, native), literal_command=True)


def service_manifest(request: SconifyRequest, native: ImageInfo) -> GenService:
    """Return the service manifest that the request stands for. Raises `PlanImpossible` and `InvalidInput`."""
    local = [{"name": name, "value": value} for name, value in request.environment.items()]
    if request.template is None:
        injected = _section(request.injected_files, "injection_files")
    else:
        injected = injected_by(request.template.before_build(request.namespace, request.name, request.toolchain))
    build: dict[str, Any] = {
        "name": request.name,
        "kind": "sconify_image",
        "from": request.source,
        "to": request.to,
        "command": request.command or _stand_in(_own_command(request.source, native)),
        "pwd": _pwd(request.source, native),
        "volumes": [dict(volume) for volume in request.volumes],
        **{name: list(paths) for name, paths in request.protection.items()},
    }
    if request.signing_key:
        build["signature"] = {"sign": True, "key": request.signing_key}
    value = {
        "apiVersion": "scone/5.8",
        "kind": "genservice",
        "build": build,
        "environment": {"local": local},
        "secrets": {"global": [] if request.template else _section(request.secrets, "secrets")},
        "injection_files": injected,
    }
    return _validated(GenService, value)


def _pwd(reference: str, native: ImageInfo) -> str:
    path = image_pwd(native.config)
    fault, _ = path_fault(path)
    if fault:
        raise PlanImpossible(
            f"the working directory {path!a} of {reference} cannot stand in a policy: {fault}",
            hint="make the image again with another WORKDIR",
        )
    return path


def _stand_in(command: CommandLine) -> str:
    """Return a command line that a manifest may show for the image's own: its program, or the word `program`."""
    program = command.words[0]
    return program if _PLAIN_WORD.match(program) else "program"


def mesh_manifest(request: SconifyRequest, image: str) -> Mesh:
    """Return the mesh of one service that the request stands for."""
    attested = request.attested
    tolerated = [WEAK_PLATFORM] * attested.weak_platform + ["debug-mode"] * attested.debug_mode
    value = {
        "apiVersion": "scone/5.8",
        "kind": "mesh",
        "cas": [{"name": "cas", "alias": ["image"], "cas_url": request.cas}],
        "policy": {
            "namespace": request.namespace,
            "tolerate": ", ".join(tolerated),
            "ignore_advisories": "*" if attested.weak_platform else "",
        },
        "env": [],
        "services": [{"name": "service", "image": image}],
    }
    mesh = _validated(Mesh, value)
    [service] = mesh.services
    # Sessions may have names that no Kubernetes object has; those of the chart are checked where it is made.
    return mesh.model_copy(update={"services": (service.model_copy(update={"name": request.name}),)})


def convert(request: SconifyRequest, world: ServiceWorld) -> Converted:
    """Make the confidential image and put its session into the CAS of `world`, if there is one.

    Raises `InvalidInput`, `PlanImpossible`, `BuildFailed` and `CasError`.
    """
    _require_place(request, world)
    native = native_image(request.source, world)
    plan = planned(request, native)
    key = load_signing_key(Path(plan.signing_key)) if plan.signing_key else b""
    made = apply_service(plan, NativeSources(signing_key=key), world, native=native)
    facts = made.facts
    compiled = _compiled(request, facts)
    if made.digest:
        digests = {(facts.image, facts.measurement): made.digest}
        compiled = replace(compiled, chart=compiled.chart.by_digest(digests))
    check_sessions(compiled)
    if world.store is not None:
        namespace, session = compiled.sessions
        if request.create_namespace:
            done = put_session(world.store, namespace.document)
            if done.outcome == "unchanged":
                world.remark(f"the namespace {request.namespace} exists already")
        for share in compiled.shares:
            share_image(world.store, share, world.keys)
        put_session(world.store, session.document)
    world.workspace.write({f"policies/{path}": text for path, text in policy_files(compiled).items()}, private=True)
    return Converted(facts, compiled.sessions[1].document, compiled)


def native_image(reference: str, world: ServiceWorld) -> ImageInfo:
    """Return the image to convert, from the engine or its registry. Raises `BuildFailed`."""
    return world.engine.inspect(reference) or world.engine.pull(reference, world.detail)


def default_name(image: str) -> str:
    """Return the name of a session for an image: its reference without slashes, as a DNS label."""
    return re.sub(r"[^a-z0-9]+", "-", image.lower()).strip("-")[:63].strip("-") or "image"


def _require_place(request: SconifyRequest, world: ServiceWorld) -> None:
    """Look before anything is built whether the session may be written."""
    if request.attested.azure:
        raise PlanImpossible(
            "attestation by Azure (mode maa) is not available in this version", hint="leave out --azure-attestation"
        )
    if world.store is None:
        return
    if not request.create_namespace and world.store.read(request.namespace) is None:
        message = f"the namespace {request.namespace} does not exist"
        raise CasRefused(message, status=404, hint="add --create-namespace")
    if not request.update and world.store.read(request.session) is not None:
        message = f"the session {request.session} exists, and is not to be updated"
        raise CasRefused(
            message, status=409, hint="choose another --name, or leave out --disable-update-session-if-exists"
        )


def _compiled(request: SconifyRequest, facts: ImageFacts) -> MeshPlan:
    """Return the sessions of the request, with what a template or an option changes in the generated one."""
    variables = facts.environment
    own = variables if request.copy_environment else variables.model_copy(update={"image": ()})
    secrets = facts.secrets if request.template is None else _secrets_of(request, request.template)
    names = {request.name: facts.model_copy(update={"environment": own, "secrets": secrets})}
    mesh = mesh_manifest(request, facts.image)
    known = {request.toolchain.name: request.toolchain}
    compiled = plan_mesh(
        MeshInput(mesh, COMMAND_LINE, names, {}, "", sconectl.__version__, request.service_name, toolchains=known)
    )
    namespace, session = compiled.sessions
    document = dict(session.document)
    if request.template is not None:
        document = request.template.after_build(document, request.toolchain)
    if not request.attested.anything:
        document["security"] = {**(document.get("security") or {}), "attestation": {"mode": "none"}}
        document["services"] = [
            {key: value for key, value in service.items() if key not in ("attestation", "mrenclaves")}
            for service in document["services"]
        ]
    shares = tuple(replace(share, facts=facts) for share in compiled.shares)  # of the image, as it was built
    session = replace(session, document=document)
    chart = _marked(compiled.chart, session, facts.salt)
    return replace(compiled, sessions=(namespace, session), shares=shares, chart=chart)


def _marked(chart: ChartPlan, session: SessionPlan, salt: str) -> ChartPlan:
    """Return the chart with the mark of what the final session gives to the pods."""
    from sconectl.plan.mesh.configuration_mark import Configurations, as_the_cas_reads

    [service] = chart.services
    program = service.config_id.rpartition("/")[2]
    mark = Configurations([as_the_cas_reads(session.document)]).mark(session.name, program, salt)
    return replace(chart, services=(replace(service, configuration=mark),))


def _secrets_of(request: SconifyRequest, template: SessionTemplate) -> Secrets:
    """Return the secrets that a template defines, so that it is known what the program may use."""
    entries = template.before_build(request.namespace, request.name, request.toolchain).get("secrets") or ()
    known = ({key: entry[key] for key in ("name", "kind") if key in entry} for entry in entries)
    return Secrets.model_construct(global_=tuple(Secret.model_construct(**entry) for entry in known))


_Model = TypeVar("_Model", GenService, Mesh)


def _validated(model: type[_Model], value: dict[str, Any]) -> _Model:
    try:
        return model.model_validate(value, context={LITERAL_PATHS: True})
    except ValidationError as error:
        document = Document("command line", value, dict(_places(value)))
        findings = _as_options(findings_of(error, document, model), value.get("build") or {})
        said = "; ".join(f"{finding.path}: {finding.message}" for finding in findings)
        raise UsageError(f"the options do not describe an image to convert: {said}") from None


def _as_options(findings: Iterable[Finding], build: Mapping[str, Any]) -> list[Finding]:
    """Return findings in the words of the command line: options for fields, with the path that was given."""

    def option(match: re.Match[str]) -> str:
        name = _OPTIONS.get(match[1], match[0])
        given = build[match[1]][int(match[2])] if match[2] else ""
        return f"{name} {given!a}" if given and isinstance(given, str) else name

    def said(text: str) -> str:
        return _FIELD.sub(option, text)

    return [
        replace(found, path=said(found.path), message=said(found.message), hint=said(found.hint)) for found in findings
    ]


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Position]]:
    """Yield every path in `value`, so that faults can name it."""
    yield path, COMMAND_LINE.positions[()]
    for step, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(item, (*path, step))


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
