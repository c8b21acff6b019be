"""`sconectl measure`: computes the measurement of an image anew from its files, on any machine.

In: an image of the container engine, or a file that `docker save` wrote. Out: the measurement on stdout if the image is
what it says; else what differs on stderr, and `Refused`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.output.console import note, result
from sconectl.cli.output.printable import shown
from sconectl.cli.session.session_access import Format, one_of
from sconectl.errors import BuildFailed, Refused

if TYPE_CHECKING:
    from sconectl.usecases.measure import Comparison

_SHOWN = 20


def measure(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE|FILE", help="An image of the container engine, or an archive of one.")
    ],
    output: Format = "text",
) -> None:
    """Measure an image's files, and compare with what the image says about itself.

    Prints the measurement, 64 hex digits, if everything agrees; else ends with
    exit code 7. An archive (docker save -o FILE IMAGE) needs no engine.
    """
    from sconectl.cli.wiring import DEFAULT_TOOLCHAIN, Wiring, cache_directory, toolchains
    from sconectl.usecases.measure import ArchiveFile, compare

    one_of("--output", output, ("text", "json"))
    toolchain = toolchains()[DEFAULT_TOOLCHAIN]
    file = Path(image)
    if file.is_file():
        archive = ArchiveFile(file)
        found = compare(image, archive.info(), archive, cache_directory(), toolchain)
    else:
        engine = Wiring().engine
        info = engine.inspect(image)
        if info is None:
            hint = f"docker pull {image}, or give a file that `docker save` has written"
            raise BuildFailed(f"the container engine has no image {image}, and there is no such file", hint=hint)
        found = compare(image, info, engine, cache_directory(), toolchain)
    if output == "json":
        result(json.dumps(_document(found), indent=2))
    if found.wrong:
        for line in found.wrong[:_SHOWN]:
            note(f"  {shown(line)}")
        if len(found.wrong) > _SHOWN:
            note(f"  and {len(found.wrong) - _SHOWN} more (all: --output json)")
        raise Refused(f"{image} is not what it says", hint="pull or build it again; do not run it")
    if output == "text":
        result(found.measured.found)


def _document(found: Comparison) -> dict[str, object]:
    signed = found.measured.signed
    return {
        "measurement": found.measured.found,
        "agrees": not found.wrong,
        "expected": found.measured.expected,
        "parameters": dict(found.measured.parameters),
        "signer": signed and {"mrsigner": signed.mrsigner, "isvprodid": signed.isvprodid, "isvsvn": signed.isvsvn},
        "changes": [{"kind": change.kind, "path": change.path} for change in found.measured.changes],
        "wrong": list(found.wrong),
    }
