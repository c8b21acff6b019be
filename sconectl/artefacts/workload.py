"""What runs the pods of a service, and how many of them, without Helm.

In: a service as it is installed. Out: Kubernetes objects. Raises `PlanImpossible` for values that no object can
have. It says the same as the templates workload.yaml and scaling.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator

from sconectl.artefacts.installed import Installed, Object
from sconectl.artefacts.pod import pod_template
from sconectl.artefacts.pod_volumes import PodVolumes
from sconectl.errors import PlanImpossible

KINDS = {
    "deployment": "Deployment",
    "statefulset": "StatefulSet",
    "daemonset": "DaemonSet",
    "job": "Job",
    "cronjob": "CronJob",
}
REPLICATED = ("deployment", "statefulset")


def check_workload(of: Installed) -> None:
    """Refuse what the template refuses."""
    values, name = of.values, of.service.name
    if of.kind == "cronjob" and not values["workload"].get("schedule"):
        raise PlanImpossible(f"{name}: a CronJob needs workload.schedule", hint='for example "0 3 * * *"')
    if values["autoscaling"]["enabled"]:
        if of.kind not in REPLICATED:
            message = f"{name}: autoscaling is for workload.kind deployment and statefulset"
            raise PlanImpossible(message, hint="remove autoscaling")
        if PodVolumes(of).one_by_one:
            message = f"{name}: autoscaling is not possible with volumes: only one pod at a time has them"
            raise PlanImpossible(message, hint="remove autoscaling")


def workload(of: Installed) -> Object:
    """Return the object that runs the pods."""
    kind = of.kind
    spec: Object = {}
    if kind in REPLICATED and not of.values["autoscaling"]["enabled"]:
        spec["replicas"] = of.values["replicaCount"]
    volumes = PodVolumes(of)
    if of.ends:
        spec["backoffLimit"] = of.values["jobs"]["backoffLimit"]
    else:
        spec |= {**_renewal(of, volumes), "selector": {"matchLabels": of.selector()}}
    spec["template"] = pod_template(of)
    if claims := volumes.claim_templates():
        spec["volumeClaimTemplates"] = claims
    if kind == "cronjob":
        spec = {
            "schedule": of.values["workload"]["schedule"],
            "concurrencyPolicy": of.values["jobs"]["concurrencyPolicy"],
            "jobTemplate": {"metadata": {"labels": of.labels()}, "spec": spec},
        }
    version = "batch/v1" if of.ends else "apps/v1"
    return of.object(version, KINDS[kind], {"spec": spec}, of.simulation(), of.workload_name)


def _renewal(of: Installed, volumes: PodVolumes) -> Object:
    """Return how new pods replace old ones, always whole: server-side apply takes away only what it has set."""
    if of.kind == "statefulset":
        renewal = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
        return {"serviceName": of.pods_name, "podManagementPolicy": "Parallel", "updateStrategy": renewal}
    if of.kind == "deployment" and volumes.one_by_one:
        return {"strategy": {"type": "Recreate"}}
    surge = not volumes.one_by_one
    renewal = {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": int(surge), "maxUnavailable": int(not surge)},
    }
    return {"strategy" if of.kind == "deployment" else "updateStrategy": renewal}


def scaling(of: Installed) -> Iterator[Object]:
    """Yield what keeps pods running while nodes are emptied, and what changes their number."""
    given = of.values["autoscaling"]
    least = given["minReplicas"] if given["enabled"] else of.values["replicaCount"]
    budget = of.values["podDisruptionBudget"]
    if budget["enabled"] and of.kind in REPLICATED and least > 1:
        spec = {"maxUnavailable": budget["maxUnavailable"], "selector": {"matchLabels": of.selector()}}
        yield of.object("policy/v1", "PodDisruptionBudget", {"spec": spec})
    if given["enabled"]:
        target = {"type": "Utilization", "averageUtilization": given["targetCPUUtilizationPercentage"]}
        cpu = {"type": "Resource", "resource": {"name": "cpu", "target": target}}
        spec = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": KINDS[of.kind], "name": of.workload_name},
            "minReplicas": given["minReplicas"],
            "maxReplicas": given["maxReplicas"],
            "metrics": given.get("metrics") or [cpu],
        }
        yield of.object("autoscaling/v2", "HorizontalPodAutoscaler", {"spec": spec})
