"""`sconectl down`: ends a mesh on this machine, and the CAS that `up` started for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sconectl.cli.cas.cas_boundary import explaining
from sconectl.cli.local.running import Release, chosen
from sconectl.cli.output.console import Console, note, result


@explaining
def down(
    release: Release = "",
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Remove its volumes, too, and let the CAS expect empty ones.")
    ] = False,
    cas_config: Annotated[
        Path | None, typer.Option("--cas-config", metavar="DIR", help="Your client identity.", show_default="~/.cas")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """End a mesh on this machine: its containers and its network are removed.

    The embedded CAS is ended with the last mesh, if `sconectl up` has started it.
    What it keeps stays, and so do the images.
    """
    from sconectl.artefacts.local.containers import CAS_KEY
    from sconectl.cas.for_containers import stop_if_started
    from sconectl.cli.options.config import load_config
    from sconectl.cli.wiring import Wiring, cas_directory
    from sconectl.usecases.local.down import ask_for_states, bring_down, remove_volumes

    wiring = Wiring(cas_config=cas_config, reached=load_config(Path.cwd()).reached)
    console = Console(-1 if quiet else 0)
    engine = wiring.containers
    meant = chosen(release, engine)
    if meant:
        with console.working():
            if volumes:
                ask_for_states(meant, engine, wiring.store)
            done = bring_down(meant, engine, console.step)
        for name in (*(state.name for state in done.containers), *done.networks):
            result(f"{name}: removed")
        if volumes:
            remove_volumes(done.kept, engine, wiring.store, result)
        elif done.kept:
            note(f"note: these volumes stay: {', '.join(done.kept)} (--volumes removes them)")
    else:
        note("note: no mesh runs on this machine")
    if stop_if_started(cas_directory(), lambda key: engine.find({CAS_KEY: key})):
        result("embedded CAS: stopped")
