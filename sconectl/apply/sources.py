"""Reads the files that a service manifest names, without ever leaving the manifest's directory."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from pathlib import Path

from sconectl.errors import PlanImpossible
from sconectl.findings import Finding
from sconectl.plan.service import ServicePlan
from sconectl.toolchains.native_build import CopiedFile
from sconectl.yaml_tree import Document, show_path
from sconectl.yaml_tree import Path as FieldPath

_UNREADABLE = ("it may not be read", "check its permissions")
_RELATIVE = "make it relative, or replace it by its content"


def copied_files(plan: ServicePlan, directory: Path, document: Document) -> tuple[CopiedFile, ...]:
    """Return every file that `copy` names, with its place in the image, sorted by place.

    Raises `PlanImpossible` with a finding for each entry that is missing, leads out of `directory`, or is not a
    file, directory or link.
    """
    found: dict[str, CopiedFile] = {}
    findings: list[Finding] = []

    def fault(path: FieldPath, problem: tuple[str, str]) -> None:
        findings.append(Finding("error", "SC1005", document.position(path), show_path(path), *problem))

    for number, name in enumerate(plan.copied):
        problem = _problem(directory, directory / name)
        if problem:
            fault(("build", "copy", number), problem)
            continue
        for file in _collect(directory / name, posixpath.normpath(posixpath.join(plan.pwd, name))):
            found[file.path] = file
    if plan.requirements and (problem := _problem(directory, directory / plan.requirements, file_only=True)):
        fault(("build", "requirements"), problem)
    if findings:
        raise PlanImpossible("files that the manifest names cannot be used", findings=findings)
    return tuple(found[path] for path in sorted(found))


def _problem(directory: Path, path: Path, *, file_only: bool = False) -> tuple[str, str] | None:
    root = directory.resolve()
    if not _inside(root, path):
        return "the path leads out of the manifest's directory", "copy the file there"
    if not path.exists():
        if set(path.name) & set("*?["):
            return "there is no such file; patterns are not supported", "name each file, or the directory"
        return "there is no such file", f"paths are relative to the manifest's directory, {root}"
    if path.is_dir() and not file_only:
        return next((problem for inner in sorted(path.rglob("*")) if (problem := _problem_in(root, inner))), None)
    if not path.is_file():
        return "expected a file" if file_only else "this is not a file, directory or link", ""
    return None if os.access(path, os.R_OK) else _UNREADABLE


def _problem_in(root: Path, inner: Path) -> tuple[str, str] | None:
    if not _inside(root, inner):
        return "a link in the directory leads out of the manifest's directory", "replace it by its content"
    if inner.is_symlink():
        absolute = inner.readlink().is_absolute()
        return ("a link in the directory is absolute, and leads nowhere in the image", _RELATIVE) if absolute else None
    if not (inner.is_dir() or inner.is_file()):
        return "the directory holds something that is not a file, directory or link", ""
    return None if os.access(inner, os.R_OK) else _UNREADABLE


def _inside(root: Path, path: Path) -> bool:
    """Say whether `path`, with all links followed, is below `root`; a circle of links is nowhere."""
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def _mode(path: Path) -> int:
    """Return the mode in the image: readable for everybody, so that the umask of a checkout makes no difference."""
    return 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644


def _collect(path: Path, place: str) -> Iterator[CopiedFile]:
    if not path.is_dir():
        yield CopiedFile(place, _mode(path), path.resolve())
        return
    yield CopiedFile(place, 0o755)
    for inner in sorted(path.iterdir()):
        if inner.is_symlink():
            yield CopiedFile(posixpath.join(place, inner.name), 0o777, link=str(inner.readlink()))
        else:
            yield from _collect(inner, posixpath.join(place, inner.name))
