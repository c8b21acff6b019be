"""The mesh half of `apply` and `plan`: from a manifest and options to what is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import sconectl
from sconectl.cli.apply_result import files_line, session_lines
from sconectl.cli.console import Console
from sconectl.cli.manifest_files import directory_of
from sconectl.cli.wiring import Wiring
from sconectl.errors import InvalidInput, PlanImpossible, UsageError
from sconectl.findings import Finding
from sconectl.manifest.reader import Manifest
from sconectl.yaml_tree import Document, show_path

if TYPE_CHECKING:
    from sconectl.cli.apply_options import ApplyOptions
    from sconectl.manifest.fields import Secret
    from sconectl.manifest.mesh import Cas, Mesh
    from sconectl.plan.facts import ImageFacts
    from sconectl.ports import SessionStore


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
    lines = [*session_lines(done.sessions, main.cas_url), files_line(done.files_changed, options.target)]
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
