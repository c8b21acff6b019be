"""Reads the files that a mesh names beside its images: templates, secrets, variables and charts of its services.

In: a mesh and the directory that its paths are relative to. Out: `ServiceFiles` by service.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from sconectl.errors import PlanImpossible
from sconectl.manifest.model.mesh import Mesh, MeshService
from sconectl.plan.mesh.mesh_input import GivenFile, ServiceFiles
from sconectl.regular_files import first_bytes
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import MAX_BYTES, Document
from sconectl.text.yaml_tree import Path as FieldPath

_SURROGATE = re.compile("[\ud800-\udfff]")
MAX_CHART_FILES = 1000
MAX_CHART_BYTES = 4 << 20
_HINT = "the path is relative to the manifest's directory"


def read_service_files(mesh: Mesh, document: Document, directory: Path) -> dict[str, ServiceFiles]:
    """Return the files that services of the mesh name. Raises `PlanImpossible` with every one that cannot be read."""
    reader = _Reader(document, directory)
    found = {
        service.name: reader.of(service, number)
        for number, service in enumerate(mesh.services)
        if service.image_policy or service.image_secrets or service.env or service.helm_chart
    }
    if reader.findings:
        raise PlanImpossible("a file that the manifest names cannot be used", findings=reader.findings)
    return found


def read_extra_policies(
    mesh: Mesh, document: Document, directory: Path, mode: str
) -> tuple[tuple[int, GivenFile], ...]:
    """Return the files of `extra_policies` for meshes in `mode`, with their places. Raises `PlanImpossible`."""
    reader = _Reader(document, directory)
    found = [
        (number, reader.file(entry.name, ("extra_policies", number, "name")))
        for number, entry in enumerate(mesh.extra_policies)
        if entry.mode in (None, mode)
    ]
    if reader.findings:
        raise PlanImpossible("a file that the manifest names cannot be used", findings=reader.findings)
    return tuple((number, file) for number, file in found if file is not None)


def check_signing_key(mesh: Mesh, document: Document, directory: Path) -> None:
    """Raise `PlanImpossible` if the file with the key that signs copies of images is not there."""
    key = signing_key_of(mesh, directory)
    if key and "://" not in key and not Path(key).is_file():
        finding = document.finding("error", "SC1005", ("repo", "key_file"), "there is no such file", _HINT)
        raise PlanImpossible("a file that the manifest names cannot be used", findings=[finding])


def signing_key_of(mesh: Mesh, directory: Path) -> str:
    """Return the key that signs copies of images: a path, or an address of another kind; empty if none does."""
    key = (mesh.repo.key_file or "") if mesh.repo and mesh.repo.push is not False else ""
    return str(directory / key) if key and "://" not in key else key


class _Reader:
    def __init__(self, document: Document, directory: Path) -> None:
        self.findings: list[Finding] = []
        self._document = document
        self._directory = directory

    def of(self, service: MeshService, number: int) -> ServiceFiles:
        path: FieldPath = ("services", number)
        return ServiceFiles(
            policy=self.file(service.image_policy, (*path, "image_policy")),
            secrets=self.file(service.image_secrets, (*path, "image_secrets")),
            variables=self.file(service.env, (*path, "env")),
            chart=self._chart(service.helm_chart, (*path, "helm_chart")),
            chart_directory=service.helm_chart or "",
        )

    def _fault(self, path: FieldPath, message: str, hint: str = _HINT) -> None:
        self.findings.append(self._document.finding("error", "SC1005", path, message, hint))

    def _is_inside(self, file: Path, path: FieldPath) -> bool:
        """Say whether a file is below the manifest's directory, links included; if not, that is a fault."""
        inside = file.resolve().is_relative_to(self._directory.resolve())
        if not inside:
            self._fault(path, "a link leads out of the manifest's directory", "put the file itself there")
        return inside

    def file(self, name: str | None, path: FieldPath) -> GivenFile | None:
        """Return a file; what keeps it from being read is a fault."""
        if name is None:
            return None
        file = self._directory / name
        if not self._is_inside(file, path):
            return None
        if file.exists() and not file.is_file():
            self._fault(path, "this is not a file")
            return None
        try:
            content = _beginning(file, MAX_BYTES + 1)
        except OSError as error:
            from sconectl.apply.sources.sources import hint_of_place  # late: it knows all about folders

            self._fault(path, str(error.strerror), _HINT + hint_of_place(name, str(self._directory)))
            return None
        if len(content) > MAX_BYTES:
            self._fault(path, f"the file has more than {MAX_BYTES} bytes", "name a smaller one")
        return GivenFile(str(file), content)

    def _chart(self, name: str | None, path: FieldPath) -> dict[str, bytes] | None:
        """Return the files below a directory. Links are refused: they could lead anywhere."""
        if name is None:
            return None
        folder = self._directory / name
        if not self._is_inside(folder, path):
            return None
        return chart_in(folder, lambda message, hint: self._fault(path, message, hint))


def chart_in(folder: Path, fault: Callable[[str, str], None]) -> dict[str, bytes] | None:
    """Return the files of a chart by their paths in its directory; `fault` is told what is wrong, with a hint."""
    if not folder.is_dir():
        fault("this is not a directory", f"name the directory of a chart; {_HINT}")
        return None
    found: dict[str, bytes] = {}
    size = 0
    try:
        for file in _files(folder):
            relative = file.relative_to(folder).as_posix()
            if file.is_symlink():
                fault(f"{relative} is a link", "put the file itself there")
                continue
            if _SURROGATE.search(relative):
                fault(f"{relative!a} is no name in UTF-8", "rename the file")
                continue
            found[relative] = _beginning(file, MAX_CHART_BYTES + 1)
            size += len(found[relative])
            if len(found) > MAX_CHART_FILES or size > MAX_CHART_BYTES:
                limits = f"{MAX_CHART_FILES} files and {MAX_CHART_BYTES} bytes"
                fault(f"a chart has at most {limits}", "name the directory of the chart itself")
                return None
    except OSError as error:
        fault(str(error.strerror), _HINT)
    return found


def _beginning(file: Path, size: int) -> bytes:
    return first_bytes(file, size)


def _files(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            yield from _files(entry)
        elif entry.is_file() or entry.is_symlink():
            yield entry
