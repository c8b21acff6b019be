"""`sconectl signer info`: by which MRSIGNER policies name who signs enclaves.

In: a key, an image, or nothing for the key of this machine. Out: the lines that `scone-signer info` prints for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sconectl.cli.output.console import result
from sconectl.errors import PlanImpossible, UsageError

signer_app = typer.Typer(no_args_is_help=True, help="Who signs confidential images.")


@signer_app.callback()
def _group() -> None:
    """Who signs confidential images."""


@signer_app.command("info")
def info(
    image: Annotated[str, typer.Argument(metavar="[IMAGE]", help="A signed image, in the engine or a registry.")] = "",
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="A signing key.", show_default="your own")] = None,
) -> None:
    """Print the MRSIGNER of a signing key, or what an image's label says.

    Your own key is drawn when it is first needed, here or by `apply`. Whether an
    image is signed as its label says, `sconectl measure` checks.
    """
    from sconectl.apply.inspect import find_image
    from sconectl.apply.signing import load_signing_key
    from sconectl.cli.wiring import Wiring
    from sconectl.plan.facts.image_label import ImageLabel
    from sconectl.protect.signature import mrsigner_of

    wiring = Wiring()
    if not image:
        result(f"MRSIGNER: {mrsigner_of(load_signing_key(key) if key else wiring.keys.signing_key())}")
        return
    if key:
        raise UsageError("give an image or a key, not both")
    _, found = find_image(image, engine=lambda: wiring.engine, registry=lambda: wiring.registry)
    signer = ImageLabel.read(image, found.labels).signer
    if signer is None:
        raise PlanImpossible(f"{image} is not signed", hint="give its service manifest `signature: {}` in build")
    result(f"MRSIGNER: {signer.mrsigner}")
    result(f"ISV Product ID: {signer.isvprodid}")
    result(f"ISV SVN: {signer.isvsvn}")
