"""What is checked before the first of several manifests is applied, so that a fault in one leaves all undone.

In: the manifests of one run, each of them valid. Out: the images that their services will be, as far as they are known
before they are built. Raises `InvalidInput` or `PlanImpossible` with everything that is wrong with any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sconectl.errors import InvalidInput, PlanImpossible
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.batch import collisions
from sconectl.plan.check import check_mesh, provisional_facts
from sconectl.plan.facts.image_facts import BuildRecord, ImageFacts
from sconectl.plan.facts.naming import with_tag
from sconectl.plan.mesh.availability import unavailable
from sconectl.text.findings import Finding, errors_of

if TYPE_CHECKING:
    from sconectl.cli.options.apply_options import ApplyOptions


def check_batch(manifests: Sequence[Manifest], options: ApplyOptions, *, rehearsed: bool = True) -> list[BuildRecord]:
    """Check all manifests together: what collides, the files of services, meshes against the images to be built.

    A `rehearsed` run applies nothing, and so what this version cannot apply is no fault. Returns a record for each
    image that has none in target/images.
    """
    findings = collisions(manifests)
    planned: dict[str, ImageFacts] = {}
    records = []
    invalid = False
    for manifest in manifests:
        if not rehearsed:
            findings += [replace(limit, severity="error") for limit in unavailable(manifest.model, manifest.document)]
        try:
            if isinstance(manifest.model, Mesh):
                findings += _faults_of_mesh(manifest, manifest.model, planned, options)
            elif facts := _planned_image(manifest, options):
                planned[with_tag(facts.image)] = facts
                if not (options.target / "images" / f"{manifest.model.build.name}.json").exists():
                    records.append(BuildRecord(image_id="", inputs="", facts=facts))
        except (InvalidInput, PlanImpossible) as fault:
            if not fault.findings:
                raise
            invalid = invalid or isinstance(fault, InvalidInput)
            findings += fault.findings
    found = sorted(dict.fromkeys(findings), key=lambda finding: finding.position)
    if found and invalid:
        raise InvalidInput(found)
    if found:
        raise PlanImpossible("these manifests cannot be applied together", findings=found)
    return records


def _planned_image(manifest: Manifest, options: ApplyOptions) -> ImageFacts | None:
    from sconectl.cli.runs.apply_service import read_service

    read_service(manifest, options)
    return provisional_facts(manifest, options.mode)


def _faults_of_mesh(
    manifest: Manifest, mesh: Mesh, planned: dict[str, ImageFacts], options: ApplyOptions
) -> tuple[Finding, ...]:
    from sconectl.apply.sources.service_files import read_service_files
    from sconectl.cli.options.manifest_files import directory_of

    files = read_service_files(mesh, manifest.document, directory_of(manifest))
    images = {service.name: planned.get(with_tag(service.image)) for service in mesh.services}
    facts = {name: image for name, image in images.items() if image is not None}
    return errors_of(check_mesh(manifest, facts, release=options.release, files=files))
