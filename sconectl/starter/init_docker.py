"""Reads from a Dockerfile how its image runs: the command line and the working directory.

In: its text. Out: an `Image`. Only the last stage counts; what variables decide is left open.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from dataclasses import dataclass

_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)\s+(.*)", re.DOTALL)
_SHELL_SYNTAX = frozenset("$&|;<>(){}*?`~#\\\n")


@dataclass(frozen=True)
class Image:
    """How an image runs; empty where the Dockerfile does not say."""

    command: str
    pwd: str


def image_of_dockerfile(text: str) -> Image:
    """Read a Dockerfile."""
    entry: list[str] = []
    arguments: list[str] = []
    pwd = ""
    for name, rest in _instructions(text):
        if name == "FROM":
            entry, arguments, pwd = [], [], ""
        elif name == "ENTRYPOINT":
            entry, arguments = _words(rest), []
        elif name == "CMD":
            arguments = _words(rest)
        elif name == "WORKDIR":
            pwd = "" if "$" in rest else posixpath.normpath(posixpath.join("/", pwd, rest.strip().strip("\"'")))
    return Image(shlex.join([*entry, *arguments]), pwd)


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\[ \t]*\n", " ", "\n".join(lines))
    matches = (_INSTRUCTION.match(line) for line in joined.split("\n"))
    return [(match[1].upper(), match[2]) for match in matches if match]


def _words(rest: str) -> list[str]:
    """Return the words of a command: a JSON list as it is, a line the way the shell of the image takes it."""
    try:
        words = json.loads(rest)
    except ValueError:
        words = None
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return words
    line = rest.strip()
    try:
        return ["/bin/sh", "-c", line] if _SHELL_SYNTAX & set(line) else shlex.split(line)
    except ValueError:  # a quote that is open; the shell of the image will say so, too
        return ["/bin/sh", "-c", line]
