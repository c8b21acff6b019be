"""`sconectl schema`: the JSON Schema of a kind of manifest, for editors and other tools.

In: a kind. Out: the published schema on stdout or in a file; it was generated from the models, and is only read here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sconectl.cli.output.console import result
from sconectl.cli.output.printable import shown
from sconectl.errors import UsageError

KINDS = ("genservice", "mesh", "session")


def schema(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="genservice, mesh or session.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there, not to stdout.")
    ] = None,
) -> None:
    """Print the JSON Schema (2020-12) of a kind of manifest, or of sessions.

    An editor that knows it completes fields, explains them and marks mistakes:
    sconectl schema genservice -o service.schema.json
    """
    from sconectl import assets

    if kind not in KINDS:
        from sconectl.manifest.model.faults import did_you_mean

        hint = did_you_mean(kind, KINDS) or f"there are schemas for {', '.join(KINDS)}"
        raise UsageError(f"{shown(kind)} is not a kind of manifest", hint=hint)
    text = assets.read(f"schemas/{kind}.json").decode()
    if output is None:
        result(text.rstrip("\n"))
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}", hint="name a file that can be written: -o FILE") from error
    result(f"{shown(str(output))}: written")
