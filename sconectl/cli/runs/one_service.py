"""Applying one service manifest: the part of `apply` that `curated build` has, too.

In: a manifest that was checked. Out: its image with the facts of it, and lines on stdout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sconectl.cli.output.console import Console, result, show_findings

if TYPE_CHECKING:
    from sconectl.apply.curated.catalogue import CuratedService
    from sconectl.cli.options.apply_options import ApplyOptions
    from sconectl.cli.wiring import Wiring
    from sconectl.manifest.model.mesh import Mesh
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.usecases.check_service import ServiceCheck


def apply_one(
    check: ServiceCheck,
    meshes: Sequence[Mesh],
    options: ApplyOptions,
    wiring: Wiring,
    console: Console,
    curated: CuratedService | None = None,
) -> tuple[str, ImageFacts]:
    """Apply a service, and return its image with the facts of it. What a curated one converts is built before."""
    from sconectl.cli.output.apply_result import lock_line, service_lines
    from sconectl.cli.runs.chart_templates import keep_chart_template
    from sconectl.cli.runs.curated import build_native
    from sconectl.cli.runs.worlds import facts_store, service_world
    from sconectl.usecases.apply_service import apply_service
    from sconectl.usecases.over_time.locked import lock_service

    show_findings(check.uses)
    with console.working():
        plan, sources = check.ready()
        store = None if options.dry_run else facts_store(options, wiring, plan.image, meshes)
        world = service_world(options, wiring, console, store)
        native = build_native(curated, options, world) if curated else None
        done = apply_service(plan, sources, world, native=native)
        if curated is None:
            keep_chart_template(options, done.facts.name, wiring.workspace)
    for line in service_lines(done, store.address if store else "", options.target):
        result(line)
    if not options.dry_run:
        result(lock_line(wiring.lock, lock_service(wiring.lock, check, done)))
    return done.facts.image, done.facts
