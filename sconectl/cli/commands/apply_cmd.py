"""`sconectl apply`: a service manifest becomes an image, a mesh becomes sessions and a chart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.output.console import Console, note, result, show_findings
from sconectl.cli.wiring import DEFAULT_TOOLCHAIN
from sconectl.errors import InvalidInput, UsageError
from sconectl.text.findings import errors_of

if TYPE_CHECKING:
    from sconectl.cli.options.apply_options import ApplyOptions
    from sconectl.cli.wiring import Wiring
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.plan.mesh.mesh import MeshPlan
    from sconectl.usecases.check_mesh import MeshCheck
    from sconectl.usecases.check_service import ServiceCheck


def apply_command(
    files: Annotated[
        list[Path],
        typer.Option(
            "--filename", "-f", metavar="FILE", help="Manifest, directory or pattern; - is stdin. Repeatable."
        ),
    ],
    target: Annotated[Path, typer.Option("--target-directory", "-t", metavar="DIR", help="Where results go.")] = Path(
        "target"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-d", help="Write results, but nothing to CAS or registry.")
    ] = False,
    no_push: Annotated[
        bool, typer.Option("--no-push", "-n", "--no-pull", help="Service: keep the image local, do not push it.")
    ] = False,
    mode: Annotated[str, typer.Option(metavar="MODE", help="Service: production or debug.")] = "production",
    base_image: Annotated[
        list[str] | None, typer.Option(metavar="KIND=IMAGE", help="Service: base image of a kind, like python=IMAGE.")
    ] = None,
    cas: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Service: CAS for the image session.", show_default="local")
    ] = "",
    release: Annotated[str, typer.Option(metavar="NAME", help="Mesh: name of the Helm release.")] = "",
    policy_namespace: Annotated[str, typer.Option(metavar="NS", help="Mesh: replaces policy.namespace.")] = "",
    facts: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Mesh: image facts (file or directory), to compile offline.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="VAR=VALUE", help="Value of $VAR.")] = None,
    env_file: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="File with VAR=VALUE lines.")] = None,
    toolchain: Annotated[str, typer.Option(metavar="NAME", help="How images are protected.")] = DEFAULT_TOOLCHAIN,
    cas_config: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Your client identity and known CAS keys.", show_default="~/.cas")
    ] = None,
    print_defaults: Annotated[
        bool, typer.Option("--print-defaults", "-p", help="Show every variable and its value; apply nothing.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--file", metavar="OUT", help="Mesh, with -p: write it with all its variables.")
    ] = None,
    maa: Annotated[str, typer.Option("--maa", "-m", metavar="URL", help="Mesh: replaces policy.maa.")] = "",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FORM", help="Mesh: helm_chart, or yaml for manifests, too.")
    ] = "helm_chart",
    max_size: Annotated[
        int | None, typer.Option(metavar="BYTES", min=1, help="How large a manifest may be.", show_default="1 MiB")
    ] = None,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Show what tools print.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Apply a manifest: a service becomes an image, a mesh becomes policies and a chart.

    In files named *.template, $VAR takes its value from --set, --env-file and the
    environment; in other files from --set and --env-file only.
    """
    from sconectl.cli.options.apply_options import ApplyOptions
    from sconectl.cli.options.config import load_config
    from sconectl.cli.options.option_values import base_images, pairs
    from sconectl.text.yaml_tree import MAX_BYTES

    if mode not in ("production", "debug"):
        raise UsageError(f"{mode} is not a mode", hint="give --mode production or --mode debug")
    if output not in ("helm_chart", "yaml"):
        raise UsageError(f"{output} is not a form of output", hint="give -o helm_chart or -o yaml")
    if out is not None and not print_defaults:
        raise UsageError("--file belongs to -p", hint="give -p --file OUT to write the mesh with all its variables")
    options = ApplyOptions(
        files=tuple(files),
        target=target,
        config=load_config(Path.cwd()),
        variables=pairs("--set", set_ or []),
        env_files=tuple(env_file or ()),
        dry_run=dry_run,
        no_push=no_push,
        mode=mode,
        toolchain=toolchain,
        release=release,
        namespace=policy_namespace,
        facts=facts,
        cas=cas,
        cas_config=cas_config,
        base_images=base_images(base_image or []),
        print_defaults=print_defaults,
        out=out,
        maa=maa,
        output=output,
        size_limit=max_size or MAX_BYTES,
    )
    apply(options, Console(-1 if quiet else verbose))


def apply(options: ApplyOptions, console: Console) -> None:
    """Apply the manifests, services before meshes, if nothing is wrong with any of them. Raises `SconectlError`."""
    from sconectl.cli.options.apply_options import check_toolchain, warn_of_simulation
    from sconectl.cli.options.manifest_files import read_all
    from sconectl.cli.runs.worlds import learner, terms_of, wiring_of
    from sconectl.cli.wiring import today
    from sconectl.plan.mesh.availability import remarks
    from sconectl.usecases.check_run import check_run
    from sconectl.usecases.security_advice import advice_on

    check_toolchain(options.toolchain)
    manifests = read_all(options)
    for manifest in manifests:
        show_findings([*manifest.warnings, *remarks(manifest.model, manifest.document)])
    if options.print_defaults:
        from sconectl.cli.runs.defaults import show_defaults

        show_defaults(manifests, options, console)
        return
    advice = advice_on(manifests, today(), mode=options.mode)
    if errors_of(advice):
        raise InvalidInput(advice)
    show_findings(advice)
    warn_of_simulation(options.toolchain)
    wiring = wiring_of(options)
    refused = ("genservice",) if options.dry_run else ("genservice", "mesh")
    with console.working():
        run = check_run(manifests, terms_of(options, refused=refused), learner(options, wiring, console))
    built = dict(_service(check, options, wiring, console) for check in run.services)
    for mesh in run.meshes:
        show_findings([*mesh.advice, *mesh.limits])
        _mesh(mesh, run.mesh_plan(mesh, built), options, wiring, console)


def _service(check: ServiceCheck, options: ApplyOptions, wiring: Wiring, console: Console) -> tuple[str, ImageFacts]:
    """Apply a service, and return its image with the facts of it."""
    from sconectl.cli.output.apply_result import service_lines
    from sconectl.cli.runs.worlds import service_world
    from sconectl.usecases.apply_service import apply_service

    show_findings(check.uses)
    with console.working():
        store = None if options.dry_run else wiring.store(options.cas or options.config.image_cas or "local")
        done = apply_service(*check.ready(), service_world(options, wiring, console, store))
    for line in service_lines(done, store.address if store else "", options.target):
        result(line)
    return done.facts.image, done.facts


def _mesh(check: MeshCheck, plan: MeshPlan, options: ApplyOptions, wiring: Wiring, console: Console) -> None:
    from sconectl.cli.output.apply_result import mesh_lines, next_step
    from sconectl.cli.runs.worlds import mesh_world
    from sconectl.usecases.apply_mesh import apply_mesh

    with console.working():
        world = mesh_world(options, wiring, console, check.mesh, plan)
        done = apply_mesh(plan, world)
    for line in mesh_lines(done, plan, options.target):
        result(line)
    note(next_step(plan, options.target, options.release, uploaded=world.store is not None))
