"""`sconectl ps`: the services that run on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sconectl.cli.output.console import note, result
from sconectl.errors import UsageError

if TYPE_CHECKING:
    from sconectl.ports import Containers, ContainerState

_HEAD = ("RELEASE", "SERVICE", "CONTAINER", "STATE", "PORTS")


def ps(
    release: Annotated[str, typer.Option(metavar="NAME", help="The release.", show_default="all of them")] = "",
    output: Annotated[str, typer.Option(metavar="FORM", help="text or json.")] = "text",
) -> None:
    """Show the services that run on this machine: how they are, and where."""
    if output not in ("text", "json"):
        raise UsageError(f"{output} is not a form of output", hint="give --output text or --output json")
    from sconectl.artefacts.local.containers import RELEASE
    from sconectl.cli.wiring import Wiring
    from sconectl.usecases.local.up import is_service

    engine = Wiring().containers
    found = [_row(state, engine) for state in engine.find({RELEASE: release or None}) if is_service(state)]
    if output == "json":
        result(json.dumps({"services": found}, indent=2))
        return
    if not found:
        note("note: no mesh runs on this machine")
        return
    rows = [_HEAD, *((r["release"], r["service"], r["container"], r["text"], ", ".join(_places(r))) for r in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        result("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _places(row: dict[str, Any]) -> list[str]:
    return [f"{place}->{port}" for port, place in row["ports"].items()]


def _row(state: ContainerState, engine: Containers) -> dict[str, Any]:
    from sconectl.artefacts.local.containers import IMAGE, MESH, RELEASE, SERVICE
    from sconectl.usecases.local.health import condition

    found = condition(state, engine)
    return {
        "mesh": state.labels.get(MESH, ""),
        "release": state.labels[RELEASE],
        "service": state.labels.get(SERVICE, ""),
        "container": state.name,
        "image": state.labels.get(IMAGE, ""),
        "state": found.word,
        "text": found.text,
        "exit_code": found.exit_code,
        "restarts": state.restarts,
        "ports": {str(port): place for port, place in sorted(state.ports.items())},
    }
