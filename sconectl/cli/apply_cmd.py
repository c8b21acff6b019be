"""`sconectl apply`: a service manifest becomes an image, a mesh becomes sessions and a chart."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import sconectl
from sconectl.cli.config import ProjectConfig
from sconectl.cli.console import Console, note, result, show_findings, shown
from sconectl.cli.wiring import Wiring, build_environment, cache_directory, source_date_epoch
from sconectl.errors import InvalidInput, PlanImpossible, Refused, UsageError
from sconectl.findings import Finding
from sconectl.manifest.genservice import GenService
from sconectl.manifest.placeholders import chain_variables
from sconectl.manifest.reader import Manifest, read_manifest
from sconectl.plan.availability import remarks
from sconectl.yaml_tree import Document, show_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sconectl.apply.genservice import ServiceWorld
    from sconectl.apply.native import NativeSources
    from sconectl.apply.sessions import Uploaded
    from sconectl.manifest.fields import Secret
    from sconectl.manifest.mesh import Cas, Mesh
    from sconectl.plan.facts import ImageFacts
    from sconectl.plan.service import ServicePlan
    from sconectl.ports import SessionStore


@dataclass(frozen=True)
class ApplyOptions:
    """The options of `apply`, as given."""

    file: Path
    target: Path
    config: ProjectConfig
    variables: Mapping[str, str] = field(default_factory=dict)
    env_files: tuple[Path, ...] = ()
    dry_run: bool = False
    no_push: bool = False
    mode: str = "production"
    toolchain: str = "sim"
    release: str = ""
    namespace: str = ""
    facts: Path | None = None
    cas: str = ""
    cas_config: Path | None = None
    base_images: Mapping[str, str] = field(default_factory=dict)


def apply(options: ApplyOptions, console: Console) -> None:
    """Apply one manifest. Raises `SconectlError`."""
    check_toolchain(options.toolchain)
    manifest = read_given(options)
    show_findings([*manifest.warnings, *remarks(manifest.model, manifest.document)])
    note("warning: toolchain sim: everything works, but no hardware protects it (docs/simulation.md)")
    wiring = Wiring(target=options.target, cas_config=options.cas_config, notify=note)
    run = _apply_service if isinstance(manifest.model, GenService) else run_mesh
    with console.working():
        lines, remark = run(manifest, options, wiring, console)
    for line in lines:
        result(line)
    if remark:
        note(remark)


def check_toolchain(toolchain: str) -> None:
    """Refuse a toolchain that does not exist, or that SCONECTL_REQUIRE forbids."""
    if os.environ.get("SCONECTL_REQUIRE") == "hardware" and toolchain == "sim":
        raise Refused("SCONECTL_REQUIRE=hardware forbids the toolchain sim", hint="use a toolchain with hardware")
    if toolchain == "scone":
        raise PlanImpossible("the toolchain scone is not available in this version", hint="use --toolchain sim")
    if toolchain != "sim":
        raise UsageError(f"{toolchain} is not a toolchain", hint="known are sim and scone")


def read_given(options: ApplyOptions) -> Manifest:
    """Read the manifest that the options name, with its variables filled in. Raises `UsageError`, `InvalidInput`."""
    file = str(options.file)
    text = sys.stdin.buffer.read() if file == "-" else _bytes(options.file)
    sources = [options.variables, *(_env_file(path) for path in options.env_files)]
    if file.endswith(".template"):
        sources.append(dict(os.environ))
    return read_manifest(text, "<stdin>" if file == "-" else file, chain_variables(sources))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="give the manifest with -f FILE") from error


def _env_file(path: Path) -> dict[str, str]:
    values = {}
    for number, line in enumerate(_bytes(path).decode("utf-8", "replace").splitlines(), 1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, sign, value = text.partition("=")
        if not sign or not name.strip().isidentifier():
            raise UsageError(f"{path}:{number}: expected NAME=VALUE")
        value = value.strip()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        values[name.strip()] = value[1:-1] if quoted else value
    return values


def directory_of(options: ApplyOptions) -> Path:
    """Return the directory that paths in the manifest are relative to."""
    return Path.cwd() if str(options.file) == "-" else options.file.parent


def private_paths(options: ApplyOptions) -> tuple[Path, ...]:
    """Return the files and directories with values that belong to the service alone."""
    return (options.target, *(() if str(options.file) == "-" else (options.file,)), *options.env_files)


def read_service(manifest: Manifest, options: ApplyOptions) -> tuple[ServicePlan, NativeSources]:
    """Return the plan of a service, and what its directory contributes. Raises `InvalidInput`, `PlanImpossible`."""
    from sconectl.apply.native import collect_sources, complete_plan
    from sconectl.plan.service import plan_service

    model = manifest.model
    assert isinstance(model, GenService)  # noqa: S101 - narrows the type
    plan = plan_service(model, manifest.document, bases=_bases(options), mode=options.mode)
    sources = collect_sources(plan, directory_of(options), manifest.document, private_paths(options))
    return complete_plan(plan, sources), sources


def service_remarks(manifest: Manifest) -> list[Finding]:
    """Return the warnings about a service manifest that has no errors."""
    from sconectl.plan.protection import overlaps
    from sconectl.plan.secret_use import check_placeholders

    model = manifest.model
    assert isinstance(model, GenService)  # noqa: S101 - narrows the type
    return [*overlaps(model, manifest.document), *check_placeholders(model, manifest.document)]


def _bases(options: ApplyOptions) -> dict[str, str]:
    return {**options.config.base_images, **options.base_images}


def service_world(options: ApplyOptions, wiring: Wiring, console: Console, store: SessionStore | None) -> ServiceWorld:
    """Return the outside world of a service manifest."""
    from sconectl.apply.genservice import ServiceWorld
    from sconectl.plan.base_images import DEFAULT_BASES

    return ServiceWorld(
        engine=wiring.engine,
        registry=lambda: wiring.registry,
        keys=wiring.keys,
        workspace=wiring.workspace,
        store=store,
        environment=build_environment(options.config.ca_bundle),
        launcher_base=options.config.launcher_base or _bases(options).get("python") or DEFAULT_BASES["python"],
        cache=cache_directory(),
        push=not (options.no_push or options.dry_run),
        progress=console.step,
        detail=console.detail,
        remark=lambda text: note(f"note: {shown(text)}"),
        epoch=source_date_epoch(),
    )


def _apply_service(
    manifest: Manifest, options: ApplyOptions, wiring: Wiring, console: Console
) -> tuple[list[str], str]:
    """Return the lines for stdout and a remark for stderr."""
    from sconectl.apply.genservice import apply_service

    plan, sources = read_service(manifest, options)
    show_findings(service_remarks(manifest))
    store = None if options.dry_run else wiring.store(options.cas or options.config.image_cas or "local")
    done = apply_service(plan, sources, service_world(options, wiring, console, store))
    sessions = [done.session] if done.session else []
    lines = [
        f"image {plan.image}: {'built' if done.built else 'unchanged'}{', pushed' if done.pushed else ''}",
        f"measurement {done.facts.measurement}",
        *_session_lines(sessions, store.address if store else ""),
        _files_line(done.files_changed, options.target),
    ]
    return lines, ""


def run_mesh(manifest: Manifest, options: ApplyOptions, wiring: Wiring, console: Console) -> tuple[list[str], str]:
    """Return the lines for stdout and a remark for stderr."""
    from sconectl.apply.gather import FactSources, gather_facts, read_records
    from sconectl.apply.mesh import MeshWorld, apply_mesh
    from sconectl.manifest.mesh import Mesh
    from sconectl.plan.availability import require_available
    from sconectl.plan.mesh import MeshInput, image_cas, main_cas, plan_mesh

    mesh = manifest.model
    assert isinstance(mesh, Mesh)  # noqa: S101 - narrows the type
    if options.namespace:
        mesh = _in_namespace(mesh, options.namespace)
    require_available(mesh, manifest.document)
    _check_tolerance(mesh, manifest.document)
    main, for_images = main_cas(mesh), image_cas(mesh)
    images = options.target / "images"
    sources = FactSources(
        given=read_records(options.facts) if options.facts else (),
        built=read_records(images) if images.is_dir() else (),
        engine=lambda: wiring.engine,
        registry=lambda: wiring.registry,
        image_store=lambda: _store_of(for_images, wiring),
    )
    console.step("learning the facts of the images")
    facts = gather_facts(mesh, manifest.document, sources)
    replaced = _replaced_secrets(mesh, manifest.document, facts, options)
    plan = plan_mesh(MeshInput(mesh, manifest.document, facts, replaced, options.release, sconectl.__version__))
    upload = plan.upload and not options.dry_run
    world = MeshWorld(
        store=_store_of(main, wiring) if upload else None,
        image_store=_store_of(for_images, wiring) if upload and plan.shares else None,
        keys=wiring.keys,
        workspace=wiring.workspace,
        progress=console.step,
    )
    done = apply_mesh(plan, world)
    lines = [*_session_lines(done.sessions, main.cas_url), _files_line(done.files_changed, options.target)]
    if not upload:
        return lines, "nothing was uploaded to a CAS; the services cannot start before their sessions are there"
    return lines, f"install with: helm install {options.release or 'RELEASE'} {options.target / 'helm'}"


def _store_of(cas: Cas, wiring: Wiring) -> SessionStore:
    return wiring.store(cas.cas_url, cas.cas_key, cas.tolerance)


def _check_tolerance(mesh: Mesh, document: Document) -> None:
    """Raise `InvalidInput` for flags that nobody knows, also where no CAS is asked."""
    from sconectl.cas.tolerance import parse

    findings = []
    for number, cas in enumerate(mesh.cas):
        try:
            parse(cas.tolerance or "")
        except UsageError as error:
            path = ("cas", number, "tolerance")
            position = document.position(path)
            findings.append(Finding("error", "SC1007", position, show_path(path), error.message, error.hint))
    if findings:
        raise InvalidInput(findings)


def _in_namespace(mesh: Mesh, namespace: str) -> Mesh:
    from pydantic import ValidationError

    try:
        policy = type(mesh.policy).model_validate({**mesh.policy.model_dump(), "namespace": namespace})
    except ValidationError:
        hint = "letters, digits and _ - . ~, parts separated by /"
        raise UsageError("--policy-namespace is not a CAS namespace", hint=hint) from None
    return mesh.model_copy(update={"policy": policy})


def _replaced_secrets(
    mesh: Mesh, document: Document, facts: Mapping[str, ImageFacts], options: ApplyOptions
) -> dict[str, tuple[Secret, ...]]:
    from sconectl.apply.image_secrets import read_image_secrets
    from sconectl.plan.environment import service_values
    from sconectl.plan.mesh import builtin_names

    replaced = {}
    for number, service in enumerate(mesh.services):
        if service.image_secrets is not None:
            path = directory_of(options) / service.image_secrets
            try:
                text = path.read_bytes()
            except OSError as error:
                field = ("services", number, "image_secrets")
                hint = "the path is relative to the manifest's directory"
                fault = Finding(
                    "error", "SC1005", document.position(field), show_path(field), str(error.strerror), hint
                )
                raise PlanImpossible("a file that the manifest names cannot be used", findings=[fault]) from error
            builtin = builtin_names(mesh, options.release, service, facts[service.name])
            others = [known for name, known in facts.items() if name != service.name]
            names = {**service_values(mesh, service.name, facts[service.name], others), **builtin}
            replaced[service.name] = read_image_secrets(text, str(path), names.get)
    return replaced


def _session_lines(sessions: Iterable[Uploaded], address: str) -> list[str]:
    return [f"session {entry.name}: {entry.outcome} (CAS {address})" for entry in sessions]


def _files_line(changed: int, target: Path) -> str:
    return f"{target}: {f'{changed} files written' if changed else 'unchanged'}"
