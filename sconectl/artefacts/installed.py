"""A service as it is installed in a release: the names and labels of its objects, and its ports.

In: the plan of the chart, one service of it, the name of the release, its values. Out: an `Installed`. It says the same
as charts_templates/service/templates/_helpers.tpl.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sconectl.artefacts.chart_values import ENDING
from sconectl.plan.mesh.chart_plan import ChartPlan, ChartService

Object = dict[str, Any]
MANAGER = "sconectl"
_LONGEST_NAME = 63
_LONGEST_OWNER = 52
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_ESCAPED_BY_GO = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def short(name: str, longest: int = _LONGEST_NAME) -> str:
    """Return a name of an object; a hash of the whole name replaces the end of one that is too long."""
    if len(name) <= longest:
        return name
    return f"{name[: longest - 9].removesuffix('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def shorter(name: str) -> str:
    """Return a name with room for what Kubernetes puts behind it: pods of a StatefulSet, Jobs of a CronJob."""
    return short(name, _LONGEST_OWNER)


def image_tag(image: str) -> str:
    """Return the tag of an image reference if it has one that Kubernetes accepts as a label, else ""."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    return tag if _LABEL_VALUE.match(tag) else ""


def ports_of(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the ports that the values of a service name, the first one with another number if one says so."""
    given = values["service"]
    ports = [dict(port) for port in given.get("ports") or ()]
    if given.get("port"):
        first = ports[0] if ports else {"name": "api"}
        ports = [{**first, "port": given["port"]}, *ports[1:]]
    return ports


@dataclass(frozen=True)
class Installed:
    """One service of a plan in a release."""

    plan: ChartPlan
    service: ChartService
    release: str
    values: Mapping[str, Any]

    @cached_property
    def label(self) -> str:
        """What its pods are found by."""
        return str(self.values.get("nameOverride") or self.service.name)[:_LONGEST_NAME].removesuffix("-")

    @cached_property
    def name(self) -> str:
        """The name of its objects."""
        return short(self.values.get("fullnameOverride") or f"{self.release}-{self.label}")

    @property
    def pods_name(self) -> str:
        """The name of the Service that gives each pod of a StatefulSet an address of its own."""
        return short(f"{self.name}-pods")

    @property
    def kind(self) -> str:
        """The kind of its workload."""
        return str(self.values["workload"]["kind"])

    @property
    def ends(self) -> bool:
        """Whether its pods run to their end."""
        return self.kind in ENDING

    @cached_property
    def workload_name(self) -> str:
        """The name of what runs its pods. A Job cannot be changed, so other values make another one."""
        if self.kind in ("statefulset", "cronjob"):
            return shorter(self.name)
        if self.kind == "job" and self.values["jobs"].get("uniqueName"):
            return short(f"{self.name}-{hashlib.sha256(_as_go_writes(self.values)).hexdigest()[:8]}")
        return self.name

    @cached_property
    def ports(self) -> list[dict[str, Any]]:
        """Its ports, with name and number."""
        return ports_of(self.values)

    def selector(self) -> dict[str, str]:
        """Return the labels by which its pods are found."""
        return {"app.kubernetes.io/name": self.label, "app.kubernetes.io/instance": self.release}

    def labels(self) -> dict[str, str]:
        """Return the labels of its objects."""
        tag = image_tag(self.service.image)
        return {
            **self.selector(),
            **({"app.kubernetes.io/version": tag} if tag else {}),
            "app.kubernetes.io/managed-by": MANAGER,
            "app.kubernetes.io/part-of": self.plan.name[:_LONGEST_NAME].removesuffix("-"),
        }

    def simulation(self) -> dict[str, str]:
        """Return the annotation that says that nothing but the program itself is protected, if that is so."""
        return {"sconectl.io/simulation": "true"} if self.service.toolchain.simulated else {}

    def object(
        self, version: str, kind: str, rest: Object, annotations: Mapping[str, str] | None = None, name: str = ""
    ) -> Object:
        """Return an object with its head."""
        metadata: Object = {"name": name or self.name, "labels": self.labels()}
        if annotations:
            metadata["annotations"] = dict(annotations)
        return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _as_go_writes(values: Mapping[str, Any]) -> bytes:
    """Return values as JSON, as the template function `toJson` writes them."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.translate(_ESCAPED_BY_GO).encode()
