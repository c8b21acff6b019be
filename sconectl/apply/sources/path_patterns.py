"""Patterns over relative paths, in the language of `.dockerignore`; `copy` uses the same one.

In: patterns as text. Out: what they match. Raises `ValueError` for a pattern that cannot be understood.

`*` and `?` stay within one part of a path, `**` is any number of whole parts, `[a-z]` and `[^a-z]` are one character,
and a backslash takes the meaning away from what follows. A leading dot is a character like any other.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

_CLASS = re.compile(r"\[(\^?+)((?:\\.|[^\\\]])+)\]", re.DOTALL)


def is_pattern(text: str) -> bool:
    """Say whether a text can match more than the path that it spells."""
    return not {"*", "?", "["}.isdisjoint(text)


def fixed_folder(pattern: str) -> str:
    """Return the folder that everything the pattern matches is in, `.` for the top."""
    parts = posixpath.normpath(pattern).split("/")
    fixed = next(number for number, part in enumerate([*parts, "*"]) if is_pattern(part) or "\\" in part)
    return "/".join(parts[: min(fixed, len(parts) - 1)]) or "."


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return an expression that matches each path that the pattern names, and nothing else."""
    return re.compile(_expression(pattern) + r"\Z", re.DOTALL)


def _expression(pattern: str) -> str:
    found, at = "", 0
    while at < len(pattern):
        character = pattern[at]
        if pattern.startswith("**", at):
            at += 2
            at += pattern.startswith("/", at)
            found += ".*" if at == len(pattern) else "(?:.*/)?"
            continue
        if character == "[":
            match = _CLASS.match(pattern, at)
            if not match:
                raise ValueError("a bracket is not closed, or empty")
            found += f"(?!/)[{match[1]}{_class_members(match[2])}]"
            at = match.end()
            continue
        if character == "\\":
            at += 1
            if at == len(pattern):
                raise ValueError("nothing follows the backslash at the end")
            found += re.escape(pattern[at])
        else:
            found += {"*": "[^/]*", "?": "[^/]"}.get(character) or re.escape(character)
        at += 1
    return found


def _class_members(text: str) -> str:
    tokens = re.findall(r"\\.|.", text, re.DOTALL)
    characters = [token[-1] for token in tokens]
    members, at = "", 0
    while at < len(tokens):
        first = characters[at]
        if tokens[at + 1 : at + 2] == ["-"] and at + 2 < len(tokens):
            last = characters[at + 2]
            if last < first:
                raise ValueError(f"{first}-{last} is not a range")
            members += f"{re.escape(first)}-{re.escape(last)}"
            at += 3
        else:
            members += re.escape(first)
            at += 1
    return members


@dataclass(frozen=True)
class IgnoreRules:
    """The rules of a `.dockerignore`: the last one that matches a path or a folder above it decides."""

    rules: tuple[tuple[re.Pattern[str], bool], ...] = ()

    @property
    def prunable(self) -> bool:
        """Whether nothing below an ignored directory can be taken back."""
        return all(ignored for _, ignored in self.rules)

    def ignore(self, path: str) -> bool:
        """Say whether a path (relative, normalised) is to be left out."""
        for expression, ignored in reversed(self.rules):
            if expression.match(path):
                return ignored
        return False


def ignore_rule(line: str) -> tuple[re.Pattern[str], bool] | None:
    """Return the rule of one line, or None if it has none (blank, comment, the top itself)."""
    if line.startswith("#"):
        return None
    text = line.strip()
    ignored = not text.startswith("!")
    text = posixpath.normpath(text.removeprefix("!").strip() or ".").lstrip("/") or "."
    if text == ".":
        return None
    return re.compile(_expression(text) + r"(?:/.*)?\Z", re.DOTALL), ignored
