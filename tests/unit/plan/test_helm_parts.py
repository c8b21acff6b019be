"""Parts of pods in `helm_extra_values`: what Kubernetes would refuse is said when compiling, where it is written."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from sconectl import assets

from .test_helm_values import faults, values

ROOT = Path(__file__).resolve().parents[3]


FITTING = r"""
livenessProbe: {exec: {command: [a, b]}, tcpSocket: null, periodSeconds: 5}
readinessProbe: {grpc: {port: 9}}
startupProbe: {failureThreshold: 100}
resources: {limits: {memory: 512Mi, cpu: .5, nvidia.com/gpu: 1}, requests: {cpu: 250m, memory: 1e9, a.b/c: 0.5}}
securityContext: {seccompProfile: {type: Localhost, localhostProfile: a}, capabilities: {add: [NET_BIND_SERVICE]}}
podSecurityContext: {fsGroup: 7, sysctls: [{name: a, value: "1"}]}
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{}]}}}
tolerations: [{operator: Exists}]
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
extraVolumes: [{name: a, emptyDir: {sizeLimit: 1Gi}}, {name: b, persistentVolumeClaim: {claimName: c}}]
extraVolumeMounts: [{name: a, mountPath: /a}, {name: a, mountPath: /b, subPath: x}]
extraEnv: [{name: SCONE_HEAP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]
extraContainers: [{name: log, image: "example/log:1", ports: [{containerPort: 1}]}]
podAnnotations: {a.example.org/x-y_z.1: "any text\n{{ }}"}
podLabels: {team: shop, empty: ""}
hostAliases: [{ip: 10.0.0.1, hostnames: [a]}]
networkPolicy: {from: [{namespaceSelector: {matchLabels: {a: b}}}], to: [{ipBlock: {cidr: 10.0.0.0/8}}]}
"""


def section(text: str) -> str:
    """Return the section of a mesh with these values of the service web."""
    return "helm_extra_values:\n  web:\n" + "".join(f"    {line}\n" for line in text.strip().splitlines())


def said(text: str) -> list[tuple[str, str]]:
    """Return the place and message of each fault in the values of the service web."""
    return [(path.removeprefix("helm_extra_values.web."), message) for _, path, _, message, *_ in faults(section(text))]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("livenessProbe: {httpGet: {path: /}, tcpSocket: {port: api}}", "livenessProbe", "asks in several ways"),
        ("livenessProbe: {httpget: {path: /}}", "livenessProbe.httpget", "does not know"),
        ("livenessProbe: {httpGet: {path: /}}", "livenessProbe.httpGet", "port is missing"),
        ("startupProbe: {failureThreshold: many}", "startupProbe.failureThreshold", "whole number"),
        ("startupProbe: {exec: {command: sh}}", "startupProbe.exec.command", "a list"),
        ("resources: {limits: {memory: 512mb}}", "resources.limits.memory", "an amount"),
        ("resources: {limit: {memory: 512Mi}}", "resources.limit", "does not know"),
        ("resources: {limits: {cpu: true}}", "resources.limits.cpu", "an amount"),
        ("affinity: {nodeAfinity: {}}", "affinity.nodeAfinity", "does not know"),
        ("affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1}]}}",
         "affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0]", "podAffinityTerm is missing"),
        ("tolerations: [{operater: Exists}]", "tolerations[0].operater", "does not know"),
        ("securityContext: {readOnlyRootFileSystem: true}", "securityContext.readOnlyRootFileSystem", "does not know"),
        ("securityContext: {capabilities: {drop: ALL}}", "securityContext.capabilities.drop", "a list"),
        ("podSecurityContext: {runAsUser: nobody}", "podSecurityContext.runAsUser", "whole number"),
        ("extraVolumes: [{name: a, emptydir: {}}]", "extraVolumes[0].emptydir", "does not know"),
        ("extraVolumes: [{emptyDir: {}}]", "extraVolumes[0]", "name is missing"),
        ("extraVolumes: [{name: a, emptyDir: {}}, {name: a, emptyDir: {}}]", "extraVolumes[1].name", "there already"),
        ("extraVolumes: [{name: sconectl-memory, emptyDir: {}}]", "extraVolumes[0].name", "there already"),
        ("extraVolumeMounts: [{name: a, mountPath: /dev/shm}]", "extraVolumeMounts[0].mountPath", "there already"),
        ("extraEnv: [{name: SCONE_A, value: 1G}, {name: SCONE_A, value: 2G}]", "extraEnv[1].name", "there already"),
        ("extraEnv: [{name: SCONE_HEAP, valueFrom: {secretRef: {}}}]", "extraEnv[0].valueFrom.secretRef", "not know"),
        ("extraContainers: [{name: api, image: x}]", "extraContainers[0].name", "there already"),
        ("extraContainers: [{name: log, imgae: x}]", "extraContainers[0].imgae", "does not know"),
        ('podAnnotations: {a: "x\\u0085y"}', "podAnnotations.a", "U+0085"),
        ('tolerations: [{key: "\\u0085"}]', "tolerations[0].key", "U+0085"),
        ("podAnnotations: {'a b': x}", "podAnnotations.a b", "text of the form"),
        ("podLabels: {a: b c}", "podLabels.a", "text of the form"),
        (f"podLabels: {{a: {'x' * 64}}}", "podLabels.a", "at most 63"),
        ("topologySpreadConstraints: [{maxSkew: one}]", "topologySpreadConstraints[0].maxSkew", "whole number"),
        ("hostAliases: [{hostnames: [a]}]", "hostAliases[0]", "ip is missing"),
        ("networkPolicy: {from: [{podSelektor: {}}]}", "networkPolicy.from[0].podSelektor", "does not know"),
        ("imagePullSecrets: [{nam: x}]", "imagePullSecrets[0]", "name is missing"),
        ("persistence: {accessModes: []}", "persistence.accessModes", "at least 1"),
        ("image: ''", "image", "not empty"),
        ("extraContainers: [{name: wait-container1, image: x}]", "extraContainers[0].name", "there already"),
        ("service: {ports: [{name: a, port: 1}, {name: a, port: 2}]}", "service.ports[1].name", "there already"),
        ("service: {ports: [{name: a, port: 1}, {name: b, port: 1}]}", "service.ports[1].port", "there already"),
        ("autoscaling: {metrics: [{kind: Resource}]}", "autoscaling.metrics[0].kind", "does not know"),
    ],
)  # fmt: skip
def test_a_fault_in_a_part(text: str, place: str, message: str) -> None:
    found = dict(said(text))
    assert place in found, found
    assert message in found[place]


def test_what_kubernetes_takes_is_taken() -> None:
    given = values(section(FITTING))
    assert given["web"]["livenessProbe"]["tcpSocket"] is None


def test_what_is_known_of_kubernetes_is_that_of_the_tool() -> None:
    spec = importlib.util.spec_from_file_location("write_kubernetes", ROOT / "scripts/write_kubernetes.py")
    assert spec and spec.loader
    script: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert assets.read("charts_templates/kubernetes.json").decode() == script.written()


def test_every_reference_to_kubernetes_leads_somewhere() -> None:
    parts = json.loads(assets.read("charts_templates/kubernetes.json"))
    texts = [json.dumps(parts), assets.read("charts_templates/service/values.schema.json").decode()]
    named = {word.partition('"')[0] for text in texts for word in text.split('"kubernetes:')[1:]}
    assert named <= parts.keys()
    assert {"Probe", "Affinity", "Volume", "Container"} <= named
