"""Reads a pip requirements file and those that it includes.

In: the manifest's directory and the name of the file. Out: `Requirements`. Raises `PlanImpossible` with a finding for
whatever a build could not find, and for credentials, which would stay in the engine's cache.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sconectl.apply.sources.source_tree import resolve
from sconectl.errors import BuildFailed, PlanImpossible
from sconectl.image.build.source_files import SourceFiles, show_name
from sconectl.text.findings import Finding, Position
from sconectl.text.yaml_tree import Document, show_path

_FIELD = ("build", "requirements")
_MAX_FILES = 100
_MAX_SIZE = 4 << 20
_OPTION = re.compile(
    r"(?P<name>-[a-zA-Z](?=\s|=|$)|--[a-z-]+|-[rcefi])\s*=?\s*(?P<value>\S*)",
)
_INCLUDES = ("-r", "--requirement", "-c", "--constraint")
_COMMENT = re.compile(r"(^|\s+)#.*$")
_CREDENTIALS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://[^/\s@]+@", re.IGNORECASE)
_ARCHIVE = re.compile(r"\.(whl|zip|tar|tar\.(gz|bz2|xz)|tgz)\Z", re.IGNORECASE)
_LOCAL = "name it in `copy`, and install it in `run`"


@dataclass(frozen=True)
class Requirements:
    """Requirements files by path relative to the manifest's directory; `main` is the one that the manifest names."""

    main: str
    files: Mapping[str, bytes]


def read_requirements(name: str, directory: Path, document: Document) -> Requirements:
    """Return the file and all that it includes."""
    reader = _Reader(str(directory.resolve()))
    field = Position(*_position(document))
    reader.read(name, field, show_path(_FIELD))
    if reader.findings:
        raise PlanImpossible("the requirements cannot be used", findings=reader.findings)
    return Requirements(name, reader.files)


def _position(document: Document) -> tuple[str, int, int]:
    position = document.position(_FIELD)
    return position.file, position.line, position.column


class _Reader:
    """Reads files and collects their faults."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.files: dict[str, bytes] = {}
        self.findings: list[Finding] = []

    def read(self, name: str, asked_at: Position, field: str) -> None:
        """Read a file and the files that it includes; `asked_at` and `field` are where it is named."""
        if name in self.files:
            return
        problem = self._load(name) if len(self.files) < _MAX_FILES else "includes too many files"
        if problem:
            self._fault(asked_at, f"{show_name(name)} {problem}", "paths stay in the manifest's directory", field)
            return
        shown = show_name(f"{self.root}/{name}")
        for number, line in _lines(self.files[name].decode("utf-8", "replace")):
            self._line(name, line, Position(shown, number, 1))

    def _load(self, name: str) -> str:
        """Read one file; return its faults."""
        try:
            with (
                SourceFiles() as files,
                os.fdopen(files.open(f"{self.root}/{resolve(self.root, name)}", None), "rb") as file,
            ):
                content = file.read(_MAX_SIZE + 1)
        except ValueError as error:
            return str(error)
        except BuildFailed as error:
            missing = isinstance(error.__cause__, FileNotFoundError)
            return "does not exist" if missing else "may not be read" if error.__cause__ else "is not a file"
        if len(content) > _MAX_SIZE:
            return "is larger than 4 MiB"
        self.files[name] = content
        return ""

    def _line(self, name: str, line: str, position: Position) -> None:
        if any(match["scheme"].lower() not in ("ssh", "git+ssh") for match in _CREDENTIALS.finditer(line)):
            hint = "give the index or repository without credentials"
            self._fault(position, "the URL holds credentials, which would stay in the engine's cache", hint)
            return
        option = _OPTION.match(line)
        if option and option["name"] in _INCLUDES:
            self._include(name, option["value"].strip("'\""), position)
        elif option and option["name"] in ("-e", "--editable"):
            self._fault(position, "projects cannot be installed in place", _LOCAL)
        elif option and option["name"] in ("-f", "--find-links") and not re.match(r"https?://", option["value"]):
            self._fault(position, "a build does not find the directories of this machine", "give a URL")
        elif not option and _is_local(line):
            self._fault(position, "a build does not find the files of this machine", _LOCAL)

    def _include(self, name: str, target: str, position: Position) -> None:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        if not target or "://" in target or target.startswith("/") or path.split("/")[0] == "..":
            self._fault(position, "only files in the manifest's directory can be included", "keep a copy there")
        else:
            self.read(path, position, "")

    def _fault(self, position: Position, message: str, hint: str, field: str = "") -> None:
        self.findings.append(Finding("error", "SC1005", position, field, message, hint))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the logical lines that say something, with the number of their first line."""
    pending, start = "", 0
    for number, line in enumerate([*text.removeprefix("\ufeff").splitlines(), ""], 1):
        start = start or number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            pending += line[:-1]
            continue
        whole = _COMMENT.sub("", pending + line).strip()
        if whole:
            yield start, whole
        pending, start = "", 0


def _is_local(line: str) -> bool:
    first = re.split(r"[\s;]", line, maxsplit=1)[0]
    if re.search(r"(^|[\s@])file:", line):
        return True
    if "://" in line:
        return False
    return first.startswith(".") or "/" in first or bool(_ARCHIVE.search(first.partition("[")[0]))
