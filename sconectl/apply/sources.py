"""Reads the files that a service manifest names, without ever leaving the manifest's directory."""

from __future__ import annotations

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
        for file in _collect(directory / name, posixpath.join(plan.pwd, name)):
            found[file.path] = file
    if plan.requirements and (problem := _problem(directory, directory / plan.requirements)):
        fault(("build", "requirements"), problem)
    if findings:
        raise PlanImpossible("files that the manifest names cannot be used", findings=findings)
    return tuple(found[path] for path in sorted(found))


def _problem(directory: Path, path: Path) -> tuple[str, str] | None:
    root = directory.resolve()
    if not path.resolve().is_relative_to(root):
        return "the path leads out of the manifest's directory", "copy the file there"
    if not path.exists():
        return "there is no such file", f"paths are relative to the manifest's directory, {root}"
    if path.is_dir():
        for inner in path.rglob("*"):
            if not inner.resolve().is_relative_to(root):
                return "a link in the directory leads out of the manifest's directory", "replace it by its content"
            if not (inner.is_dir() or inner.is_file() or inner.is_symlink()):
                return "the directory holds something that is not a file, directory or link", ""
    return None


def _collect(path: Path, place: str) -> Iterator[CopiedFile]:
    mode = stat.S_IMODE(path.lstat().st_mode) & 0o755
    if path.is_symlink() and not path.is_dir():
        yield CopiedFile(place, stat.S_IMODE(path.stat().st_mode) & 0o755, path.resolve())
    elif path.is_dir():
        yield CopiedFile(place, 0o755)
        for inner in sorted(path.iterdir()):
            if inner.is_symlink():
                yield CopiedFile(posixpath.join(place, inner.name), 0o777, link=str(inner.readlink()))
            else:
                yield from _collect(inner, posixpath.join(place, inner.name))
    else:
        yield CopiedFile(place, mode | 0o044, path)
