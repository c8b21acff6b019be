"""`sconectl apply`: a service manifest becomes an image, a mesh becomes sessions and a chart."""

from __future__ import annotations

from typing import Annotated

import typer

from sconectl.cli.options.apply_options import ApplyOptions
from sconectl.cli.options.groups import grouped
from sconectl.cli.output.console import Console, note
from sconectl.errors import UsageError


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
    from sconectl.cli.output.apply_result import next_step
    from sconectl.cli.runs.applied import apply_all

    for mesh in apply_all(options, Console(-1 if quiet else verbose)):
        note(next_step(mesh.plan, options.target, options.release, uploaded=mesh.uploaded))
