"""`sconectl up --dry-run`: what a run would do on this machine, found out without doing any of it.

In: the manifests of a run, and its options. Out: lines on stdout about the CAS, images and containers. No CAS is asked:
what the last run learnt from it is in the lock. What becomes of sessions and secrets says `plan`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sconectl.artefacts.local.containers import RELEASE
from sconectl.artefacts.local.pods import LocalCas, local_mesh
from sconectl.cli.local.up_run import checks_of, require_upload
from sconectl.cli.options.apply_options import ApplyOptions
from sconectl.cli.output.console import Console, note, result, show_findings
from sconectl.cli.runs.worlds import Rehearsal, learner, mesh_world, service_world, terms_of
from sconectl.cli.wiring import cas_directory

if TYPE_CHECKING:
    from sconectl.cli.runs.curated import Needed
    from sconectl.manifest.reading.reader import Manifest
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.usecases.check_run import RunCheck
    from sconectl.usecases.local.up import Deed

_WOULD: dict[Deed, str] = {"unchanged": "would stay", "started": "would be started", "created": "would be created"}
_WOULD |= {"replaced": "would be replaced", "removed": "would be removed"}


def rehearse(options: ApplyOptions, manifests: Sequence[Manifest], console: Console) -> None:
    """Show what `up` would do. Raises what `up` raises before it does anything."""
    from sconectl.cli.runs.curated import needed
    from sconectl.usecases.check_run import check_run

    options = replace(options, dry_run=True)
    wiring = Rehearsal(options.target, options.cas_config, options.lock, options.config.reached)
    with console.working():
        curated = needed(manifests, options, wiring, console)
        every = [*curated.manifests, *manifests]
        run = check_run(every, terms_of(options, refused=("genservice", "mesh")), learner(options, wiring, console))
        built, changing = _images(run, curated, options, wiring, console)
        lines = list(_lines(run, built, changing, options, wiring, console))
    for check in run.meshes:
        show_findings([*check.advice, *check.limits])
    for line in lines:
        result(line)
    note("what becomes of sessions and secrets: sconectl plan with the same manifests")


def _images(
    run: RunCheck, curated: Needed, options: ApplyOptions, wiring: Rehearsal, console: Console
) -> tuple[dict[str, ImageFacts], set[str]]:
    """Return the facts of images that are up to date, and the names of those that would be built."""
    from sconectl.usecases.apply_service import earlier_runs

    built: dict[str, ImageFacts] = {}
    changing: set[str] = set()
    for check in run.services:
        plan, sources = check.ready()
        if curated.of(check):
            facts = curated.built(check, options)
        else:
            facts = earlier_runs(plan, sources, service_world(options, wiring, console, None)).facts
        if facts:
            built[facts.image] = facts
        else:
            changing.add(plan.image)
    return built, changing


def _lines(
    run: RunCheck,
    built: dict[str, ImageFacts],
    changing: set[str],
    options: ApplyOptions,
    wiring: Rehearsal,
    console: Console,
) -> Iterator[str]:
    """Yield what would become of the CAS, images and containers."""
    from sconectl.cas.for_containers import find
    from sconectl.ports import ImageInfo
    from sconectl.usecases.apply_mesh import apply_mesh
    from sconectl.usecases.local.up import intents

    [check] = run.meshes
    plan = run.mesh_plan(check, built)
    require_upload(plan.upload, plan.mode)
    engine = wiring.containers
    place = find(cas_directory(), plan.cas.cas_url, engine.host_address())
    if not place.runs:
        yield f"embedded CAS: would be started at {place.address}"
    for image in sorted(changing):
        yield f"image {image}: would be built"
    helm = apply_mesh(plan, mesh_world(options, wiring, console, check, plan)).helm
    nothing = ImageInfo("", "", {})
    known = {image: wiring.engine.inspect(image) for image in {service.image for service in helm.services} - changing}
    images = {service.image: known.get(service.image) or nothing for service in helm.services}
    for image in sorted(image for image, info in known.items() if info is None):
        yield f"image {image}: would be pulled"
    cas = LocalCas(plan.cas.cas_url, place.address, place.key)
    mesh = local_mesh(helm, options.release, cas, checks_of(images))
    for intent in intents(mesh, images, engine.find({RELEASE: mesh.release})):
        yield f"{intent.name}: {_WOULD[intent.deed]}"
