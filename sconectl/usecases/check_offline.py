"""The checks of `validate`: each manifest by itself, and each mesh together with the known facts of its images.

In: valid manifests, the findings about invalid ones, and the places of facts of images. Out: findings by position, and
notes about what could not be checked. No engine, no registry and no CAS is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.errors import UsageError
from sconectl.manifest.model.faults import meaning
from sconectl.manifest.spelling.alike import differ_in_one_character
from sconectl.plan.facts.naming import with_tag
from sconectl.plan.mesh.availability import remarks
from sconectl.text.findings import Finding, errors_of
from sconectl.text.one_cause import one_cause
from sconectl.usecases.security_advice import advice_on

if TYPE_CHECKING:
    from sconectl.manifest.model.mesh import Mesh
    from sconectl.manifest.reading.reader import Manifest
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.text.yaml_tree import Document
    from sconectl.usecases.terms import Terms

ANY_RELEASE = "RELEASE"
"""Stands for the name of the release if none is given: it is known when the chart is installed, not before."""
_NAMED = 5


def check_offline(
    manifests: Sequence[Manifest],
    invalid: Sequence[Finding],
    terms: Terms,
    *,
    given: Path | None,
    built: Path,
    curated: Callable[[str], ImageFacts | None] = lambda _image: None,
) -> tuple[list[Finding], list[str]]:
    """Return all findings by position, those about `invalid` manifests among them, and notes.

    Facts of images are taken from `given` (raises `UsageError` if they cannot be read), then from the directory
    `built`, and then from the curated services, for which `curated` is asked.
    """
    terms = replace(terms, release=terms.release or ANY_RELEASE)
    images = _Images(given, built, curated)
    findings = [*invalid, *advice_on(manifests, terms.today, mode=terms.mode, complete=not invalid)]
    for manifest in manifests:
        model = manifest.model
        findings += [*manifest.warnings, *remarks(model, manifest.document)]
        if model.kind == "genservice":
            from sconectl.usecases.check_service import check_service

            service = check_service(manifest, mode=terms.mode, bases=terms.bases, toolchain=terms.toolchains.chosen)
            findings += [*service.limits, *service.findings]
            images.add(service.facts)
        else:
            from sconectl.usecases.check_mesh import check_mesh

            mesh = check_mesh(manifest, images.of, terms)
            findings += [*mesh.findings, *mesh.broken_rules()]
    findings = one_cause(findings + list(images.misspelt(manifests)))
    if not errors_of(findings):  # an image is mostly unknown because of an error in its service, which is told already
        images.name_unknown()
    found = sorted(dict.fromkeys(findings), key=lambda finding: (finding.position, finding.code))
    return found, images.notes


class _Images:
    """The facts of images that are known offline: of those that the services describe, and of those built before."""

    def __init__(self, given: Path | None, built: Path, curated: Callable[[str], ImageFacts | None]) -> None:
        self._curated = cache(curated)
        self.notes: list[str] = []
        self._given, self._built = given, built
        self._planned: dict[str, ImageFacts] = {}
        self._unknown: list[tuple[str, str]] = []

    def add(self, facts: ImageFacts | None) -> None:
        """Keep the facts of an image that is to be built, if it can be planned."""
        if facts is not None:
            self._planned.setdefault(facts.image, facts)

    def of(self, mesh: Mesh, document: Document) -> dict[str, ImageFacts]:
        """Return the facts of the services of a mesh whose images are known, by service; the others are remembered."""
        images = {service.name: with_tag(service.image) for service in mesh.services}
        found = {name: facts for name, image in images.items() if (facts := self._facts_of(image))}
        self._unknown += [(document.file, name) for name in images if name not in found]
        return found

    def misspelt(self, manifests: Sequence[Manifest]) -> Iterator[Finding]:
        """Find unknown images that differ in one character from one that is made here, and that no mesh uses.

        Another tag is no slip: the image may have been built before.
        """
        meshes = [(model, manifest.document) for manifest in manifests if (model := manifest.model).kind == "mesh"]
        used = {with_tag(service.image) for mesh, _ in meshes for service in mesh.services}
        spare = [image for image in self._planned if image not in used]
        for mesh, document in meshes if spare else ():
            for number, service in enumerate(mesh.services):
                image, path = with_tag(service.image), ("services", number, "image")
                near = "" if self._facts_of(image) else next((name for name in spare if _is_slip(image, name)), "")
                if near:
                    yield document.finding("error", "SC2008", path, "nothing is known of this image", meaning(near))

    def name_unknown(self) -> None:
        """Note what could not be checked."""
        for file in dict.fromkeys(file for file, _ in self._unknown):
            names = [name for where, name in self._unknown if where == file]
            several = "images of services" if len(names) > 1 else "image of service"
            listed = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
            self.notes.append(
                f"{file}: nothing is known of the {several} {listed}, so it is not checked which variables and secrets"
                " are missing; give their service manifests, too, or --facts"
            )

    def _facts_of(self, image: str) -> ImageFacts | None:
        return self._planned.get(image) or self._records.get(image) or self._curated(image)

    @cached_property
    def _records(self) -> Mapping[str, ImageFacts]:
        """The facts in files, by image; those that were given count first."""
        if self._given is None and not self._built.is_dir():
            return {}
        from sconectl.apply.records import read_records

        records = list(read_records(self._given)) if self._given is not None else []
        if self._built.is_dir():
            try:
                records += read_records(self._built)
            except UsageError as error:
                self.notes.append(error.message)
        return {record.facts.image: record.facts for record in reversed(records)}


def _is_slip(image: str, other: str) -> bool:
    """Say whether images of one tag have names that differ in one character."""
    (name, _, tag), (meant, _, same) = image.rpartition(":"), other.rpartition(":")
    return tag == same and differ_in_one_character(name, meant)
