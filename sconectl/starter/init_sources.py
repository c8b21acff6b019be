"""The source files of a program, the variables that they read, and the files beside them that they name.

In: a directory. Out: sorted values. Links and large files are left out: nobody asked to follow them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sconectl.plan.advice.credentials import names_a_credential

SKIPPED_FOLDERS = frozenset(
    {"__pycache__", "build", "charts", "dist", "docs", "env", "node_modules", "out", "target", "test", "tests", "venv"}
)
_SUFFIXES = (".py", ".java")
_DATA_SUFFIXES = frozenset(
    {".cfg", ".conf", ".css", ".csv", ".html", ".ini", ".js", ".json", ".properties", ".sql", ".toml", ".txt", ".xml"}
)
_MAX_FILES = 500
_MAX_DEPTH = 8
_MAX_BYTES = 1 << 20
_READ = re.compile(
    r"""(?:\benviron\s*(?:\.\s*get\s*\(|\[)|\bgetenv\s*\()\s*["']([A-Za-z_][A-Za-z0-9_]*)["']"""
    r"""(?:\s*,\s*(?:"([^"\\\n$]*)"|'([^'\\\n$]*)')\s*\))?"""
)
_OF_THE_SYSTEM = frozenset(
    "HOME HOSTNAME LANG LOGNAME PATH PWD PYTHONPATH SHELL TEMP TERM TMP TMPDIR TZ USER".split()
)  # fmt: skip
_HARMLESS = re.compile(
    r"(?i:[a-z][a-z0-9+.-]*://(?![^/\s]*:[^/\s]*@)\S+"  # a URL without a password
    r"|(?:\.{0,2}|~)/[^\s]*|[a-z]:[\\/]\S*|[\w.-]+(?:/[\w.-]+)+|[\w-]+\.(?:pem|key|crt|cer|p12|pfx|jks|json|ya?ml|txt|env)"
    r"|[+-]?[0-9]+(?:\.[0-9]+)?(?:[a-z%]{1,3})?"
    r"|true|false|yes|no|on|off|none|null)\Z"
)
"""Defaults that are paths, URLs, numbers or flags, whatever the variable is called."""


@dataclass(frozen=True)
class Variable:
    """A variable that a program reads; `default` is the value that the program uses without it, None if it has none."""

    name: str
    default: str | None

    @property
    def is_secret(self) -> bool:
        """Whether its value is a credential: its name says so, and its default is no harmless value."""
        return names_a_credential(self.name) and not _HARMLESS.match(self.default or "")


def is_plain(path: Path, *, folder: bool = False) -> bool:
    """Say whether `path` is a file (or a folder), no link, and has a name that a manifest may hold as it is."""
    if "$" in path.name or "{{" in path.name or not path.name.isprintable():
        return False
    return not path.is_symlink() and (path.is_dir() if folder else path.is_file())


def sources(directory: Path) -> tuple[Path, ...]:
    """Return the Python and Java files below `directory`, those at the top first, at most 500."""
    found: list[Path] = []
    for path in _files(directory, 0):
        if len(found) == _MAX_FILES:
            break
        if path.suffix in _SUFFIXES and path.stat().st_size <= _MAX_BYTES:
            found.append(path)
    return tuple(found)


def _files(folder: Path, depth: int) -> Iterator[Path]:
    entries = sorted(folder.iterdir())
    yield from (path for path in entries if is_plain(path))
    if depth < _MAX_DEPTH:
        for path in entries:
            if is_plain(path, folder=True) and path.name not in SKIPPED_FOLDERS and path.name[0] != ".":
                yield from _files(path, depth + 1)


def variables(files: Iterable[Path]) -> tuple[Variable, ...]:
    """Return the variables that the files read by their literal names, without those of the system, by name."""
    found: dict[str, Variable] = {}
    for file in files:
        for match in _READ.finditer(file.read_text("utf-8", "replace")):
            name, default = match[1], match[2] if match[2] is not None else match[3]
            if name in _OF_THE_SYSTEM or name.startswith("SCONE_") or "{{" in (default or ""):
                continue
            if name not in found or found[name].default is None:
                found[name] = Variable(name, default)
    return tuple(found[name] for name in sorted(found))


def mentions(directory: Path, files: Iterable[Path]) -> tuple[str, ...]:
    """Return the data files and folders at the top of `directory` whose names stand in quotes in a source."""
    text = "\n".join(file.read_text("utf-8", "replace") for file in files)
    taken = {file.relative_to(directory).parts[0] for file in files}
    return tuple(
        path.name
        for path in sorted(directory.iterdir())
        if path.name not in taken
        and (
            (is_plain(path) and path.suffix in _DATA_SUFFIXES)
            or (is_plain(path, folder=True) and path.name not in SKIPPED_FOLDERS and path.name[0] != ".")
        )
        and re.search(rf"""["'](?:\./)?{re.escape(path.name)}["'/]""", text)
    )
