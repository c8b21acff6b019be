"""The class path of a Java program.

In: a command line as it is written, and the entries. Out: the command line with the class path, if it has none.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

_JAVA = re.compile(r"(?<!\S)(?:\S*/)?java(?!\S)")
_OWN = ("-cp", "-classpath", "--class-path", "-jar")


def with_class_path(command: str, entries: Sequence[str]) -> str:
    """Return the command with the class path directly behind the word `java`.

    It stays as it is if there is no such word, or if an option before the main class says what to run.
    """
    words = shlex.split(command)
    number = next((n for n, word in enumerate(words) if word.rpartition("/")[2] == "java"), None)
    if number is None or _has_own(words[number + 1 :]):
        return command
    added = ["-cp", ":".join(entries)]
    for match in _JAVA.finditer(command):
        text = f"{command[: match.end()]} {shlex.join(added)}{command[match.end() :]}"
        # The text is kept as it is written, since placeholders in it are filled in later.
        if shlex.split(text) == [*words[: number + 1], *added, *words[number + 1 :]]:
            return text
    return command


def main_class(command: str) -> str:
    """Return the first word behind `java` that is no option, or nothing."""
    words = shlex.split(command)
    number = next((n for n, word in enumerate(words) if word.rpartition("/")[2] == "java"), len(words))
    return next((word for word in words[number + 1 :] if not word.startswith("-")), "")


def _has_own(words: Sequence[str]) -> bool:
    for word in words:
        if word in _OWN or word.startswith("--class-path="):
            return True
        if not word.startswith("-"):
            return False
    return False
