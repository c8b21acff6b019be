"""`sconectl logs`: what services on this machine print."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from sconectl.cli.local.running import Release, chosen
from sconectl.cli.output.console import note, result
from sconectl.cli.output.printable import shown
from sconectl.errors import UsageError

_COLOURS = (36, 33, 32, 35, 34, 31)


def logs(
    services: Annotated[list[str] | None, typer.Argument(metavar="[SERVICE]...", help="Services; all of them.")] = None,
    release: Release = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as more is printed.")] = False,
    tail: Annotated[int | None, typer.Option(metavar="N", min=0, help="The last N lines of each only.")] = None,
) -> None:
    """Show what services on this machine print, each line behind the name of its service."""
    from sconectl.artefacts.local.containers import RELEASE, SERVICE
    from sconectl.cli.wiring import Wiring
    from sconectl.usecases.local.log_lines import followed, printed

    engine = Wiring().containers
    meant = chosen(release, engine)
    states = engine.find({RELEASE: meant}) if meant else ()
    known = sorted({name for state in states for name in (state.name, state.labels.get(SERVICE, ""))})
    for name in services or ():
        if name not in known:
            hint = f"known are {', '.join(known)}" if known else "start it with `sconectl up -f mesh.yaml`"
            raise UsageError(f"no service {name} runs on this machine", hint=hint)
    chosen_ones = [s for s in states if not services or s.name in services or s.labels.get(SERVICE) in services]
    if not chosen_ones:
        note("note: no mesh runs on this machine")
        return
    width = max(len(state.name) for state in chosen_ones)
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    colours = {state.name: _COLOURS[number % len(_COLOURS)] for number, state in enumerate(chosen_ones)}
    read = followed if follow else printed
    for state, line in read(chosen_ones, engine, tail):
        head = f"{state.name.ljust(width)} |"
        if colour:
            head = f"\x1b[{colours[state.name]}m{head}\x1b[0m"
        result(f"{head} {shown(line.rstrip())}")
