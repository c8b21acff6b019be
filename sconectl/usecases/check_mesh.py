"""The check of a mesh before anything is written, for `validate`, `plan` and `apply`.

In: a manifest, and functions that know the facts of images and the flags of `tolerance`. Out: a `MeshCheck`. Reads the
files that the mesh names beside its images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import sconectl
from sconectl.apply.sources.service_files import check_signing_key, read_extra_policies, read_service_files
from sconectl.errors import InvalidInput, PlanImpossible, UsageError
from sconectl.manifest.model.fields import CommandLine
from sconectl.manifest.model.mesh import Mesh, MeshService
from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.facts.image_facts import NOT_MEASURED, ImageFacts, Protected
from sconectl.plan.facts.naming import image_session_name, with_tag
from sconectl.plan.facts.toolchain_traits import ToolchainTraits
from sconectl.plan.mesh.availability import unavailable_in_mesh
from sconectl.plan.mesh.mesh import GivenFile, MeshDraft, MeshInput, MeshPlan, ServiceFiles, draft_mesh
from sconectl.text.findings import Finding, errors_of
from sconectl.text.yaml_tree import Document, Path
from sconectl.usecases.security_advice import advice_on_images, advice_on_secrets
from sconectl.usecases.terms import Terms

LearnFacts = Callable[[Mesh, Document], Mapping[str, ImageFacts]]
"""Gives the facts of images by service, of those that are known. Raises `PlanImpossible` if all have to be known."""
Fault = InvalidInput | PlanImpossible

_DEPENDS_ON_ALL = frozenset({"SC2004", "SC2005", "SC2006", "SC2011", "SC2018"})
"""Codes of faults that may vanish with the facts of an unknown image: it may define the secret or the default."""


@dataclass(frozen=True)
class MeshCheck:
    """Everything about a mesh, worked out once.

    `facts` are those that are known, by service; `files` those that the mesh names. `advice` is about images and
    files. `limits` warns of what this version does not do, as far as every image is known. `faults` are in the order
    in which they were found; if there are any but in the advice, there is no `draft`.
    """

    manifest: Manifest
    facts: Mapping[str, ImageFacts]
    files: Mapping[str, ServiceFiles]
    advice: tuple[Finding, ...]
    limits: tuple[Finding, ...]
    faults: tuple[Fault, ...]
    draft: MeshDraft | None

    @property
    def mesh(self) -> Mesh:
        """The mesh as the manifest gives it."""
        assert self.manifest.model.kind == "mesh"  # noqa: S101 - narrows the type
        return self.manifest.model

    @property
    def findings(self) -> list[Finding]:
        """All faults and advice, without those that depend on images whose facts are not known."""
        found = (finding for fault in self.faults for finding in fault.findings)
        return list(dict.fromkeys((*found, *self.advice, *self.limits)))

    def plan(self, built: Mapping[str, ImageFacts]) -> MeshPlan:
        """Return the plan; `built` are the facts, by service, of images that were only planned before."""
        assert self.draft is not None  # noqa: S101 - only a mesh without faults is planned
        return self.draft.plan(built) if built else self._unbuilt

    @cached_property
    def _unbuilt(self) -> MeshPlan:
        assert self.draft is not None  # noqa: S101 - narrows the type
        return self.draft.plan()

    def broken_rules(self) -> Iterator[Finding]:
        """Yield the faults that the policy language finds in the sessions, each at the service of the session."""
        if self.draft is None or len(self.facts) < len(self.mesh.services):
            return
        from sconectl.policy.session_check import faults_of
        from sconectl.text import yaml_text

        numbers = {service.name: number for number, service in enumerate(self.mesh.services)}
        for session in self._unbuilt.sessions:
            name = session.file
            path: Path = ("services", numbers[name]) if name in numbers else ("policy", "namespace")
            for fault in faults_of(session.document, partial(yaml_text.dump, session.document), file=name):
                message = f"the policy of {name} would break a rule: {fault.path}: {fault.message}"
                yield self.manifest.document.finding("error", fault.code, path, message, fault.hint)


def check_mesh(manifest: Manifest, learn: LearnFacts, terms: Terms) -> MeshCheck:
    """Check a mesh; faults are in the result.

    Raised are errors of `learn` without a finding, like a dead engine.
    """
    mesh, document = manifest.model, manifest.document
    assert mesh.kind == "mesh"  # noqa: S101 - narrows the type
    faults: list[Fault] = []
    if flags := list(_unknown_flags(mesh, document, terms.parse_flags)):
        faults.append(InvalidInput(flags))
    files: Mapping[str, ServiceFiles] = {}
    facts: Mapping[str, ImageFacts] = {}
    complete = True
    try:
        files = read_service_files(mesh, document, manifest.directory)
    except PlanImpossible as error:
        faults.append(error)
        complete = False  # what the mesh lacks may be in these files
    try:
        facts = learn(mesh, document)
    except PlanImpossible as error:
        if not error.findings:
            raise
        faults.append(error)
    charted = {**files, **dict(_brought(mesh, facts, files, terms))}
    extra: tuple[tuple[int, GivenFile], ...] = ()
    try:
        extra = read_extra_policies(mesh, document, manifest.directory, terms.mode)
    except PlanImpossible as error:
        faults.append(error)
    try:
        check_signing_key(mesh, document, manifest.directory)
    except PlanImpossible as error:
        faults.append(error)
    advice = (*advice_on_images(manifest, facts, terms.today), *advice_on_secrets(files.values(), terms.today))
    if errors_of(advice):
        faults.append(InvalidInput(advice))
    used = facts if complete else {}
    unknown = {
        service.name: _unknown(service, terms.toolchains.chosen)
        for service in mesh.services
        if service.name not in used
    }
    known = terms.toolchains.known
    given = MeshInput(
        mesh,
        document,
        {**used, **unknown},
        {},
        terms.release,
        sconectl.__version__,
        files=charted,
        extra=extra,
        toolchains=known,
    )
    draft = None
    try:
        draft = draft_mesh(given)
    except (InvalidInput, PlanImpossible) as error:
        error.findings = tuple(fault for fault in error.findings if not unknown or fault.code not in _DEPENDS_ON_ALL)
        faults += [error] if error.findings else []
    if terms.as_manifests and (foreign := list(_foreign_charts(mesh, document, charted))):
        faults.append(PlanImpossible("not every chart can become manifests", findings=foreign))
    limits = draft.limits if draft and not unknown else tuple(unavailable_in_mesh(mesh, document))
    remarks = draft.remarks if draft and not unknown else ()
    return MeshCheck(manifest, facts, files, (*advice, *remarks), limits, tuple(faults), draft)


def _unknown_flags(mesh: Mesh, document: Document, parse_flags: Callable[[str], object]) -> Iterator[Finding]:
    """Yield a fault for flags that nobody knows, also where no CAS is asked."""
    for number, cas in enumerate(mesh.cas):
        try:
            if cas.tolerance:
                parse_flags(cas.tolerance)
        except UsageError as error:
            path = ("cas", number, "tolerance")
            yield document.finding("error", "SC1007", path, error.message, error.hint)


def _brought(
    mesh: Mesh, facts: Mapping[str, ImageFacts], files: Mapping[str, ServiceFiles], terms: Terms
) -> Iterator[tuple[str, ServiceFiles]]:
    """Yield for each service whose image brings a chart, and for which the mesh names none, its files with that."""
    for service in mesh.services:
        known = facts.get(service.name)
        if known and not service.helm_chart and (chart := terms.chart_template(known.name)):
            given = files.get(service.name, ServiceFiles())
            yield service.name, replace(given, chart=chart.chart, chart_directory=chart.chart_directory)


def _foreign_charts(mesh: Mesh, document: Document, files: Mapping[str, ServiceFiles]) -> Iterator[Finding]:
    """Yield a fault for charts that only Helm can render."""
    for number, service in enumerate(mesh.services):
        if service.helm_chart or files.get(service.name, ServiceFiles()).chart is not None:
            path = ("services", number, "helm_chart" if service.helm_chart else "image")
            hint = "leave out -o yaml, and render the chart with helm template"
            message = "-o yaml cannot render a chart that sconectl did not write"
            yield document.finding("error", "SC2020", path, message, hint)


def _unknown(service: MeshService, toolchain: ToolchainTraits) -> ImageFacts:
    """Return facts that stand for those of an image whose facts are not known."""
    image = with_tag(service.image)
    return ImageFacts.model_construct(
        toolchain=toolchain.name,
        name=service.name,
        image=image,
        measurement=NOT_MEASURED,
        parameters={"mode": "production"},
        command=CommandLine("unknown"),
        pwd="/",  # noqa: S106 - a directory
        protected=Protected.model_construct(root=NOT_MEASURED),
        image_session=image_session_name(image),
        salt="",
    )
