"""The values of the chart that is written for a service: what values.yaml of its subchart says.

In: a `ChartService`. Out: its values, those of the manifest merged over them last. Whatever stays the same for all
services is one object here, because a mesh may have thousands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sconectl.plan.mesh.chart_plan import ChartPlan, ChartService, ServicePort
from sconectl.plan.mesh.mesh_volumes import KEPT

VOLUME = "volume"
"""What the names of volumes begin with."""
SGX_RESOURCE = "sgx.intel.com/enclave"
SGX_MEMORY = "sgx.intel.com/epc"
ENDING = ("job", "cronjob")
"""Kinds of workload whose pods run to their end instead of serving."""

_ATTESTED_WITHIN = 300
_OPENED_WITHIN = 900
_EVERY = 5
_UNPRIVILEGED = 1024
_START_OF_PORTS = "net.ipv4.ip_unprivileged_port_start"

_JOBS = {"restartPolicy": "Never", "backoffLimit": 0, "concurrencyPolicy": "Forbid", "uniqueName": True}
_ACCOUNT = {"create": True, "name": "", "annotations": dict[str, str]()}
_SECCOMP = {"type": "RuntimeDefault"}
_AS_ROOT = {"runAsNonRoot": False, "seccompProfile": _SECCOMP}
_CONFINED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "seccompProfile": _SECCOMP}
_WRITABLE_ROOT = {**_CONFINED, "readOnlyRootFilesystem": False}
READ_ONLY_ROOT = {**_CONFINED, "readOnlyRootFilesystem": True}
_SCRATCH = ["/tmp", "/run"]  # noqa: S108 - in the container
_MEMORY = {"sizeLimit": "256Mi", "runtime": "128Mi"}
_DISRUPTION = {"enabled": True, "maxUnavailable": 1}
_SCALING = {"enabled": False, "minReplicas": 1, "maxReplicas": 5, "targetCPUUtilizationPercentage": 80}
_INGRESS = {"enabled": False, "className": "", "annotations": dict[str, str](), "hosts": list[str]()}
_GATEWAY = {
    "enabled": False,
    "apiVersion": "gateway.networking.k8s.io/v1alpha2",
    "parentRefs": list[Any](),
    "hostnames": list[str](),
}
_PERSISTENCE = {
    "enabled": False,
    "existingClaim": "",
    "mountPath": "",
    "size": "1Gi",
    "accessModes": ["ReadWriteOnce"],
    "storageClass": "",
    "annotations": dict(KEPT),
}
_PEER = {"enabled": False, "host": "", "port": 443}
_WAITING = {"image": "", "container1": _PEER, "container2": _PEER}
_HARDWARE_NODES = {"las.scontain.com/ok": "true"}


def each_values(plan: ChartPlan) -> Iterator[tuple[ChartService, dict[str, Any]]]:
    """Yield each service whose chart is written here with its values, one by one: there may be thousands."""
    kinds = {service.name: workload_kind(service) for service in plan.services if service.own_chart is None}
    for service in plan.services:
        if service.own_chart is not None:
            continue
        values = chart_values(service)
        for label in service.volume_values:
            block = values.get(label)
            if (
                label.startswith(VOLUME)
                and isinstance(block, Mapping)
                and isinstance(owner := block.get("importedFrom"), Mapping)
            ):
                values[label] = {**block, "importedFrom": _with_kind(owner, kinds)}
        yield service, values


def workload_kind(service: ChartService) -> str:
    """Return what runs the pods of a service; values of the manifest win."""
    given = service.extra_values.get("workload")
    return str((given.get("kind") if isinstance(given, Mapping) else None) or service.workload)


def _with_kind(owner: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Return who has an imported volume, and as what it runs: that decides how its claim is called."""
    kind = kinds.get(str(owner.get("service")))
    return {**owner, "workload": kind} if kind else dict(owner)


def chart_values(service: ChartService) -> dict[str, Any]:
    """Return the values of the chart that is written for a service."""
    hardware = service.toolchain.sgx
    values: dict[str, Any] = {
        "replicaCount": 1,
        "image": service.image,
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": service.pull_secret}] if service.pull_secret else [],
        "nameOverride": "",
        "fullnameOverride": "",
        "workload": {"kind": service.workload, "schedule": service.schedule},
        "jobs": _JOBS,
        "scone": {
            "configId": service.config_id,
            "cas": service.cas_address,
            "casKey": service.cas_key,
            "las": "",
            "log": service.log_level,
            "toolchain": service.toolchain.name,
            "measurement": service.measurement,
            "configuration": service.configuration,
            **({"edmm": "auto"} if hardware else {}),
        },
        "service": {
            "enabled": bool(service.ports),
            "type": "ClusterIP",
            "ports": [{"name": port.name, "port": port.number} for port in service.ports],
        },
        "networkPolicy": {
            "enabled": service.callers is not None,
            "callers": list(service.callers or ()),
            "from": [],
            "restrictEgress": False,
            "to": [],
        },
        "ingress": _INGRESS,
        "gateway": _GATEWAY,
        "serviceAccount": _ACCOUNT,
        "podAnnotations": {},
        "podLabels": {},
        **_confinement(service),
        "memory": {**_MEMORY, "heap": str(service.heap)} if service.heap else _MEMORY,
        "useSGXDevPlugin": "",
        "sgxEpcMem": 0,
        "resources": {},
        "nodeSelector": _HARDWARE_NODES if hardware else {},
        "tolerations": [],
        "affinity": {},
        "topologySpreadConstraints": [],
        "priorityClassName": "",
        "runtimeClassName": "",
        "hostAliases": [],
        "terminationGracePeriodSeconds": 60 if service.volume_values else 30,
        **_probes(service),
        "initContainers": _WAITING,
        "test": {"enabled": service.toolchain.simulated and _answers(service), "image": ""},
        "podDisruptionBudget": _DISRUPTION,
        "autoscaling": _SCALING,
        "persistence": _PERSISTENCE,
        "extraVolumes": [],
        "extraVolumeMounts": [],
        "extraEnv": [],
        "extraContainers": [],
    }
    return merged(merged(values, service.volume_values), service.extra_values)


def _confinement(service: ChartService) -> dict[str, Any]:
    """Return the security contexts and what may be written to: restricted, if the user is known not to be root.

    A program that needs root, or is not known not to need it, keeps what it has: many write beside their data.
    """
    if not service.user:
        return {"podSecurityContext": _AS_ROOT, "securityContext": _WRITABLE_ROOT, "writable": []}
    pod: dict[str, Any] = {"runAsNonRoot": True, "runAsUser": service.user}
    if service.group is not None:
        pod["runAsGroup"] = service.group
    pod["seccompProfile"] = _SECCOMP
    lowest = min((port.number for port in service.ports), default=_UNPRIVILEGED)
    if lowest < _UNPRIVILEGED:
        pod["sysctls"] = [{"name": _START_OF_PORTS, "value": str(lowest)}]
    return {"podSecurityContext": pod, "securityContext": READ_ONLY_ROOT, "writable": _SCRATCH}


def _probes(service: ChartService) -> dict[str, Any]:
    """Return the probes: connections that say nothing, so that they need no certificate.

    A program listens only after its launcher has attested and opened volumes, so it has long enough for that. Where a
    port is only assumed, it may never listen.
    """
    found: dict[str, Any] = {"startupProbe": {}, "livenessProbe": {}, "readinessProbe": {}}
    if _answers(service):
        within = _OPENED_WITHIN if service.volume_values else _ATTESTED_WITHIN
        found["startupProbe"] = _connection(service.ports[0], within // _EVERY)
        found["readinessProbe"] = _connection(service.ports[0], 3)
    return found


def _answers(service: ChartService) -> bool:
    """Say whether somebody who connects to the first port gets an answer for as long as the service runs."""
    return bool(service.ports) and not service.ports[0].assumed and service.workload not in ENDING


def _connection(port: ServicePort, failures: int) -> dict[str, Any]:
    return {
        "tcpSocket": {"port": port.name},
        "periodSeconds": _EVERY,
        "timeoutSeconds": _EVERY,
        "failureThreshold": failures,
    }


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge as Helm merges values: mappings by key, anything else is replaced, and None removes a key."""
    result = dict(base)
    for key, item in over.items():
        if item is None:
            result.pop(key, None)
        elif isinstance(item, Mapping):
            below = result.get(key)
            result[key] = merged(below if isinstance(below, Mapping) else {}, item)
        else:
            result[key] = item
    return result
