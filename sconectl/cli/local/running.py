"""Which mesh of this machine a command is about.

In: the release that was named, or none. Out: the release: the only one that runs, if none was named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.errors import UsageError

if TYPE_CHECKING:
    from sconectl.ports import Containers

Release = Annotated[str, typer.Option(metavar="NAME", help="The release.", show_default="the only one on this machine")]


def chosen(release: str, engine: Containers) -> str:
    """Return the release that is meant, "" if none runs. Raises `UsageError` if there are several."""
    from sconectl.usecases.local.down import releases

    if release:
        return release
    found = releases(engine)
    if len(found) > 1:
        raise UsageError(f"several meshes run on this machine: {', '.join(found)}", hint="choose one with --release")
    return found[0] if found else ""
