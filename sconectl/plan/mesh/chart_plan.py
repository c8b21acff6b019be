"""What the Helm chart of a mesh has to say, decided before any file of it is written.

Pure data: filled by the mesh plan, turned into files by `sconectl.artefacts.chart`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from sconectl.plan.facts.naming import with_tag
from sconectl.plan.network.service_ports import ServicePort as ServicePort

if TYPE_CHECKING:
    from sconectl.plan.facts.toolchain_traits import ToolchainTraits
    from sconectl.plan.mesh.own_chart import OwnChart


Workload = Literal["deployment", "statefulset", "job", "cronjob", "daemonset"]
Digests = Mapping[tuple[str, str], str]
"""The digests that registries gave images when these were pushed, by reference with tag and by measurement."""


@dataclass(frozen=True)
class ChartService:
    """One service of the mesh: one subchart, one workload.

    Holds what Kubernetes needs to start the attesting launcher and nothing that the launcher gets from the CAS:
    no command, no environment variable of the application, no secret.
    """

    name: str
    """The service's name in the mesh as a DNS-1123 label; names the subchart and the label of the pods."""

    image: str
    """The reference of the protected image."""

    config_id: str
    """What the launcher asks the CAS for (SCONE_CONFIG_ID): `<namespace>/<service>/<program>`."""

    cas_address: str
    """Where the CAS answers (SCONE_CAS_ADDR): `host[:port]`."""

    cas_key: str
    """The hash of the key that the CAS has to show (SCONE_CAS_KEY), or "" to leave that to the image."""

    toolchain: ToolchainTraits
    """How the image was protected."""

    measurement: str
    """What the image measures: 64 hex digits. A change replaces the pods."""

    ports: tuple[ServicePort, ...]
    """The ports of the container and of its Service object; without one there is no Service object."""

    pull_secret: str
    """The name of the image pull secret, or "" if the image needs none."""

    log_level: str
    """How much the runtime logs (SCONE_LOG), or "" for its default."""

    extra_values: Mapping[str, Any]
    """Values of the manifest that are merged over those of this subchart last; None removes a value."""

    volume_values: Mapping[str, Any] = field(default_factory=dict)
    """Values that follow from the volumes of the service; those of the manifest win."""

    own_chart: OwnChart | None = None
    """A chart of the user's own, which takes the place of the one that is written otherwise."""

    workload: Workload = "deployment"
    """The kind of object that runs the pods."""

    schedule: str = ""
    """When a CronJob runs, in the form of crontab(5); empty for other kinds."""

    user: int | None = None
    """The number of the user that the image runs as; 0 is root, and None is a user that is not known as a number."""

    group: int | None = None
    """The number of the primary group of that user, if it is known."""

    heap: int | None = None
    """Bytes of memory that the program may use, as the manifest says (SCONE_HEAP), or None."""

    callers: tuple[str, ...] | None = None
    """The services of the mesh (names of their subcharts) that may connect to it; None: that cannot be told."""

    configuration: str = ""
    """Changes when something that the pods get from the CAS changes (`configuration_mark`). A change replaces them."""


@dataclass(frozen=True)
class ChartPlan:
    """The umbrella chart of a mesh, with one subchart for each service in the given order."""

    name: str
    """The name of the umbrella chart, a DNS-1123 label."""

    version: str
    """The version of sconectl that writes the chart; noted in it as an annotation."""

    services: tuple[ChartService, ...]
    """The services, in the order in which the mesh names them."""

    shared_values: Mapping[str, Any] = field(default_factory=dict)
    """Values for all services: the section `global` of Helm."""

    release: str = ""
    """The only release as which the chart may be installed, or "" for any: policies may hold its name."""

    chart_version: str = "0.1.0"
    """The version of the umbrella chart and of the subcharts that are written here."""

    def by_digest(self, digests: Digests) -> ChartPlan:
        """Return the chart with its images named by digest, too, as far as registries gave one."""

        def named(service: ChartService) -> ChartService:
            digest = digests.get((with_tag(service.image), service.measurement))
            return replace(service, image=f"{service.image}@{digest}") if digest else service

        return replace(self, services=tuple(map(named, self.services)))
