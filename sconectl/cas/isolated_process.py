"""How the server is started as a process of its own: it has the master key, so nobody else's code may load into it.

In: a line of Python and its arguments. Out: the words of the command, and its environment.
"""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path

from sconectl.cas.keys.master_key import VARIABLE


def isolated(program: str, *arguments: str | Path) -> list[str]:
    """Return the words that start this Python for the line `program`.

    Neither the working directory nor a PYTHON… variable adds a place to import from (-I). Where that leaves out the
    place of our own package, it is looked at last.
    """
    places = [str(Path(__file__).resolve().parents[2])]
    if site.ENABLE_USER_SITE and site.getusersitepackages() in sys.path:
        places.append(site.getusersitepackages())
    begin = (
        f"import sys; sys.argv[0] = 'sconectl'; sys.path += [place for place in {places!r} if place not in sys.path]"
    )
    return [sys.executable, "-I", "-c", f"{begin}; {program}", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Return the environment of a server that has another working directory than the process that starts it."""
    kind, colon, path = os.environ.get(VARIABLE, "").partition(":")
    moved = {VARIABLE: f"file:{Path(path).absolute()}"} if kind == "file" and colon and path else {}
    return {**os.environ, **moved}
