"""What the container of a service asks the node for, without Helm.

In: a service as it is installed. Out: parts of its container. Raises `PlanImpossible` for sizes that are none. It says
the same as charts_templates/service/templates/_resources.tpl.
"""

from __future__ import annotations

from collections.abc import Mapping

from sconectl.artefacts.chart_values import SGX_MEMORY, SGX_RESOURCE
from sconectl.artefacts.installed import Installed, Object
from sconectl.artefacts.pod_volumes import PodVolumes, size_of
from sconectl.errors import PlanImpossible

DEVICES = {"sconectl-enclave": "/dev/sgx_enclave", "sconectl-provision": "/dev/sgx_provision"}
"""What a container mounts where no device plugin gives it an enclave."""


def resources(of: Installed, volumes: PodVolumes) -> Object:
    """Return requests and limits: of memory for volumes and heap, and of SGX as its device plugin wants it."""
    found = {
        part: {name: amount for name, amount in given.items() if amount is not None}
        if isinstance(given, Mapping)
        else given
        for part, given in (of.values.get("resources") or {}).items()
    }
    found = {part: given for part, given in found.items() if given}
    limits, requests = dict(found.get("limits") or {}), dict(found.get("requests") or {})
    memory = of.values["memory"]
    if limits.get("memory"):
        if more := volumes.memory():
            limits["memory"] = str(size_of(limits["memory"]) + more)
    elif memory.get("heap"):
        all_of_it = sum(size_of(memory[part]) for part in ("heap", "sizeLimit", "runtime")) + volumes.memory()
        limits["memory"] = str(all_of_it)
        requests["memory"] = requests.get("memory") or limits["memory"]
    if of.service.toolchain.sgx and not any(name.startswith("sgx.") for name in limits):
        limits |= _enclave(of)
    return found | {part: given for part, given in (("limits", limits), ("requests", requests)) if given}


def _enclave(of: Installed) -> Object:
    plugin, megabytes = of.values.get("useSGXDevPlugin"), of.values.get("sgxEpcMem")
    if plugin == "disabled":
        return {}
    if plugin == "azure":
        if not megabytes:
            message = f"{of.service.name}: with useSGXDevPlugin azure, say how many MiB of memory the enclave needs"
            raise PlanImpossible(message, hint="give sgxEpcMem")
        return {SGX_MEMORY: f"{megabytes}Mi"}
    return {SGX_RESOURCE: 1, **({SGX_MEMORY: f"{megabytes}Mi"} if plugin == "intel" and megabytes else {})}


def has_device(of: Installed) -> bool:
    """Say whether the container mounts the device of the node itself."""
    return of.service.toolchain.sgx and of.values.get("useSGXDevPlugin") == "disabled"


def security_context(of: Installed) -> Object:
    """Return the security context of the container; without a device plugin only a privileged one sees the device."""
    privileged = {"privileged": True, "allowPrivilegeEscalation": True} if has_device(of) else {}
    return {**(of.values.get("securityContext") or {}), **privileged}
