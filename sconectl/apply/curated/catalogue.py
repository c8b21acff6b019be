"""The curated services: folders with a service manifest, and a Dockerfile for the image that it converts.

In: directories with such folders, those of the project and ours. Out: `CuratedService`s by name, and their manifests.
Raises `UsageError` for a directory that has none, and `InvalidInput` for a manifest that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sconectl
from sconectl.errors import InvalidInput, UsageError
from sconectl.manifest.reading.reader import Manifest, read_manifest
from sconectl.plan.facts.naming import native_image_name, without_tag
from sconectl.regular_files import first_bytes
from sconectl.text.findings import Finding, Position
from sconectl.text.yaml_tree import MAX_BYTES

if TYPE_CHECKING:
    from sconectl.manifest.model.genservice import GenService

MANIFEST, RECIPE = "service.yaml", "Dockerfile"
_IMAGE, _NATIVE = "CURATED_IMAGE", "CURATED_NATIVE"
"""The variables of a manifest: the image that is made, and the one that the recipe makes."""
_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
"""The last part of the name of an image."""


@dataclass(frozen=True)
class CuratedService:
    """A service that a mesh names by an image that ends in its name; `folder` holds all there is to know about it."""

    name: str
    folder: Path

    @property
    def file(self) -> Path:
        """The service manifest."""
        return self.folder / MANIFEST

    @property
    def recipe(self) -> Path | None:
        """The Dockerfile of the native image; None if the manifest converts an image that exists."""
        path = self.folder / RECIPE
        return path if path.exists() else None

    @property
    def native(self) -> str:
        """The local name of the image that the recipe makes."""
        name = without_tag(native_image_name(f"curated-{self.name}"))
        return f"{name}:{sconectl.__version__}"

    @property
    def words(self) -> tuple[str, ...]:
        """What the comment at the head of the manifest says, as paragraphs; the first one says what it is."""
        found = [""]
        for line in self._text().decode("utf-8-sig", "replace").splitlines():
            if not line.startswith("#"):
                break
            word = line[1:].strip()
            if word:
                found[-1] = f"{found[-1]} {word}".strip()
            elif found[-1]:
                found.append("")
        return tuple(filter(None, found))

    def manifest(self, image: str) -> Manifest:
        """Return the manifest that makes `image`. Raises `InvalidInput` and `UsageError`."""
        manifest = read_manifest(self._text(), str(self.file), {_IMAGE: image, _NATIVE: self.native})
        model = manifest.model
        if model.kind != "genservice":
            raise InvalidInput([self._fault(manifest, ("kind",), "a curated service is described by kind: genservice")])
        if model.build.to != image:
            message = f"expected ${_IMAGE}: the mesh that names the image gives it"
            raise InvalidInput([self._fault(manifest, ("build", "to"), message)])
        return manifest

    def service(self, image: str) -> GenService:
        """Return the service that the manifest describes. Raises as `manifest`."""
        model = self.manifest(image).model
        assert model.kind == "genservice"  # noqa: S101 - narrows the type
        return model

    def _fault(self, manifest: Manifest, path: tuple[str, ...], message: str) -> Finding:
        return manifest.document.finding("error", "SC1002", path, message)

    def _text(self) -> bytes:
        try:
            text = first_bytes(self.file, MAX_BYTES + 1)
        except OSError as error:
            raise UsageError(f"{self.file}: {error.strerror}", hint="put the service manifest there") from error
        if len(text) > MAX_BYTES:
            message = f"larger than {MAX_BYTES} bytes"
            raise InvalidInput([Finding("error", "SC1001", Position(str(self.file), 1, 1), "", message)])
        return text


def catalogue(directories: Iterable[Path]) -> dict[str, CuratedService]:
    """Return the services in these directories by name, sorted; of two with one name the first one."""
    found: dict[str, CuratedService] = {}
    for directory in directories:
        for service in _listed(directory):
            found.setdefault(service.name, service)
    return {name: found[name] for name in sorted(found)}


def meant(image: str, known: Mapping[str, CuratedService]) -> CuratedService | None:
    """Return the curated service that the name of an image ends in, or None."""
    return known.get(without_tag(image).rpartition("/")[2]) if "/" in image else None


def _listed(directory: Path) -> list[CuratedService]:
    hint = f"`curated` in front of all tables of sconectl.toml names directories with folders NAME/{MANIFEST}"
    try:
        folders = sorted(path.parent for path in directory.iterdir() for path in [path / MANIFEST] if path.exists())
    except OSError as error:
        raise UsageError(f"{directory}: {error.strerror}", hint=hint) from error
    if not folders:
        raise UsageError(f"{directory}: no curated service in this directory", hint=hint)
    for folder in folders:
        if not _NAME.fullmatch(folder.name):
            hint = "images have such names: lower-case letters and digits, with single . _ or - between them"
            raise UsageError(f"{folder}: the name of the folder is not the name of an image", hint=hint)
    return [CuratedService(folder.name, folder) for folder in folders]
