"""The mounts of this process, as the kernel tells them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sconectl.runtime.log import LaunchRefused

_OCTAL = re.compile(r"\\([0-7]{3})")
"""How mountinfo writes blanks, tabs, newlines and backslashes."""


@dataclass(frozen=True)
class Mount:
    """One mount: where it is, its device (`major:minor`, as in `st_dev`), kind and source of its file system."""

    point: str
    device: str
    kind: str
    source: str = ""


def mounts(text: str | None = None) -> list[Mount]:
    """Return all mounts in `text`, or else in /proc/self/mountinfo. Raises `LaunchRefused` if that cannot be read."""
    try:
        if text is None:
            text = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
        return [_mount(line) for line in text.split("\n") if line]
    except (OSError, IndexError) as error:
        raise LaunchRefused("the mounts of the container cannot be read", causes=("is /proc mounted?",)) from error


def _mount(line: str) -> Mount:
    fields = line.split(" ")
    after = fields.index("-", 6) if "-" in fields[6:] else len(fields)
    source = fields[after + 2] if after + 2 < len(fields) else ""
    return Mount(_OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4]), fields[2], fields[after + 1], source)
