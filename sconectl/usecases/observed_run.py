"""Runs a native image once under observation, to learn which files its program uses.

In: an engine, an image, and the launcher's layer (for its Python). Out: a log in the form of `strace -f`. The container
of the run is removed whatever happens; no image is built, so that nothing of it (like ONBUILD) runs. Raises
`BuildFailed`.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from sconectl.errors import BuildFailed
from sconectl.image.build.native_build import add_file
from sconectl.image.observe import tracer
from sconectl.ports import ImageEngine, Progress
from sconectl.toolchains.interface import Launcher

_TRACER = Path(tracer.__file__)
_GRACE = 60
"""Seconds that starting and ending a container may take."""


def observe(
    engine: ImageEngine,
    native: str,
    command: Sequence[str],
    launcher: Launcher,
    interpreter: Sequence[str],
    seconds: int,
    detail: Progress,
) -> str:
    """Return the log of a run of `command` in the image with id `native` that is ended after `seconds`."""
    entry = [*interpreter, "/scone/tracer.py", str(seconds), *command]
    with tempfile.TemporaryFile() as tracer, launcher.layer.file().open("rb") as layer:
        with tarfile.open(fileobj=tracer, mode="w") as tar:
            add_file(tar, "scone/tracer.py", _TRACER.read_bytes())
        tracer.seek(0)
        output = engine.run(
            native,
            entry,
            [layer, cast(BinaryIO, tracer)],
            capabilities=["SYS_PTRACE"],
            seconds=seconds + _GRACE,
            progress=detail,
        )
    text = output.decode("utf-8", "surrogateescape")
    if not text.strip():
        raise BuildFailed(
            f"nothing was seen while {native} was run under observation",
            hint="give a log of strace instead, with --trace FILE",
        )
    return text
