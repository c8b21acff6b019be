"""All manifests of a run of `plan` or `apply`, checked before the first is applied: a fault in one leaves all undone.

In: valid manifests, services before meshes, the terms of the run, and a function that finds the facts of images. Out: a
`RunCheck`. Raises `InvalidInput` or `PlanImpossible` with everything that is wrong with any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sconectl.errors import InvalidInput, PlanImpossible
from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.batch import collisions
from sconectl.plan.facts.naming import with_tag
from sconectl.plan.mesh.availability import refuse
from sconectl.text.findings import Finding, errors_of
from sconectl.usecases.terms import Terms

if TYPE_CHECKING:
    from sconectl.manifest.model.mesh import Mesh
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.plan.mesh.mesh import MeshPlan
    from sconectl.text.yaml_tree import Document
    from sconectl.usecases.check_mesh import Fault, MeshCheck
    from sconectl.usecases.check_service import ServiceCheck

LearnFacts = Callable[["Mesh", "Document", Mapping[str, "ImageFacts"]], Mapping[str, "ImageFacts"]]
"""Gives the facts of all images of a mesh, by service; the mapping holds those of images that are to be built."""


@dataclass(frozen=True)
class RunCheck:
    """The manifests of a run, each checked once, and nothing is wrong with any of them."""

    services: tuple[ServiceCheck, ...]
    meshes: tuple[MeshCheck, ...]

    def mesh_plan(self, mesh: MeshCheck, built: Mapping[str, ImageFacts]) -> MeshPlan:
        """Return the plan of a mesh; `built` are the facts, by image, of services of this run that were built."""
        planned = planned_facts(self.services)
        return mesh.plan(
            {
                name: built[facts.image]
                for name, facts in mesh.facts.items()
                if facts.image in built and facts == planned.get(facts.image)
            }
        )


def planned_facts(services: Sequence[ServiceCheck]) -> dict[str, ImageFacts]:
    """Return the facts that images will have, by image, as far as they are known before they are built."""
    return {check.facts.image: check.facts for check in services if check.facts}


def check_run(manifests: Sequence[Manifest], terms: Terms, learn: LearnFacts) -> RunCheck:
    """Check all manifests together. Raises `InvalidInput` and `PlanImpossible`."""
    services: list[ServiceCheck] = []
    meshes: list[MeshCheck] = []
    faults: list[Fault] = []
    for manifest in manifests:
        if manifest.model.kind == "genservice":
            services.append(_service(manifest, terms, faults))
        else:
            meshes.append(_mesh(manifest, terms, learn, services, faults))
    if services and not faults:  # a mesh alone is refused in time: `apply_mesh` checks its sessions first
        faults += [fault for mesh in meshes if (fault := _broken(mesh))]
    _refuse(faults, collisions(manifests), several=len(manifests) > 1)
    return RunCheck(tuple(services), tuple(meshes))


@contextmanager
def _collected(faults: list[Fault]) -> Iterator[None]:
    """Collect errors with findings that the body raises; others go on."""
    try:
        yield
    except (InvalidInput, PlanImpossible) as fault:
        if not fault.findings:
            raise
        faults.append(fault)


def _service(manifest: Manifest, terms: Terms, faults: list[Fault]) -> ServiceCheck:
    from sconectl.usecases.check_service import check_service, with_sources

    check = check_service(manifest, mode=terms.mode, bases=terms.bases, toolchain=terms.toolchains.chosen)
    with _collected(faults):
        refuse(check.limits if manifest.model.kind in terms.refused else ())
    with _collected(faults):
        return with_sources(check, terms.private)
    return check


def _mesh(
    manifest: Manifest, terms: Terms, learn: LearnFacts, services: Sequence[ServiceCheck], faults: list[Fault]
) -> MeshCheck:
    from sconectl.usecases.check_mesh import check_mesh

    planned = planned_facts(services)

    def known(mesh: Mesh, document: Document) -> Mapping[str, ImageFacts]:
        if all(service.facts for service in services):
            return learn(mesh, document, planned)
        # A service has an error, so its image may be unknown for that reason: no engine and no registry is asked.
        images = {service.name: with_tag(service.image) for service in mesh.services}
        return {name: planned[image] for name, image in images.items() if image in planned}

    check = check_mesh(manifest, known, terms)
    faults += check.faults
    with _collected(faults):
        refuse(check.limits if manifest.model.kind in terms.refused else ())
    return check


def _broken(mesh: MeshCheck) -> PlanImpossible | None:
    broken = list(mesh.broken_rules())
    return PlanImpossible("the policies would break rules", findings=broken) if broken else None


def _refuse(faults: Sequence[Fault], collisions: Sequence[Finding], *, several: bool) -> None:
    """Raise all faults as one error; those of one manifest as an error like the first of them."""
    found = [*collisions, *(finding for fault in faults for finding in fault.findings)]
    if not found:
        return
    findings = sorted(dict.fromkeys(found), key=lambda finding: finding.position)
    if any(isinstance(fault, InvalidInput) for fault in (faults if several else faults[:1])):
        raise InvalidInput(findings)
    if several:
        raise PlanImpossible("these manifests cannot be applied together", findings=errors_of(findings))
    raise PlanImpossible(faults[0].message, hint=faults[0].hint, findings=findings)
