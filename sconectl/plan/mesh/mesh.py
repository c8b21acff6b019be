"""The plan for a mesh: one session document per service, the namespace session, and the chart.

In: a validated mesh, the facts of its images, the files it names (already read). Out: a `MeshPlan`, or findings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sconectl.errors import InvalidInput, PlanImpossible
from sconectl.manifest.model.faults import meaning, nearest
from sconectl.manifest.model.mesh import Access, Cas, Mesh
from sconectl.manifest.model.repo import Repo
from sconectl.plan.facts.image_facts import NOT_MEASURED
from sconectl.plan.facts.naming import with_tag
from sconectl.plan.mesh.attestation import attestation_faults, fragments
from sconectl.plan.mesh.availability import unavailable_in_mesh
from sconectl.plan.mesh.chart_plan import ChartPlan, ChartService
from sconectl.plan.mesh.connections import callers, wrong_addresses
from sconectl.plan.mesh.mesh_checks import (
    RESERVED_NAMES,
    copy_faults,
    image_limits,
    key_faults,
    mode_faults,
    name_faults,
    short_lived_certificates,
    toolchain_faults,
    volumes_faults,
)
from sconectl.plan.mesh.mesh_input import (
    ENCRYPTED_ONLY,
    GivenFile,
    MeshInput,
    ServiceFiles,
    builtin_names,
    deployed_image,
    image_cas,
    is_signed,
    main_cas,
)
from sconectl.plan.mesh.mesh_service import BoundService
from sconectl.plan.mesh.mesh_session import (
    FSPF_SECRET,
    IMAGE_KEY_SECRET,
    NAMESPACE_FILE,
    SessionPlan,
    namespace_session,
    service_session,
    with_measurements,
    with_version,
)
from sconectl.plan.network.addresses import Addresses
from sconectl.plan.secrets.secret_use import check_mesh_values, unusable_secrets
from sconectl.plan.secrets.wiring import WiringFault, wire
from sconectl.plan.values.environment import MeshValues
from sconectl.plan.values.helm_values import helm_values
from sconectl.text.findings import Cause, Finding, Name
from sconectl.text.one_cause import one_cause

if TYPE_CHECKING:
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.plan.mesh.configuration_mark import Configurations

__all__ = [
    "FSPF_SECRET", "IMAGE_KEY_SECRET", "NAMESPACE_FILE", "RESERVED_NAMES", "GivenFile", "ImageCopy", "ImageShare",
    "MeshDraft", "MeshInput", "MeshPlan", "ServiceFiles", "SessionPlan", "builtin_names", "draft_mesh", "image_cas",
    "main_cas", "plan_mesh", "umbrella_name", "with_version",
]  # fmt: skip


@dataclass(frozen=True)
class ImageShare:
    """An image session that has to export the key of its encrypted files to the sessions of services.

    `people` are the key hashes of those who may read and update it, too; `sessions` may be none then.
    """

    facts: ImageFacts
    sessions: tuple[str, ...]
    people: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageCopy:
    """An image that is to be copied before it is used, with the measurement that it has to have."""

    image: str
    to: str
    measurement: str


@dataclass(frozen=True)
class MeshPlan:
    """Everything that follows from a mesh; sessions in upload order, the namespace first.

    The pods in `chart` are marked with the salts of their images; `chart_for` marks them with that of the namespace.
    `limits` are warnings about what the images cannot do when they run, or what is not done yet: apply refuses these.
    `repo` says what is to happen to the images, and `copies` to which. The sessions of `extra_policies` come before
    those of the services, which may refer to fragments in them; they are of no program.
    """

    cas: Cas
    sessions: tuple[SessionPlan, ...]
    shares: tuple[ImageShare, ...]
    chart: ChartPlan
    limits: tuple[Finding, ...] = ()
    configurations: Configurations | None = None
    repo: Repo | None = None
    copies: tuple[ImageCopy, ...] = ()

    @property
    def mode(self) -> str:
        """How the sessions reach the CAS."""
        return self.cas.mode or "Upload"

    @property
    def upload(self) -> bool:
        """Whether the sessions are uploaded by apply."""
        return self.mode == "Upload"

    @property
    def installed(self) -> bool:
        """Whether the sessions are brought into the CAS by the chart."""
        return self.signed and self.mode != ENCRYPTED_ONLY

    @property
    def signed(self) -> bool:
        """Whether the sessions are written as signed or encrypted documents."""
        return is_signed(self.cas)

    def chart_for(self, salt: str) -> ChartPlan:
        """Return the chart whose pods are marked with the salt of the namespace, which the CAS keeps.

        So the marks are the same on every machine that may read the namespace's session.
        """
        if self.configurations is None:
            return self.chart
        services = tuple(_remarked(service, self.configurations, salt) for service in self.chart.services)
        return replace(self.chart, services=services)

    def rolled(self, documents: Mapping[str, Mapping[str, Any]], ends: Mapping[str, str]) -> MeshPlan:
        """Return the plan with other content of sessions, by name, and `ends` of what services are called in them."""
        from sconectl.plan.mesh.configuration_mark import Configurations, as_the_cas_reads

        sessions = tuple(replace(each, document=documents.get(each.name, each.document)) for each in self.sessions)
        services = tuple(
            replace(service, config_id=service.config_id + ends.get(service.config_id.rpartition("/")[0], ""))
            for service in self.chart.services
        )
        marks = Configurations(as_the_cas_reads(each.document) for each in sessions[1:])
        return replace(self, sessions=sessions, chart=replace(self.chart, services=services), configurations=marks)


def _remarked(service: ChartService, found: Configurations, salt: str) -> ChartService:
    session, _, program = service.config_id.rpartition("/")
    return replace(service, configuration=found.mark(session, program, salt))


def plan_mesh(given: MeshInput) -> MeshPlan:
    """Compile a mesh. Raises what `draft_mesh` raises."""
    return draft_mesh(given).plan()


def draft_mesh(given: MeshInput) -> MeshDraft:
    """Compile a mesh but for what only building its images shows.

    Raises `PlanImpossible` (values or secrets are missing) with every fault at its position, and `InvalidInput` if
    only files that the mesh names are faulty.
    """
    draft = MeshDraft(given)
    if draft.findings:
        _raise(draft.findings)
    return draft


def _shares(
    services: Sequence[BoundService], images_facts: Mapping[str, ImageFacts], access: Access
) -> tuple[ImageShare, ...]:
    """Return one share for each image with encrypted files, or for each if the mesh is the work of several people.

    Its facts are those of the image, and not of a service. Readers are left out: the session holds the key. An image
    that is still to be built has no session to share.
    """
    people = tuple(dict.fromkeys([*access.owners, *access.updaters]))
    images: dict[str, tuple[ImageFacts, list[str]]] = {}
    for service in services:
        facts = images_facts[service.name]
        if facts.measurement == NOT_MEASURED or not (facts.fspf or people):
            continue
        importing = images.setdefault(facts.image_session, (facts, []))[1]
        importing += [service.session_name] if facts.fspf else []
    return tuple(ImageShare(facts, tuple(sessions), people) for facts, sessions in images.values())


def _configurations(
    services: Sequence[BoundService], sessions: Sequence[SessionPlan], extra: Sequence[SessionPlan]
) -> Configurations:
    """Return what the pods of each service get; they may import from the `extra` sessions."""
    from sconectl.plan.mesh.configuration_mark import Configurations, as_the_cas_reads

    own = (
        as_the_cas_reads(session.document) if service.template or service.volumes.declared else session.document
        for service, session in zip(services, sessions, strict=True)
    )
    return Configurations([*own, *(as_the_cas_reads(session.document) for session in extra)])


def _copies(mesh: Mesh, services: Sequence[BoundService]) -> Iterator[ImageCopy]:
    for service in services:
        image = with_tag(service.service.image)
        if (to := deployed_image(mesh, image)) != image:
            yield ImageCopy(image, to, service.facts.measurement)


def _raise(findings: Sequence[Finding]) -> None:
    found = sorted(dict.fromkeys(one_cause(findings)), key=lambda finding: finding.position)
    if all(finding.code.startswith("SC1") or finding.code == "SC2015" for finding in found):
        raise InvalidInput(found)
    raise PlanImpossible("the mesh cannot be compiled", findings=found)


class MeshDraft:
    """A mesh with every value bound and every secret wired; `findings` are all its faults."""

    def __init__(self, given: MeshInput) -> None:
        self.given = given
        self.findings = list(toolchain_faults(given))
        if self.findings:
            _raise(self.findings)
        facts = {name: self._effective(name, image) for name, image in given.facts.items()}
        values = MeshValues(given.mesh, facts)
        self._addresses = Addresses(given.mesh, values, given.release)
        self._helm = helm_values(given.mesh, given.document, self._charts())
        extra = self._helm.services
        self.services = [
            BoundService(
                given,
                number,
                service,
                facts[service.name],
                values,
                self._addresses,
                extra.get(service.name, {}),
                self.findings,
            ).bind()
            for number, service in enumerate(given.mesh.services)
        ]
        self._fragments = fragments(given, self.findings)
        self._extra = self._extra_sessions(values)
        self._secrets = self._wired()
        self.findings += self._helm.findings
        self.findings += check_mesh_values(given.mesh, given.document)
        self.findings += [*copy_faults(given), *name_faults(given), *key_faults(given), *attestation_faults(given)]
        self.findings += volumes_faults(given, self.services)
        self.findings += mode_faults(given, self._secrets)

    def _extra_sessions(self, values: MeshValues) -> tuple[SessionPlan, ...]:
        mesh = self.given.mesh
        if not self.given.extra:
            return ()
        from sconectl.plan.mesh.extra_policies import extra_sessions

        taken = (mesh.policy.namespace, *(service.session_name for service in self.services))
        return extra_sessions(self.given, values, taken, self.findings, signed=is_signed(main_cas(mesh)))

    def _effective(self, name: str, image: ImageFacts) -> ImageFacts:
        """Return the facts with the variables that a file of the mesh declares instead."""
        files = self.given.files.get(name)
        if files is None or files.variables is None:
            return image
        from sconectl.plan.secrets.image_secrets import with_variables

        try:
            return with_variables(image, files.variables.content, files.variables.name)
        except InvalidInput as error:
            self.findings += error.findings
            return image

    def _wired(self) -> Mapping[str, list[dict[str, Any]]]:
        used = {service.name: service.secrets for service in self.services}
        numbers = {service.name: service.number for service in reversed(self.services)}
        wired, faults = wire(used)
        for fault in [*faults, *unusable_secrets(used)]:
            near = nearest(fault.secret, fault.candidates)
            message = f"secret {fault.secret} of service {fault.service} {fault.message}"
            path, hint, cause = (
                ("services", numbers[fault.service]),
                meaning(near) or fault.hint,
                self._cause(fault, near),
            )
            self.findings.append(self.given.at(path, "SC2004", message, hint, cause))
        return wired

    def _cause(self, fault: WiringFault, near: str) -> Cause | None:
        """Return the cause of a fault: the name that is missing, and the names that are used once it is mended."""
        if not fault.lacks:
            return None
        images = {service.name: service.facts.image for service in self.services}
        image = images[fault.service]
        name = near or fault.secret
        owners = [images[service.name] for service in self.services if name in service.secrets.defined]
        meant = [Name("secret", owner, name) for owner in (image, *owners) if (owner, name) != (image, fault.secret)]
        if fault.lacks == "import":
            meant.append(Name("secret", image, fault.secret))
        return Cause(Name(fault.lacks, image, fault.secret), meant=tuple(meant))

    def _charts(self) -> dict[str, str]:
        """Return the name of each service's chart, "" for one that the mesh replaces."""
        mesh, facts = self.given.mesh, self.given.facts
        return {service.name: "" if service.helm_chart else facts[service.name].name for service in mesh.services}

    @cached_property
    def limits(self) -> tuple[Finding, ...]:
        """Warnings about what the images cannot do when they run, or what is not done yet."""
        given = self.given
        return (*unavailable_in_mesh(given.mesh, given.document), *image_limits(given, self.services))

    @cached_property
    def remarks(self) -> tuple[Finding, ...]:
        """Warnings about values that lead nowhere, and about certificates that end while programs keep them."""
        return (
            *wrong_addresses(self.given, self.services, self._addresses, self._helm.services),
            *short_lived_certificates(self.given, self.services),
        )

    @cached_property
    def _callers(self) -> Mapping[str, tuple[str, ...] | None]:
        return callers(self.services, self._secrets, self._addresses.hosts, self._helm.services)

    def plan(self, built: Mapping[str, ImageFacts] = MappingProxyType({})) -> MeshPlan:
        """Return the plan. `built` are the facts, by service, of images that were built since they were planned."""
        given, mesh = self.given, self.given.mesh
        services = [
            service.measured(built[service.name]) if service.name in built else service for service in self.services
        ]
        signed = is_signed(main_cas(mesh))
        owners = {service.session_name: service.volumes for service in services}
        own = [service_session(s, self._secrets[s.name], self._fragments, owners, signed=signed) for s in services]
        sessions = tuple(with_measurements(own, services))
        configurations = _configurations(services, sessions, self._extra)
        charts = tuple(
            s.chart(
                configurations.mark(s.session_name, s.program, s.facts.salt),
                owners,
                self._callers[s.name],
            )
            for s in services
        )
        return MeshPlan(
            main_cas(mesh),
            (
                namespace_session(mesh.policy.namespace, mesh.policy.access or Access(), signed=signed),
                *self._extra,
                *sessions,
            ),
            _shares(services, {**given.facts, **built}, mesh.policy.access or Access()),
            ChartPlan(umbrella_name(mesh.policy.namespace), given.version, charts, self._helm.shared, given.release),
            self.limits,
            configurations,
            mesh.repo,
            tuple(dict.fromkeys(_copies(mesh, services))),
        )


def umbrella_name(namespace: str) -> str:
    """Return the name of the chart of a mesh, and of its release if nobody gives another one."""
    text = re.sub(r"[^a-z0-9]+", "-", namespace.lower()).strip("-")
    return text[:53].rstrip("-") or "mesh"
