"""`sconectl apply`: a service manifest becomes an image, a mesh becomes sessions and a chart."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.options.apply_options import ApplyOptions, check_toolchain, warn_of_simulation
from sconectl.cli.options.groups import grouped
from sconectl.cli.output.console import Console, note, result, show_findings
from sconectl.errors import InvalidInput, UsageError
from sconectl.text.findings import errors_of

if TYPE_CHECKING:
    from sconectl.cli.wiring import Wiring
    from sconectl.plan.mesh.mesh import MeshPlan
    from sconectl.usecases.check_mesh import MeshCheck


@grouped
def apply_command(
    options: ApplyOptions,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Show what tools print.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Apply a manifest: a service becomes an image, a mesh becomes policies and a chart.

    In files named *.template, $VAR takes its value from --set, --env-file and the
    environment; in other files from --set and --env-file only.
    """
    options.check()
    if options.output not in ("helm_chart", "yaml"):
        raise UsageError(f"{options.output} is not a form of output", hint="give -o helm_chart or -o yaml")
    if options.out is not None and not options.print_defaults:
        raise UsageError("--file belongs to -p", hint="give -p --file OUT to write the mesh with all its variables")
    apply(options, Console(-1 if quiet else verbose))


def apply(options: ApplyOptions, console: Console) -> None:
    """Apply the manifests, services before meshes, if nothing is wrong with any of them. Raises `SconectlError`."""
    from sconectl.apply.lock.lock_file import read_lock
    from sconectl.cli.options.manifest_files import read_all
    from sconectl.cli.runs.curated import needed
    from sconectl.cli.runs.one_service import apply_one
    from sconectl.cli.runs.worlds import learner, terms_of
    from sconectl.cli.wiring import Wiring, today
    from sconectl.plan.mesh.availability import remarks
    from sconectl.usecases.check_run import check_run
    from sconectl.usecases.security_advice import advice_on

    check_toolchain(options.toolchain)
    wiring = Wiring(options.target, options.cas_config, options.lock)
    manifests = read_all(options)
    for manifest in manifests:
        show_findings([*manifest.warnings, *remarks(manifest.model, manifest.document)])
    with console.working():
        curated = needed(manifests, options, wiring, console)
    if options.print_defaults:
        from sconectl.cli.runs.defaults import show_defaults

        show_defaults(manifests, curated.manifests, options, console)
        return
    manifests = [*curated.manifests, *manifests]
    advice = curated.without(advice_on(manifests, today(), mode=options.mode))
    if errors_of(advice):
        raise InvalidInput(advice)
    show_findings(advice)
    warn_of_simulation(options.toolchain)
    refused = ("genservice",) if options.dry_run else ("genservice", "mesh")
    read_lock(wiring.lock.read(), wiring.lock.name)  # raises before anything is done
    with console.working():
        run = check_run(manifests, terms_of(options, refused=refused), learner(options, wiring, console))
        for mesh in run.meshes if run.services else ():
            _foresee(mesh, run.mesh_plan(mesh, {}), options, wiring, console)
    meshes = [mesh.mesh for mesh in run.meshes]
    built = dict(
        apply_one(check, meshes, options, wiring, console, curated.of(check))
        for check in run.services
        if not (options.dry_run and curated.of(check))
    )
    for mesh in run.meshes:
        show_findings([*mesh.advice, *mesh.limits])
        _mesh(mesh, run.mesh_plan(mesh, built), options, wiring, console)


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


def _mesh(check: MeshCheck, plan: MeshPlan, options: ApplyOptions, wiring: Wiring, console: Console) -> None:
    from sconectl.cli.output.apply_result import (
        lock_line,
        mesh_lines,
        namespace_notes,
        next_step,
        retired_lines,
        rolling_remarks,
    )
    from sconectl.cli.runs.worlds import mesh_world, pruning, witness
    from sconectl.usecases.apply_mesh import apply_mesh, prune
    from sconectl.usecases.over_time.locked import lock_mesh
    from sconectl.usecases.over_time.session_changes import refuse_losses, roll_out, unfinished

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
    note(next_step(plan, options.target, options.release, uploaded=world.store is not None))
