"""`sconectl apply`: a service manifest becomes an image, a mesh becomes sessions and a chart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sconectl.cli.apply_options import ApplyOptions, check_toolchain
from sconectl.cli.console import Console, note, result, show_findings
from sconectl.errors import UsageError


def apply_command(
    file: Annotated[Path, typer.Option("--filename", "-f", metavar="FILE", help="The manifest; - reads stdin.")],
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
    toolchain: Annotated[str, typer.Option(metavar="NAME", help="How images are protected.")] = "sim",
    cas_config: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Your client identity and known CAS keys.", show_default="~/.cas")
    ] = None,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Show what tools print.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Apply a manifest: a service becomes an image, a mesh becomes policies and a chart.

    In files named *.template, $VAR takes its value from --set, --env-file and the
    environment; in other files from --set and --env-file only.
    """
    from sconectl.cli.config import load_config
    from sconectl.cli.option_values import base_images, pairs

    if mode not in ("production", "debug"):
        raise UsageError(f"{mode} is not a mode", hint="give --mode production or --mode debug")
    options = ApplyOptions(
        file=file,
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
    )
    apply(options, Console(-1 if quiet else verbose))


def apply(options: ApplyOptions, console: Console) -> None:
    """Apply one manifest. Raises `SconectlError`."""
    from sconectl.cli.apply_mesh import run_mesh
    from sconectl.cli.apply_service import run_service
    from sconectl.cli.manifest_files import read_given
    from sconectl.cli.wiring import Wiring
    from sconectl.manifest.genservice import GenService
    from sconectl.plan.availability import remarks

    check_toolchain(options.toolchain)
    manifest = read_given(options)
    show_findings([*manifest.warnings, *remarks(manifest.model, manifest.document)])
    note("warning: toolchain sim: everything works, but no hardware protects it (docs/simulation.md)")
    wiring = Wiring(target=options.target, cas_config=options.cas_config, notify=note)
    run = run_service if isinstance(manifest.model, GenService) else run_mesh
    with console.working():
        lines, remark = run(manifest, options, wiring, console)
    for line in lines:
        result(line)
    if remark:
        note(remark)
