"""Applying manifests: what `apply` does, and `up` before it starts anything.

In: the options of the command line. Out: the meshes that were applied, and lines on stdout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sconectl.cli.options.apply_options import ApplyOptions, check_toolchain, warn_of_simulation
from sconectl.cli.output.console import Console, note, result, show_findings
from sconectl.errors import InvalidInput
from sconectl.text.findings import errors_of

if TYPE_CHECKING:
    from sconectl.cli.wiring import Wiring
    from sconectl.manifest.reading.reader import Manifest
    from sconectl.plan.mesh.mesh import MeshPlan
    from sconectl.usecases.apply_mesh import MeshResult
    from sconectl.usecases.check_mesh import MeshCheck
    from sconectl.usecases.check_run import RunCheck


Ready = Callable[["RunCheck"], None]


def nothing(_run: RunCheck) -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class AppliedMesh:
    """A mesh that was applied: its plan, and what was done. `uploaded` says whether a CAS has its sessions."""

    plan: MeshPlan
    done: MeshResult
    uploaded: bool


def apply_all(
    options: ApplyOptions, console: Console, ready: Ready = nothing, manifests: Sequence[Manifest] = ()
) -> list[AppliedMesh]:
    """Apply the manifests, services before meshes, if nothing is wrong with any of them. Raises `SconectlError`.

    `ready` is called when that is known, before anything is done. `manifests` are those that were read already.
    """
    from sconectl.apply.lock.lock_file import read_lock
    from sconectl.cli.options.manifest_files import read_all
    from sconectl.cli.runs.chart_templates import check_chart_template
    from sconectl.cli.runs.curated import needed
    from sconectl.cli.runs.one_service import apply_one
    from sconectl.cli.runs.worlds import learner, terms_of
    from sconectl.cli.wiring import Wiring, today
    from sconectl.plan.mesh.availability import remarks
    from sconectl.usecases.check_run import check_run
    from sconectl.usecases.security_advice import advice_on

    check_toolchain(options.toolchain)
    wiring = Wiring(options.target, options.cas_config, options.lock, options.config.reached)
    manifests = manifests or read_all(options)
    built_here = check_chart_template(options, manifests)
    for manifest in manifests:
        show_findings([*manifest.warnings, *remarks(manifest.model, manifest.document)])
    with console.working():
        curated = needed(manifests, options, wiring, console)
    if options.print_defaults:
        from sconectl.cli.runs.defaults import show_defaults

        show_defaults(manifests, curated.manifests, options, console)
        return []
    manifests = [*curated.manifests, *manifests]
    advice = curated.without(advice_on(manifests, today(), mode=options.mode))
    if errors_of(advice):
        raise InvalidInput(advice)
    show_findings(advice)
    warn_of_simulation(options.toolchain)
    refused = ("genservice",) if options.dry_run else ("genservice", "mesh")
    read_lock(wiring.lock.read(), wiring.lock.name)  # raises before anything is done
    with console.working():
        terms = terms_of(options, refused=refused, built=built_here)
        run = check_run(manifests, terms, learner(options, wiring, console))
        ready(run)
        for mesh in run.meshes if run.services else ():
            _foresee(mesh, run.mesh_plan(mesh, {}), options, wiring, console)
    meshes = [mesh.mesh for mesh in run.meshes]
    built = dict(
        apply_one(check, meshes, options, wiring, console, curated.of(check))
        for check in run.services
        if not (options.dry_run and curated.of(check))
    )
    return [_mesh(mesh, run.mesh_plan(mesh, built), options, wiring, console) for mesh in run.meshes]


def _foresee(check: MeshCheck, plan: MeshPlan, options: ApplyOptions, wiring: Wiring, console: Console) -> None:
    """Refuse what a mesh would lose before anything is built for it, as an image with the same tag would be in use."""
    from sconectl.cli.runs.worlds import mesh_world, pruning, witness
    from sconectl.usecases.apply_mesh import looked_up
    from sconectl.usecases.over_time.session_changes import refuse_foreseen, refuse_losses

    allowed, seen = options.allow_secret_loss or (), witness(check, plan, wiring)
    seen.require_upload(pruning(options), plan)
    world = mesh_world(options, wiring, console, check, plan)
    updates = looked_up(plan, world)
    refuse_foreseen(check.manifest, allowed, options.wish, plan, updates)
    if world.store is not None and (options.prune or options.prune_session):
        refuse_losses(check.manifest, allowed, seen.look(pruning(options), world.store, updates).retiring)


def _mesh(check: MeshCheck, plan: MeshPlan, options: ApplyOptions, wiring: Wiring, console: Console) -> AppliedMesh:
    from sconectl.cli.output.apply_result import (
        lock_line,
        mesh_lines,
        namespace_notes,
        retired_lines,
        rolling_remarks,
    )
    from sconectl.cli.runs.worlds import mesh_world, pruning, witness
    from sconectl.usecases.apply_mesh import apply_mesh, prune
    from sconectl.usecases.over_time.locked import lock_mesh
    from sconectl.usecases.over_time.session_changes import refuse_losses, roll_out, unfinished

    show_findings([*check.advice, *check.limits])
    seen = witness(check, plan, wiring)
    seen.require_upload(pruning(options), plan)
    with console.working():
        world = mesh_world(options, wiring, console, check, plan)
        approve = partial(refuse_losses, check.manifest, options.allow_secret_loss or ())
        rolling = partial(roll_out, check.manifest, options.wish)
        done = apply_mesh(plan, world, approve, rolling, partial(seen.look, pruning(options)))
    show_findings(unfinished(check.manifest, done.rollouts))
    for name in done.shipped.unknown:
        note(f"warning: session {name}: nobody said whether the CAS has it, so it is written as its first version")
    for line in mesh_lines(done, plan, options.target):
        result(line)
    changed = not options.dry_run and lock_mesh(wiring.lock, check, plan, done)  # names what is not retired yet
    if world.store is not None and done.left and done.left.retiring:
        with console.working():
            done = prune(world.store, done, world.progress)
        for line in retired_lines(done, plan):
            result(line)
        changed |= lock_mesh(wiring.lock, check, plan, done)
    if not options.dry_run:
        result(lock_line(wiring.lock, changed))
    if done.left:
        show_findings(seen.remarks(done.left, done.updates))
    for text in (*namespace_notes(done.left, check.mesh.policy.namespace), *rolling_remarks(done, options.wish)):
        note(text)
    return AppliedMesh(plan, done, world.store is not None)
