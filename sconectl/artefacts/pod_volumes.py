"""What the volumes of a service mean for its pods without Helm: storage, memory, and the group that may write.

In: the service as it is installed. Out: parts of Kubernetes objects. It says the same as the templates in
charts_templates/service/templates/_volumes.tpl: a test renders both and compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from sconectl.artefacts.chart_values import VOLUME
from sconectl.artefacts.installed import Installed, Object, short, shorter
from sconectl.errors import PlanImpossible

_DATA = "sconectl-data"
_OTHER_GROUP = 10001
_SIZE = re.compile(r"([0-9]+(?:[.][0-9]+)?)(Ki|Mi|Gi|Ti|k|M|G|T)?\Z", re.ASCII)
_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


class PodVolumes:
    """The volumes of one service as it is installed."""

    def __init__(self, of: Installed) -> None:
        self.of = of
        self.values = of.values
        values = of.values
        self.blocks = {label: values[label] for label in sorted(values) if label.startswith(VOLUME) and values[label]}

    @property
    def one_by_one(self) -> bool:
        """Whether a pod cannot start before the one that it replaces has stopped: they cannot have a volume both."""
        shared = any(block["encrypted"] or block["persistence"]["enabled"] for block in self.blocks.values())
        return bool(shared or self.values["persistence"]["enabled"])

    def claims(self) -> list[Object]:
        """Return the claims that all pods share."""
        found = {} if self._per_replica else self._own()
        return [
            self.of.object(
                "v1", "PersistentVolumeClaim", {"spec": _claim_spec(given)}, given.get("annotations"), self._name(label)
            )
            for label, given in found.items()
        ]

    def claim_templates(self) -> list[Object]:
        """Return the claims that each replica of a StatefulSet gets for itself."""
        return list(self._templates()) if self._per_replica else []

    @property
    def _per_replica(self) -> bool:
        return self.of.kind == "statefulset"

    def _own(self) -> dict[str, Mapping[str, Any]]:
        """Return the settings of the claims that are made for this service, by the names of the volumes."""
        blocks = {label: block for label, block in self.blocks.items() if "importedFrom" not in block}
        given = {_DATA: self.values["persistence"]} | {label: block["persistence"] for label, block in blocks.items()}
        return {label: item for label, item in given.items() if item["enabled"] and not item.get("existingClaim")}

    def _templates(self) -> Iterator[Object]:
        for label, given in sorted(self._own().items()):
            metadata: Object = {"name": label, "labels": self.of.selector()}
            if given.get("annotations"):
                metadata["annotations"] = given["annotations"]
            yield {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": metadata,
                "spec": _claim_spec(given),
            }

    def _name(self, label: str) -> str:
        return self.of.name if label == _DATA else short(f"{self.of.name}-{label}")

    def claim(self, label: str) -> str:
        """Return the claim of a volume. Raises `PlanImpossible` for one of a session that the mesh does not have."""
        block = self.blocks[label]
        if existing := block["persistence"].get("existingClaim"):
            return str(existing)
        if "importedFrom" not in block:
            return self._name(label)
        owner = block["importedFrom"] or {}
        if owner.get("service") and owner.get("volume"):
            service = short(f"{self.of.release}-{owner['service']}")
            if owner.get("workload") == "statefulset":
                return f"{owner['volume']}-{shorter(service)}-0"
            return short(f"{service}-{owner['volume']}")
        raise PlanImpossible(
            f"{label} is the volume of a session outside of this mesh",
            hint=f"name its claim in {label}.persistence.existingClaim",
        )

    def mounts(self) -> list[Object]:
        """Return where the container has memory and storage."""
        memory = [{"name": "sconectl-volumes", "mountPath": "/scone/memory"}] if self.memory() else []
        return memory + [{"name": label, "mountPath": block["mountPath"]} for label, block in self.blocks.items()]

    def sources(self) -> list[Object]:
        """Return the memory and storage of the pod, but for what a claim template brings."""
        templates = self._own() if self._per_replica else {}
        found: list[Object] = []
        if self.values["persistence"]["enabled"] and _DATA not in templates:
            claim = self.values["persistence"].get("existingClaim") or self.of.name
            found.append({"name": _DATA, "persistentVolumeClaim": {"claimName": claim}})
        if memory := self.memory():
            found.append({"name": "sconectl-volumes", "emptyDir": {"medium": "Memory", "sizeLimit": str(memory)}})
        for label, block in self.blocks.items():
            if label in templates:
                continue
            if block["persistence"]["enabled"]:
                claim = {"persistentVolumeClaim": {"claimName": self.claim(label)}}
                found.append({"name": label, **claim})
            else:
                found.append({"name": label, "emptyDir": {}})
        return found

    def memory(self) -> int:
        """Return the bytes of memory in which volumes are opened; 0 if none is encrypted."""
        sizes = [block["persistence"]["size"] for block in self.blocks.values() if block["encrypted"]]
        given = self.values["memory"].get("volumes")
        return (size_of(given) if given else sum(map(size_of, sizes))) if sizes else 0

    def security(self) -> Object:
        """Return the security context of the pod, with a group that may write for a program that is not root."""
        pod: Object = dict(self.values.get("podSecurityContext") or {})
        own = self.values.get("securityContext") or {}
        user = own.get("runAsUser") or pod.get("runAsUser") or 0
        group = own.get("runAsGroup") or pod.get("runAsGroup") or user
        other = pod.get("runAsNonRoot") or own.get("runAsNonRoot") or user > 0
        if self.blocks and "fsGroup" not in pod and other:
            pod["fsGroup"] = group if group > 0 else _OTHER_GROUP
            pod["fsGroupChangePolicy"] = pod.get("fsGroupChangePolicy") or "OnRootMismatch"
        return pod


def _claim_spec(given: Mapping[str, Any]) -> Object:
    spec: Object = {"accessModes": given["accessModes"]}
    if given.get("storageClass"):
        spec["storageClassName"] = given["storageClass"]
    return spec | {"resources": {"requests": {"storage": given["size"]}}}


def size_of(text: Any) -> int:
    """Return the bytes of a size like 1.5Gi. Raises `PlanImpossible`."""
    match = _SIZE.match(str(text))
    if match is None:
        raise PlanImpossible(f"{str(text)!a} is no size of memory or storage", hint="write it like 512Mi or 2Gi")
    return int(Decimal(match[1]) * (_UNITS[match[2]] if match[2] else 1))
