"""Writes the objects of a mesh as Kubernetes manifests, for clusters without Helm (`-o yaml`).

In: a `ChartPlan` and the name of the release. Out: the content of each file of target/manifests. It says the same as
the templates in charts_templates/service, but for the label with the version of the chart: a test renders both and
compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sconectl.artefacts.chart_values import each_values
from sconectl.artefacts.installed import Installed, Object
from sconectl.artefacts.network import network_policy, services, ways_from_outside
from sconectl.artefacts.pod_volumes import PodVolumes
from sconectl.artefacts.workload import check_workload, scaling, workload
from sconectl.plan.mesh.chart_plan import ChartPlan
from sconectl.text import yaml_text

_COMMENT = "Written by sconectl from the mesh manifest; the next `sconectl apply -o yaml` writes it again."


def manifest_files(plan: ChartPlan, release: str, policies: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    """Return the manifests by file name, one file for each service.

    `policies` are custom resources by the name of their file: those of services come first in the service's file.
    """
    found = {name: [dict(policy)] for name, policy in policies.items()}
    for service, values in each_values(plan):
        objects = _objects(Installed(plan, service, release, values))
        found[service.name] = [*found.get(service.name, []), *objects]
    return {f"{name}.yaml": _text(objects) for name, objects in found.items()}


def _text(objects: Iterable[Object]) -> bytes:
    head = "".join(f"# {line}\n" for line in _COMMENT.splitlines())
    return (head + "---\n".join(yaml_text.dump(item) for item in objects)).encode()


def _objects(of: Installed) -> list[Object]:
    """Return the objects of a service in the order in which they are made."""
    check_workload(of)
    accounts = [_account(of)] if of.values["serviceAccount"]["create"] else []
    return [
        *accounts,
        *PodVolumes(of).claims(),
        *network_policy(of),
        *services(of),
        *ways_from_outside(of),
        *scaling(of),
        workload(of),
    ]


def _account(of: Installed) -> Object:
    account = of.values["serviceAccount"]
    rest = {"automountServiceAccountToken": False}
    return of.object("v1", "ServiceAccount", rest, account.get("annotations"), account.get("name") or "")
