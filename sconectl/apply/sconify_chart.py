"""The Helm chart of one converted image: that of a mesh of one service, on its own, as any kind of workload.

In: what the command line asks for and the plan of the mesh. Out: the files of the chart. Raises `UsageError` and
`PlanImpossible`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sconectl.artefacts.chart import SCHEMA_FILE, chart_content, chart_head
from sconectl.artefacts.chart_readme import service_readme
from sconectl.errors import UsageError
from sconectl.plan.facts.naming import volume_label
from sconectl.plan.mesh.chart_plan import ServicePort, Workload
from sconectl.plan.mesh.mesh import MeshPlan
from sconectl.plan.mesh.mesh_volumes import volume_block
from sconectl.plan.mesh.own_chart import CHART_FILE

WORKLOADS = ("deployment", "statefulset", "daemonset", "job")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,52}[a-z0-9])?\Z")


@dataclass(frozen=True)
class ChartRequest:
    """What the chart should be like; there is none without a `workload`."""

    workload: str = ""
    port: int | None = None
    volumes: Sequence[Mapping[str, str]] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    manifests: Path | None = None


def check_chart(request: ChartRequest, service: str, encrypted: Sequence[str] = ()) -> None:
    """Raise `UsageError` for options that can never give a chart; `encrypted` are the names of encrypted volumes."""
    if not request.workload:
        if request.port or request.volumes or request.values or request.manifests:
            raise UsageError("options of a chart without a chart", hint="add --k8s-helm-workload-type=deployment")
        return
    if request.workload not in WORKLOADS:
        message = f"--k8s-helm-workload-type {request.workload} is not known"
        raise UsageError(message, hint=f"known are {', '.join(WORKLOADS)}")
    labels = [volume_label(name) for name in (*encrypted, *(volume["name"] for volume in request.volumes))]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise UsageError(
            f"in the chart two volumes would have the name {twice[0]}", hint="give --k8s-helm-volume another name"
        )
    if not _LABEL.match(service):
        raise UsageError(
            f"a chart cannot be called after the service {service}",
            hint="give --service-name with lower-case letters, digits and inner hyphens, at most 54",
        )


def _ports(request: ChartRequest) -> tuple[ServicePort, ...]:
    return () if request.port is None else (ServicePort("api", request.port, "--k8s-helm-expose"),)


def chart_files(request: ChartRequest, plan: MeshPlan, service: str, before: bytes | None = None) -> dict[str, bytes]:
    """Return the files of the chart `sconify-<service>`, below a folder called after the service.

    `before` is the Chart.yaml that was there: the version changes if the content does.
    """
    [own] = plan.chart.services
    name = f"sconify-{service}"
    workload: Workload = request.workload  # type: ignore[assignment]  # checked by check_chart
    own = replace(own, name=name, ports=_ports(request), workload=workload, extra_values=_values(request))
    chart, head = chart_content(replace(plan.chart, name=name, services=(own,))).alone(name)
    chart["README.md"] = service_readme(json.loads(chart[SCHEMA_FILE]))
    for file in _manifests(request.manifests):
        path = f"templates/{file.name}"
        if path in chart:
            raise UsageError(f"the chart has {path} already", hint=f"rename {file}")
        chart[path] = file.read_bytes()
    chart[CHART_FILE] = chart_head(head, chart, before)
    return {f"{service}/{path}": content for path, content in chart.items()}


def _values(request: ChartRequest) -> dict[str, Any]:
    values: dict[str, Any] = {
        volume_label(volume["name"]): volume_block(volume["path"], encrypted=False) for volume in request.volumes
    }
    values["jobs"] = {"uniqueName": False}  # who converts an image waits for a Job by its name
    for path, text in request.values.items():
        *above, last = path.split(".")
        place = values
        for part in above:
            below = place.setdefault(part, {})
            if not isinstance(below, dict):
                raise UsageError(f"--k8s-helm-set {path}: {part} holds no other values")
            place = below
        place[last] = _scalar(text)
    return values


def _scalar(text: str) -> str | int | bool | None:
    """Return a value as `helm --set` would take it."""
    if text in ("true", "false"):
        return text == "true"
    if text == "null":
        return None
    return int(text) if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text) else text


def _manifests(path: Path | None) -> list[Path]:
    if path is None:
        return []
    try:
        files = sorted(path.glob("*.y*ml")) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            raise UsageError(f"{path}: no manifests (*.yaml) are there")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    return files
