"""Everything that can be said about a valid manifest offline: without an engine, a registry, a CAS or a clock.

In: a manifest, for a mesh the facts of those images that are known. Out: findings by position; nothing is raised.
What this version does not do yet is a warning here: the manifest is valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sconectl.errors import InvalidInput, PlanImpossible
from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.mesh.availability import remarks, unavailable
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Path

if TYPE_CHECKING:
    from sconectl.manifest.model.mesh import MeshService
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.plan.mesh.mesh import MeshPlan
    from sconectl.plan.mesh.mesh_input import ServiceFiles

ANY_RELEASE = "RELEASE"
"""Stands for the name of the release if none is given: it is known when the chart is installed, not before."""
_NOTHING = "0" * 64
_DEPENDS_ON_ALL = frozenset({"SC2004", "SC2005", "SC2006", "SC2011", "SC2018"})
"""Faults that an image may mend of which nothing is known: it may define the secret, or a default of the variable."""


def check_service(manifest: Manifest, mode: str) -> list[Finding]:
    """Return what is wrong or remarkable about a service manifest. `mode` is `production` or `debug`."""
    from sconectl.plan.service.service import service_findings

    model, document = manifest.model, manifest.document
    assert model.kind == "genservice"  # noqa: S101 - narrows the type
    findings = [*unavailable(model, document), *remarks(model, document), *service_findings(model, document, mode=mode)]
    return _in_order(findings)


def provisional_facts(manifest: Manifest, mode: str) -> ImageFacts | None:
    """Return the facts that an image will have but for what building shows; None if it cannot be planned."""
    from sconectl.plan.facts.image_facts import Fspf
    from sconectl.plan.service.service import image_facts, plan_service

    model = manifest.model
    assert model.kind == "genservice"  # noqa: S101 - narrows the type
    try:
        plan = plan_service(model, manifest.document, bases={}, mode=mode)
    except (InvalidInput, PlanImpossible):
        return None
    return image_facts(
        plan,
        measurement=_NOTHING,
        root=_NOTHING,
        outside=plan.outside,
        fspf=Fspf(path="/fs.fspf", tag=_NOTHING[:32]) if plan.sealed else None,
        image_environment={},
        salt="",
    )


def check_mesh(
    manifest: Manifest,
    facts: Mapping[str, ImageFacts],
    *,
    release: str = "",
    files: Mapping[str, ServiceFiles] | None = None,
) -> list[Finding]:
    """Return what is wrong or remarkable about a mesh.

    `facts` are those of the services whose images are known; what may depend on the others is not said. `files` are
    those that the mesh names, by service.
    """
    from sconectl.plan.mesh.mesh import MeshInput, plan_mesh

    mesh = manifest.model
    assert mesh.kind == "mesh"  # noqa: S101 - narrows the type
    unknown = {service.name: _unknown(service) for service in mesh.services if service.name not in facts}
    given = MeshInput(mesh, manifest.document, {**facts, **unknown}, {}, release or ANY_RELEASE, "0", files=files or {})
    findings = [*unavailable(mesh, manifest.document), *remarks(mesh, manifest.document)]
    try:
        plan = plan_mesh(given)
    except (InvalidInput, PlanImpossible) as error:
        findings += [fault for fault in error.findings if not unknown or fault.code not in _DEPENDS_ON_ALL]
    else:
        findings += [] if unknown else [*plan.limits, *_broken_rules(plan, manifest)]
    return _in_order(findings)


def _in_order(findings: list[Finding]) -> list[Finding]:
    return sorted(dict.fromkeys(findings), key=lambda finding: finding.position)


def _unknown(service: MeshService) -> ImageFacts:
    """Return facts for an image of which nothing is known."""
    from sconectl.manifest.model.fields import CommandLine
    from sconectl.plan.facts.image_facts import ImageFacts, Protected
    from sconectl.plan.facts.naming import image_session_name, with_tag

    image = with_tag(service.image)
    return ImageFacts.model_construct(
        toolchain="sim",
        name=service.name,
        image=image,
        measurement=_NOTHING,
        parameters={"mode": "production"},
        command=CommandLine("unknown"),
        pwd="/",  # noqa: S106 - a directory
        protected=Protected.model_construct(root=_NOTHING),
        image_session=image_session_name(image),
        salt="",
    )


def _broken_rules(plan: MeshPlan, manifest: Manifest) -> list[Finding]:
    """Return what the rules of the policy language say about the sessions, at the service that each is written for."""
    from sconectl.policy.session_check import faults_of
    from sconectl.text import yaml_text

    mesh = manifest.model
    assert mesh.kind == "mesh"  # noqa: S101 - narrows the type
    numbers = {service.name: number for number, service in enumerate(mesh.services)}
    findings = []
    for session in plan.sessions:
        name = session.file
        path: Path = ("services", numbers[name]) if name in numbers else ("policy", "namespace")

        def text(document: Mapping[str, object] = session.document) -> str:
            return yaml_text.dump(document)

        for fault in faults_of(session.document, text, file=name):
            message = f"the policy of {name} would break a rule: {fault.path}: {fault.message}"
            findings.append(manifest.document.finding("error", fault.code, path, message, fault.hint))
    return findings
