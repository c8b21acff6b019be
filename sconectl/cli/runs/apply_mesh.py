"""The mesh half of `apply` and `plan`: from a manifest and options to what is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sconectl
from sconectl.cli.options.manifest_files import directory_of
from sconectl.cli.output.advice import advice_on_images, advice_on_secrets
from sconectl.cli.output.apply_result import files_line, session_lines
from sconectl.cli.output.console import Console, show_findings
from sconectl.cli.wiring import Wiring
from sconectl.errors import InvalidInput, PlanImpossible, UsageError
from sconectl.manifest.reading.reader import Manifest
from sconectl.text.findings import Finding, errors_of
from sconectl.text.yaml_tree import Document

if TYPE_CHECKING:
    from sconectl.cli.options.apply_options import ApplyOptions
    from sconectl.manifest.model.mesh import Cas, Mesh
    from sconectl.plan.facts.image_facts import BuildRecord, ImageFacts
    from sconectl.plan.mesh.mesh import MeshPlan
    from sconectl.ports import SessionStore

_NAMESPACE_HINT = "letters, digits and _ - . ~, parts separated by /"


def run_mesh(
    manifest: Manifest,
    options: ApplyOptions,
    wiring: Wiring,
    console: Console,
    *,
    rehearsed: bool = False,
    planned: Sequence[BuildRecord] = (),
) -> tuple[list[str], str]:
    """Return the lines for stdout and a remark for stderr.

    A `rehearsed` run is for `plan`: it refuses nothing, and `planned` are images that are still to be built.
    """
    from sconectl.apply.sources.service_files import read_service_files
    from sconectl.manifest.model.mesh import Mesh
    from sconectl.plan.mesh.availability import refuse
    from sconectl.plan.mesh.mesh import MeshInput, image_cas, main_cas, plan_mesh
    from sconectl.usecases.apply_mesh import MeshWorld, apply_mesh

    mesh = manifest.model
    assert isinstance(mesh, Mesh)  # noqa: S101 - narrows the type
    mesh = with_options(mesh, options)
    faults = tolerance_faults(mesh, manifest.document)
    if faults:
        raise InvalidInput(faults)
    main, for_images = main_cas(mesh), image_cas(mesh)
    files = read_service_files(mesh, manifest.document, directory_of(manifest))
    console.step("learning the facts of the images")
    facts = learn_facts(manifest, mesh, options, wiring, planned)
    advice = [*advice_on_images(manifest, facts), *advice_on_secrets(files.values())]
    if errors_of(advice):
        raise InvalidInput(advice)
    show_findings(advice)
    given = MeshInput(mesh, manifest.document, facts, {}, options.release, sconectl.__version__, files=files)
    plan = plan_mesh(given)
    if options.dry_run or rehearsed:
        show_findings(plan.limits)
    else:
        refuse(plan.limits)
    if options.output == "yaml":
        _check_own_charts(mesh, manifest.document)
    effects = not options.dry_run
    upload = plan.upload and effects
    shares = plan.shares and effects and (plan.upload or plan.installed)
    world = MeshWorld(
        store=_store_of(main, wiring) if upload else None,
        image_store=_store_of(for_images, wiring) if shares else None,
        keys=wiring.keys,
        workspace=wiring.workspace,
        progress=console.step,
        signing_key=lambda: wiring.signing_key,
        encryption_key=lambda: _store_of(main, wiring).encryption_key(),
        release=(options.release or plan.chart.name) if options.output == "yaml" else "",
    )
    done = apply_mesh(plan, world)
    lines = [
        *session_lines(done.sessions, main.cas_url),
        *(f"session {name}: {'signed' if plan.mode == 'SignedManifest' else 'encrypted'}" for name in done.shipped),
        files_line(done.files_changed, options.target),
    ]
    return lines, _remark(plan, options, upload=upload)


def _remark(plan: MeshPlan, options: ApplyOptions, *, upload: bool) -> str:
    """Return what is to be done next."""
    if upload or plan.installed:
        return f"install with: helm install {options.release or 'RELEASE'} {options.target / 'helm'}"
    nothing = "nothing was uploaded to a CAS; the services cannot start before their sessions are there"
    if plan.signed:
        return f"{nothing} (sconectl session create {options.target / 'policies'}/….json, the namespace first)"
    return nothing


def learn_facts(
    manifest: Manifest, mesh: Mesh, options: ApplyOptions, wiring: Wiring, planned: Sequence[BuildRecord] = ()
) -> dict[str, ImageFacts]:
    """Return the facts of each service's image; `planned` are those of images that are still to be built."""
    from sconectl.apply.gather import FactSources, gather_facts
    from sconectl.apply.records import read_records
    from sconectl.plan.mesh.mesh import image_cas

    images = options.target / "images"
    sources = FactSources(
        given=(*planned, *(read_records(options.facts) if options.facts else ())),
        built=read_records(images) if images.is_dir() else (),
        engine=lambda: wiring.engine,
        registry=lambda: wiring.registry,
        image_store=lambda: _store_of(image_cas(mesh), wiring),
    )
    return gather_facts(mesh, manifest.document, sources)


def _store_of(cas: Cas, wiring: Wiring) -> SessionStore:
    return wiring.store(cas.cas_url, cas.cas_key, cas.tolerance)


def tolerance_faults(mesh: Mesh, document: Document) -> list[Finding]:
    """Return a fault for flags that nobody knows, also where no CAS is asked."""
    given = [(number, cas.tolerance) for number, cas in enumerate(mesh.cas) if cas.tolerance]
    if not given:
        return []
    from sconectl.cas.client.tolerance import parse

    findings = []
    for number, flags in given:
        try:
            parse(flags)
        except UsageError as error:
            path = ("cas", number, "tolerance")
            findings.append(document.finding("error", "SC1007", path, error.message, error.hint))
    return findings


def with_options(mesh: Mesh, options: ApplyOptions) -> Mesh:
    """Return the mesh with what options put in the place of its policy. Raises `UsageError`."""
    from pydantic import ValidationError

    given = {
        "namespace": (options.namespace, "--policy-namespace is not a CAS namespace", _NAMESPACE_HINT),
        "maa": (options.maa, "--maa is not the address of an attestation service", "it begins with https://"),
    }
    for field, (value, message, hint) in given.items():
        if value:
            try:
                policy = type(mesh.policy).model_validate({**mesh.policy.model_dump(), field: value})
            except ValidationError:
                raise UsageError(message, hint=hint) from None
            mesh = mesh.model_copy(update={"policy": policy})
    return mesh


def _check_own_charts(mesh: Mesh, document: Document) -> None:
    """Raise `PlanImpossible` for charts that only Helm can render."""
    findings = []
    for number, service in enumerate(mesh.services):
        if service.helm_chart:
            path = ("services", number, "helm_chart")
            hint = "leave out -o yaml, and render the chart with helm template"
            message = "-o yaml cannot render a chart that sconectl did not write"
            findings.append(document.finding("error", "SC2020", path, message, hint))
    if findings:
        raise PlanImpossible("not every chart can become manifests", findings=findings)
