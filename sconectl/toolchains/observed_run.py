"""Runs a native image once under observation, to learn which files its program uses.

In: an engine, an image, and the launcher's layer (for its Python). Out: a log in the form of `strace -f`. Image and
container of the run are removed whatever happens. Raises `BuildFailed`.
"""

from __future__ import annotations

import json
import secrets
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from sconectl.errors import BuildFailed
from sconectl.ports import ImageEngine, Progress
from sconectl.toolchains.launcher_bundle import ENTRYPOINT, Bundle
from sconectl.toolchains.native_build import add_file

_TRACER = Path(__file__).with_name("tracer.py")
_GRACE = 60
"""Seconds that starting and ending a container may take."""


def observe(
    engine: ImageEngine, native: str, command: Sequence[str], bundle: Bundle, seconds: int, detail: Progress
) -> str:
    """Return the log of a run of `command` in image `native` (a valid reference) that is ended after `seconds`."""
    tag = f"sconectl-trace:{secrets.token_hex(8)}"  # of this run alone: it is removed at its end
    entry = [*ENTRYPOINT[:-1], "/scone/tracer.py", str(seconds), *command]
    dockerfile = f"FROM {native}\nADD launcher.tar /\nADD tracer.tar /\nENTRYPOINT {json.dumps(entry)}\nCMD []\n"
    with tempfile.TemporaryFile() as context:
        with tempfile.TemporaryFile() as tracer, tarfile.open(fileobj=context, mode="w") as tar:
            with tarfile.open(fileobj=tracer, mode="w") as inner:
                add_file(inner, "scone/tracer.py", _TRACER.read_bytes())
            tracer.seek(0)
            add_file(tar, "Dockerfile", dockerfile.encode())
            add_file(tar, "tracer.tar", tracer.read())
            tar.add(bundle.layer.file(), "launcher.tar")
        context.seek(0)
        try:
            engine.build(cast(BinaryIO, context), tag, detail, temporary=True)
            output = engine.run(tag, capabilities=["SYS_PTRACE"], seconds=seconds + _GRACE, progress=detail)
        finally:
            engine.remove(tag)
    text = output.decode("utf-8", "surrogateescape")
    if not text.strip():
        raise BuildFailed(
            f"nothing was seen while {native} was run under observation",
            hint="give a log of strace instead, with --trace FILE",
        )
    return text
