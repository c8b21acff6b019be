"""`sconectl up`: a mesh on this machine, from manifests to services that work."""

from __future__ import annotations

from typing import Annotated

import typer

from sconectl.cli.options.apply_options import ApplyOptions
from sconectl.cli.options.groups import Only, grouped
from sconectl.cli.output.console import Console, note
from sconectl.errors import UsageError

_OPTIONS = Only(
    "files target release mode base_image cas lock policy_namespace facts set_ env_file set_version toolchain "
    "cas_config maa allow_secret_loss rolling release_version finish prune prune_session chart_version max_size",
    files="The mesh; service manifests beside it are found. A directory, a pattern, or - for stdin. Repeatable.",
    release="What names begin with on this machine.  [the chart's name]",
)


@grouped
def up_command(
    options: Annotated[ApplyOptions, _OPTIONS],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FORM", help="compose: write target/compose.yaml, and start nothing."),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", "-d", help="Show what would be done, and do nothing.")] = False,
    wait: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS", min=1, help="How long services may take to work.", show_default="their probes'"
        ),
    ] = None,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Show what tools print.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Run a mesh on this machine: build what is missing, apply, start, and wait until every service works.

    Containers are what the chart would make: the same names, users, rights, volumes
    and probes. What has not changed goes on running. `sconectl down` ends it.
    """
    options.check()
    if output not in ("", "compose"):
        raise UsageError(f"{output} is not a form of output", hint="give -o compose, or leave it out to start the mesh")
    from sconectl.cli.local.up_run import UpRun

    run = UpRun(options, Console(-1 if quiet else verbose))
    if dry_run:
        from sconectl.cli.local.rehearsed import rehearse

        rehearse(run.options, run.manifests, Console(-1))
        return
    try:
        run.up(compose=bool(output), seconds=wait)
    except KeyboardInterrupt:
        note(f"interrupted; run it again to finish, or sconectl down --release {run.options.release}")
        raise
