"""The service half of `apply` and `plan`: from a manifest and options to a plan, and to what is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sconectl.cli.options.manifest_files import directory_of, private_paths
from sconectl.cli.output.apply_result import files_line, session_lines
from sconectl.cli.output.console import Console, note, show_findings
from sconectl.cli.output.printable import shown
from sconectl.cli.wiring import Wiring, build_environment, cache_directory, source_date_epoch, toolchains
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.reading.reader import Manifest
from sconectl.text.findings import Finding

if TYPE_CHECKING:
    from sconectl.apply.native import NativeSources
    from sconectl.cli.options.apply_options import ApplyOptions
    from sconectl.plan.service.service import ServicePlan
    from sconectl.ports import SessionStore
    from sconectl.usecases.apply_service import ServiceWorld


def read_service(manifest: Manifest, options: ApplyOptions) -> tuple[ServicePlan, NativeSources]:
    """Return the plan of a service, and what its directory contributes. Raises `InvalidInput`, `PlanImpossible`."""
    from sconectl.apply.native import collect_sources, complete_plan
    from sconectl.plan.service.service import plan_service

    model = manifest.model
    assert isinstance(model, GenService)  # noqa: S101 - narrows the type
    plan = plan_service(model, manifest.document, bases=_bases(options), mode=options.mode)
    sources = collect_sources(plan, directory_of(manifest), manifest.document, private_paths(options))
    return complete_plan(plan, sources), sources


def service_remarks(manifest: Manifest) -> list[Finding]:
    """Return the warnings about a service manifest that has no errors."""
    from sconectl.plan.secrets.secret_use import check_placeholders
    from sconectl.plan.service.protection import overlaps

    model = manifest.model
    assert isinstance(model, GenService)  # noqa: S101 - narrows the type
    return [*overlaps(model, manifest.document), *check_placeholders(model, manifest.document)]


def _bases(options: ApplyOptions) -> dict[str, str]:
    return {**options.config.base_images, **options.base_images}


def service_world(options: ApplyOptions, wiring: Wiring, console: Console, store: SessionStore | None) -> ServiceWorld:
    """Return the outside world of a service manifest."""
    from sconectl.plan.service.base_images import DEFAULT_BASES
    from sconectl.usecases.apply_service import ServiceWorld

    return ServiceWorld(
        toolchain=toolchains()[options.toolchain],
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


def run_service(manifest: Manifest, options: ApplyOptions, wiring: Wiring, console: Console) -> tuple[list[str], str]:
    """Return the lines for stdout and a remark for stderr."""
    from sconectl.plan.mesh.availability import require_available
    from sconectl.usecases.apply_service import apply_service

    require_available(manifest.model, manifest.document)
    plan, sources = read_service(manifest, options)
    show_findings(service_remarks(manifest))
    store = None if options.dry_run else wiring.store(options.cas or options.config.image_cas or "local")
    done = apply_service(plan, sources, service_world(options, wiring, console, store))
    sessions = [done.session] if done.session else []
    lines = [
        f"image {plan.image}: {'built' if done.built else 'unchanged'}{', pushed' if done.pushed else ''}",
        f"measurement {done.facts.measurement}",
        *session_lines(sessions, store.address if store else ""),
        files_line(done.files_changed, options.target),
    ]
    return lines, ""
