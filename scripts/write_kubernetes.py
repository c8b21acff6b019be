"""Writes charts_templates/kubernetes.json: what Kubernetes knows of the parts of pods that values of a chart may hold.

From the newest schemas of kubernetes-validate, a tool of the developers. After an update of that:
`.venv/bin/python scripts/write_kubernetes.py`. Descriptions are left out. `kubernetes:NAME` refers to another part, and
`whole` says that nothing of a part stands in the chart's own values already, so that what is required has to be given.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kubernetes_validate

HOME = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
OUTPUT = Path(__file__).resolve().parent.parent / "charts_templates" / "kubernetes.json"
CORE = "io.k8s.api.core.v1."
_PARTS = """
Affinity Container EnvVarSource HostAlias PodSecurityContext Probe ResourceRequirements SecurityContext Toleration
TopologySpreadConstraint Volume VolumeMount
"""
ROOTS = (
    *(CORE + name for name in _PARTS.split()),
    "io.k8s.api.networking.v1.NetworkPolicyPeer",
    "io.k8s.api.autoscaling.v2.MetricSpec",
)
PARTIAL = (
    "SecurityContext",
    "PodSecurityContext",
    "SeccompProfile",
    "Probe",
    "TCPSocketAction",
    "TopologySpreadConstraint",
)
SPECIAL = {
    "Quantity": {"type": "quantity"},
    "IntOrString": {"type": "number or name"},
    "Time": {"type": "string"},
    "FieldsV1": {"type": "object"},
}
Schema = dict[str, Any]


def written() -> str:
    """Return the content of the file."""
    newest = max(
        HOME.glob("v*-local-strict"), key=lambda path: [int(n) for n in path.name[1:].split("-")[0].split(".")]
    )
    known: dict[str, Schema] = json.loads((newest / "_definitions.json").read_text())["$defs"]
    found: dict[str, Schema] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        short = name.rpartition(".")[2]
        if short not in found:
            found[short] = SPECIAL.get(short) or _part(known[name], short, waiting)
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def _part(schema: Schema, name: str, waiting: list[str]) -> Schema:
    part = _slim(schema, waiting)
    return part if name in PARTIAL or not part.get("required") else {**part, "whole": True}


def _slim(schema: Schema, waiting: list[str]) -> Schema:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        waiting.append(name)
        return {"$ref": f"kubernetes:{name.rpartition('.')[2]}"}
    kinds = schema.get("type", "object")
    kind = kinds if isinstance(kinds, str) else next(each for each in kinds if each != "null")
    found: Schema = {"type": kind}
    if "properties" in schema:
        found["properties"] = {key: _slim(item, waiting) for key, item in schema["properties"].items()}
        found["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        found["additionalProperties"] = _slim(schema["additionalProperties"], waiting)
    if "items" in schema:
        found["items"] = _slim(schema["items"], waiting)
    if schema.get("required"):
        found["required"] = schema["required"]
    return found


if __name__ == "__main__":
    OUTPUT.write_text(written())
