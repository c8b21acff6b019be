"""Advice about the pods of a mesh: values of the chart that give the node, or the program, more power than needed.

In: a mesh. Out: remarks at the values, or at the field where its value is one text.
"""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import normpath
from typing import TYPE_CHECKING, Any

from sconectl.plan.advice.advice_values import Remark
from sconectl.text.yaml_tree import Path, parse

if TYPE_CHECKING:
    from sconectl.manifest.model.mesh import Mesh

_FIELD = "helm_extra_values"
_DEVICES = "/dev/"  # of the node; a program in an enclave needs one of them
_POWERS = frozenset(
    {"ALL", "BPF", "DAC_READ_SEARCH", "NET_ADMIN", "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO"}
)
"""Capabilities whose owner can get at the node, or at other programs on it."""
_SWITCHES = ("privileged", "allowPrivilegeEscalation")
_UNCONFINED = "unconfined"

Place = tuple[Path, Any]


def loosened_pods(model: Mesh) -> Iterator[Remark]:
    """SC4014: directories of the node, and powers that the chart does not give by itself."""
    for path, values in _values(model):
        if not isinstance(values, dict):
            continue
        for below, volume in _entries(values.get("extraVolumes")):
            host = volume.get("hostPath") if isinstance(volume, dict) else None
            if isinstance(host, dict) and not normpath(str(host.get("path", ""))).startswith(_DEVICES):
                message = "a directory of the node is mounted: whoever runs the node reads and changes what is in it"
                hint = "use persistence or a persistentVolumeClaim, and encrypt what is confidential in it"
                yield Remark("SC4014", (*path, "extraVolumes", below, "hostPath"), message, hint)
        for key in ("securityContext", "podSecurityContext"):
            if isinstance(context := values.get(key), dict):
                yield from _powers((*path, key), context)


def _powers(path: Path, context: dict[str, Any]) -> Iterator[Remark]:
    hint = "remove it; most programs need at most a capability like NET_BIND_SERVICE"
    for key in _SWITCHES:
        if str(context.get(key)).lower() == "true":
            message = f"{key}: whoever takes over the program can take over the node"
            yield Remark("SC4014", (*path, key), message, hint)
    capabilities = context.get("capabilities")
    for number, name in _entries(capabilities.get("add") if isinstance(capabilities, dict) else None):
        if str(name).removeprefix("CAP_") in _POWERS:
            message = f"the capability {name} lets the program get at the node, or at other programs on it"
            yield Remark("SC4014", (*path, "capabilities", "add", number), message, hint)
    profile = context.get("seccompProfile")
    if isinstance(profile, dict) and str(profile.get("type")).lower() == _UNCONFINED:
        message = "without seccomp the program may use every call of the kernel"
        hint = "remove it, or name a profile that allows what the program needs"
        yield Remark("SC4014", (*path, "seccompProfile", "type"), message, hint)


def _entries(value: Any) -> Iterator[tuple[int, Any]]:
    return enumerate(value) if isinstance(value, (list, tuple)) else enumerate(())


def _values(model: Mesh) -> Iterator[Place]:
    """Yield the values for each chart, with their path."""
    for number, service in enumerate(model.services):
        yield ("services", number, _FIELD), _read(service.helm_extra_values)
    sections = _read(model.helm_extra_values)
    for key, values in sections.items() if isinstance(sections, dict) else ():
        yield (_FIELD, key), values


def _read(values: Any) -> Any:
    """Return values as they are, or what stands in their text, which the model has read before."""
    return parse(values, "").value if isinstance(values, str) else values
