"""What `validate` looks at: each manifest by itself, and each mesh together with what is known of its images.

In: options. Out: how many manifests are there, and all findings by position. Raises `UsageError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from sconectl.cli.options.manifest_files import directory_of, read_each
from sconectl.cli.output.advice import advice_on, advice_on_images, advice_on_secrets
from sconectl.cli.output.console import note
from sconectl.cli.output.printable import shown
from sconectl.cli.runs.apply_mesh import tolerance_faults, with_options
from sconectl.errors import PlanImpossible, UsageError
from sconectl.manifest.model.faults import meaning
from sconectl.manifest.spelling.alike import differ_in_one_character
from sconectl.plan.check import check_mesh, check_service, provisional_facts
from sconectl.plan.facts.naming import with_tag
from sconectl.text.findings import Finding, errors_of
from sconectl.text.one_cause import one_cause

if TYPE_CHECKING:
    from sconectl.cli.options.apply_options import ApplyOptions
    from sconectl.manifest.model.mesh import Mesh
    from sconectl.manifest.reading.reader import Manifest
    from sconectl.plan.facts.image_facts import ImageFacts

_NAMED = 5


def everything_about(options: ApplyOptions) -> tuple[int, list[Finding]]:
    """Return the number of valid manifests, and all findings about all of them."""
    manifests, findings = read_each(options)
    images = _Images(manifests, options)
    findings += advice_on(manifests, mode=options.mode, complete=not findings)
    for manifest in manifests:
        model = manifest.model
        findings += manifest.warnings
        if model.kind == "genservice":
            findings += check_service(manifest, options.mode)
        else:
            findings += _about_mesh(replace(manifest, model=with_options(model, options)), images, options)
    findings = one_cause(findings + list(images.misspelt(manifests)))
    if not errors_of(findings):  # else it is mostly the fault in a service that leaves its image unknown
        images.name_unknown()
    return len(manifests), sorted(dict.fromkeys(findings), key=lambda finding: (finding.position, finding.code))


def _about_mesh(manifest: Manifest, images: _Images, options: ApplyOptions) -> list[Finding]:
    from sconectl.apply.sources.service_files import read_service_files

    mesh, document = manifest.model, manifest.document
    assert mesh.kind == "mesh"  # noqa: S101 - narrows the type
    facts = images.of(mesh, document.file)
    findings = [*tolerance_faults(mesh, document), *advice_on_images(manifest, facts)]
    try:
        files = read_service_files(mesh, document, directory_of(manifest))
    except PlanImpossible as error:
        findings += error.findings
        files, facts = {}, {}  # what is missing may be in these files
    findings += advice_on_secrets(files.values())
    return [*findings, *check_mesh(manifest, facts, release=options.release, files=files)]


class _Images:
    """What is known offline about images: those of the given services as they will be, and those that were built."""

    def __init__(self, manifests: Iterable[Manifest], options: ApplyOptions) -> None:
        self._options = options
        self._planned: dict[str, ImageFacts] = {}
        self._unknown: list[tuple[str, str]] = []
        for manifest in manifests:
            if manifest.model.kind == "genservice":
                facts = provisional_facts(manifest, options.mode)
                if facts is not None:
                    self._planned.setdefault(facts.image, facts)

    def of(self, mesh: Mesh, file: str) -> dict[str, ImageFacts]:
        """Return the facts of the services of a mesh whose images are known, by service; the others are remembered."""
        images = {service.name: with_tag(service.image) for service in mesh.services}
        found = {name: facts for name, image in images.items() if (facts := self._facts_of(image))}
        self._unknown += [(file, name) for name in images if name not in found]
        return found

    def misspelt(self, manifests: Iterable[Manifest]) -> Iterator[Finding]:
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
        """Say what could not be checked."""
        for file in dict.fromkeys(file for file, _ in self._unknown):
            names = [name for where, name in self._unknown if where == file]
            several = "images of services" if len(names) > 1 else "image of service"
            shown_names = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
            note(
                f"note: {shown(file)}: nothing is known of the {several} {shown_names}, so it is not checked which"
                " variables and secrets are missing; give their service manifests, too, or --facts"
            )

    def _facts_of(self, image: str) -> ImageFacts | None:
        return self._planned.get(image) or self._records.get(image)

    @cached_property
    def _records(self) -> Mapping[str, ImageFacts]:
        """The facts in files, by image; those of --facts count first."""
        given, images = self._options.facts, self._options.target / "images"
        if given is None and not images.is_dir():
            return {}
        from sconectl.apply.records import read_records

        records = list(read_records(given)) if given is not None else []
        if images.is_dir():
            try:
                records += read_records(images)
            except UsageError as error:
                note(f"note: {shown(error.message)}")
        return {record.facts.image: record.facts for record in reversed(records)}


def _is_slip(image: str, other: str) -> bool:
    """Say whether images of one tag have names that differ in one character."""
    (name, _, tag), (meant, _, same) = image.rpartition(":"), other.rpartition(":")
    return tag == same and differ_in_one_character(name, meant)
