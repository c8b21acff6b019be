"""The class path of a Java program.

In: a command line, and the entries. Out: the command line with the class path, if it has none.
"""

from __future__ import annotations

from collections.abc import Sequence

from sconectl.manifest.model.fields import CommandLine

_OWN = ("-cp", "-classpath", "--class-path", "-jar")


def with_class_path(command: CommandLine, entries: Sequence[str]) -> CommandLine:
    """Return the command with the class path directly behind the word `java`.

    It stays as it is if there is no such word, or if an option before the main class says what to run.
    """
    arguments = _behind_java(command)
    if arguments is None or _has_own(arguments):
        return command
    java = command.words[: len(command.words) - len(arguments)]
    return CommandLine.of([*java, "-cp", ":".join(entries), *arguments])


def main_class(command: CommandLine) -> str:
    """Return the first word behind `java` that is no option, or nothing."""
    return next((word for word in _behind_java(command) or () if not word.startswith("-")), "")


def _behind_java(command: CommandLine) -> Sequence[str] | None:
    number = next((n for n, word in enumerate(command.words) if word.rpartition("/")[2] == "java"), None)
    return None if number is None else command.words[number + 1 :]


def _has_own(words: Sequence[str]) -> bool:
    for word in words:
        if word in _OWN or word.startswith("--class-path="):
            return True
        if not word.startswith("-"):
            return False
    return False
