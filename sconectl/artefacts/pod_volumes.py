"""What the volumes of a service mean for its pods without Helm: storage, memory, and the group that may write.

In: the values of the service's chart. Out: parts of Kubernetes objects. It says the same as the templates named
`sconectl.service.*` in charts_templates/service/templates/_helpers.tpl: a test renders both and compares.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from sconectl.errors import PlanImpossible

Object = dict[str, Any]
LABEL = "volume"
"""What the names of volumes begin with in the values of a chart."""
_LONGEST_NAME = 63
_OTHER_GROUP = 10001
_SIZE = re.compile(r"([0-9]+(?:[.][0-9]+)?)(Ki|Mi|Gi|Ti|k|M|G|T)?\Z", re.ASCII)
_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def short(name: str) -> str:
    """Return a name of an object; a hash of the whole name replaces the end of one that is too long."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:54].removesuffix('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


class PodVolumes:
    """The volumes of one service; `name` is that of its objects."""

    def __init__(self, values: Mapping[str, Any], name: str, release: str) -> None:
        self.values = values
        self.name = name
        self.release = release
        self.blocks = {label: values[label] for label in sorted(values) if label.startswith(LABEL) and values[label]}

    @property
    def one_by_one(self) -> bool:
        """Whether a pod cannot start before the one that it replaces has stopped: they cannot have a volume both."""
        shared = any(block["encrypted"] or block["persistence"]["enabled"] for block in self.blocks.values())
        return bool(shared or self.values["persistence"]["enabled"])

    def claims(self, claim: Callable[[str, Mapping[str, Any]], Object]) -> list[Object]:
        """Return the claims to make; `claim` makes one of its name and settings."""
        return [
            claim(self._claim(label, block), block["persistence"])
            for label, block in self.blocks.items()
            if block["persistence"]["enabled"]
            and not block["persistence"].get("existingClaim")
            and "importedFrom" not in block
        ]

    def _claim(self, label: str, block: Mapping[str, Any]) -> str:
        if existing := block["persistence"].get("existingClaim"):
            return str(existing)
        if "importedFrom" not in block:
            return short(f"{self.name}-{label}")
        owner = block["importedFrom"] or {}
        if owner.get("service") and owner.get("volume"):
            service = short(f"{self.release}-{owner['service']}")
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
        """Return the memory and storage of the pod."""
        found: list[Object] = []
        if memory := self.memory():
            found.append({"name": "sconectl-volumes", "emptyDir": {"medium": "Memory", "sizeLimit": str(memory)}})
        for label, block in self.blocks.items():
            if block["persistence"]["enabled"]:
                claim = {"persistentVolumeClaim": {"claimName": self._claim(label, block)}}
                found.append({"name": label, **claim})
            else:
                found.append({"name": label, "emptyDir": {}})
        return found

    def memory(self) -> int:
        """Return the bytes of memory in which volumes are opened; 0 if none is encrypted."""
        sizes = [block["persistence"]["size"] for block in self.blocks.values() if block["encrypted"]]
        given = self.values["memory"].get("volumes")
        return (size_of(given) if given else sum(map(size_of, sizes))) if sizes else 0

    def resources(self) -> Object:
        """Return the resources of the container, with a limit of memory that has room for opened volumes."""
        resources: Object = dict(self.values.get("resources") or {})
        limits = dict(resources.get("limits") or {})
        if (memory := self.memory()) and limits.get("memory"):
            limits["memory"] = str(size_of(limits["memory"]) + memory)
            resources["limits"] = limits
        return resources

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


def size_of(text: Any) -> int:
    """Return the bytes of a size like 1.5Gi. Raises `PlanImpossible`."""
    match = _SIZE.match(str(text))
    if match is None:
        raise PlanImpossible(f"{str(text)!a} is no size of memory or storage", hint="write it like 512Mi or 2Gi")
    return int(Decimal(match[1]) * (_UNITS[match[2]] if match[2] else 1))
