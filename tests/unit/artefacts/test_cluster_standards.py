"""What the chart makes passes what a strict platform asks for: schemas of clusters, the restricted standard.

The table of the restricted Pod Security Standard is written down here as the documentation of Kubernetes has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from fakes.builders import TOOLCHAINS

from sconectl.artefacts.manifests import manifest_files
from sconectl.plan.mesh.chart_plan import ChartPlan, ChartService, ServicePort

from .test_manifests import BOXED, CASES, VOLUMES, WEB, by_helm, objects

SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
VERSIONS = sorted(
    (path.name[1:].removesuffix("-local") for path in SCHEMAS.glob("v*-local")),
    key=lambda version: [int(part) for part in version.split(".")],
)
OLDEST_AND_NEWEST = (VERSIONS[0], VERSIONS[-1])
NOT_OF_KUBERNETES = {"TLSRoute"}

# --- the table -------------------------------------------------------------------------------------------------------

VOLUME_TYPES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip


def violations(spec: dict[str, Any]) -> Iterator[str]:
    """Yield what the restricted standard has against a pod."""
    pod = spec.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield key
    for volume in spec.get("volumes", ()):
        if set(volume) - {"name"} - VOLUME_TYPES:
            yield f"volume {volume['name']}"
    if {entry["name"] for entry in pod.get("sysctls", ())} - SAFE_SYSCTLS:
        yield "sysctls"
    if pod.get("runAsUser") == 0:
        yield "runAsUser of the pod"
    if pod.get("seccompProfile", {}).get("type", "RuntimeDefault") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile of the pod"
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(kind, ()):
            for found in _of_container(container, pod):
                yield f"{container['name']}: {found}"


def _of_container(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})
    capabilities = own.get("capabilities", {})
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if "ALL" not in capabilities.get("drop", ()) or set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
        yield "capabilities"
    if not own.get("runAsNonRoot", pod.get("runAsNonRoot")):
        yield "runAsNonRoot"
    if own.get("runAsUser") == 0:
        yield "runAsUser"
    if own.get("seccompProfile", pod.get("seccompProfile", {})).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if any(port.get("hostPort") for port in container.get("ports", ())):
        yield "hostPort"


def pods(found: dict[tuple[str, str], Any]) -> list[dict[str, Any]]:
    """Return the specifications of all pods that come of some objects."""
    specs = []
    for item in found.values():
        spec = item.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            specs.append(spec["template"]["spec"])
        elif item["kind"] == "Pod":
            specs.append(spec)
    return specs


# --- the chart -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(CASES))
def test_old_and_new_clusters_take_it(tmp_path: Path, name: str) -> None:
    found = by_helm(tmp_path, ChartPlan("shop", "0.1.0", (CASES[name],)), "demo")
    for item in found.values():
        if item["kind"] not in NOT_OF_KUBERNETES:
            for version in OLDEST_AND_NEWEST:
                kubernetes_validate.validate(item, version, strict=True)


NOT_ROOT = {
    "simple": BOXED,
    "without group": replace(BOXED, group=None),
    "without port": replace(BOXED, ports=()),
    "volumes": replace(BOXED, volume_values=VOLUMES),
    "hardware": replace(BOXED, toolchain=TOOLCHAINS["scone"]),
    **{kind: replace(BOXED, workload=kind, schedule="0 1 * * *") for kind in ("statefulset", "job", "cronjob")},
}


@pytest.mark.parametrize("service", NOT_ROOT.values(), ids=list(NOT_ROOT))
def test_an_image_that_is_not_root_meets_the_restricted_standard(tmp_path: Path, service: ChartService) -> None:
    found = pods(by_helm(tmp_path, ChartPlan("shop", "0.1.0", (service,)), "demo"))
    assert found
    for spec in found:
        assert list(violations(spec)) == []
        assert spec["automountServiceAccountToken"] is False
        [container] = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert (spec["securityContext"]["runAsUser"], spec["securityContext"].get("runAsGroup")) == (999, service.group)
        writable = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/tmp", "/run", "/dev/shm"} <= writable


@pytest.mark.parametrize("user", [0, None])
def test_an_image_that_may_be_root_breaks_only_this_rule(tmp_path: Path, user: int | None) -> None:
    [spec] = pods(by_helm(tmp_path, ChartPlan("shop", "0.1.0", (replace(WEB, user=user),)), "demo"))
    assert list(violations(spec)) == ["api: runAsNonRoot"]
    assert "runAsUser" not in spec["securityContext"]
    assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is False


def test_the_table_sees_what_is_wrong(tmp_path: Path) -> None:
    extra = {
        "securityContext": {"allowPrivilegeEscalation": True, "capabilities": {"add": ["SYS_ADMIN"]}, "runAsUser": 0},
        "extraVolumes": [{"name": "host", "hostPath": {"path": "/"}}],
        "extraContainers": [{"name": "x", "image": "x"}],
    }
    [spec] = pods(by_helm(tmp_path, ChartPlan("shop", "0.1.0", (replace(BOXED, extra_values=extra),)), "demo"))
    assert list(violations(spec)) == [
        "volume host", "api: allowPrivilegeEscalation", "api: capabilities", "api: runAsUser",
        "x: allowPrivilegeEscalation", "x: capabilities",
    ]  # fmt: skip


@pytest.mark.parametrize("number", [443, 1023, 1024, 8080])
def test_a_low_port_needs_no_capability(tmp_path: Path, number: int) -> None:
    ports = (ServicePort("https", number), ServicePort("more", 9999))
    [spec] = pods(by_helm(tmp_path, ChartPlan("shop", "0.1.0", (replace(BOXED, ports=ports),)), "demo"))
    start = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": str(number)}] if number < 1024 else None
    assert spec["securityContext"].get("sysctls") == start
    assert list(violations(spec)) == []


# --- who may connect -------------------------------------------------------------------------------------------------


def admitted(found: dict[tuple[str, str], Any], service: str, labels: dict[str, str], port: int) -> bool:
    """Say whether the policy of a service lets a pod with these labels connect to a port, as Kubernetes decides it."""
    policy = found.get(("NetworkPolicy", service))
    if policy is None:
        return True
    for rule in policy["spec"]["ingress"]:
        at = not rule.get("ports") or any(entry["port"] == port for entry in rule["ports"])
        peers = rule.get("from")
        by = not peers or any(
            peer.get("podSelector", {}).get("matchLabels", {}).items() <= labels.items() for peer in peers
        )
        if at and by:
            return True
    return False


def test_only_callers_reach_a_service(tmp_path: Path) -> None:
    names = ("front", "api", "db", "batch")
    callers = {"front": None, "api": ("front",), "db": ("api", "batch"), "batch": ()}
    services = tuple(replace(WEB, name=name, callers=callers[name]) for name in names)
    found = by_helm(tmp_path, ChartPlan("shop", "0.1.0", services), "demo")
    for service in names:
        for caller in names:
            labels = {"app.kubernetes.io/name": caller, "app.kubernetes.io/instance": "demo"}
            known = callers[service]
            assert admitted(found, f"demo-{service}", labels, 8080) == (known is None or caller in known)
            if known is not None:
                assert not admitted(found, f"demo-{service}", {**labels, "app.kubernetes.io/instance": "x"}, 8080)
                assert not admitted(found, f"demo-{service}", labels, 22)


@pytest.mark.parametrize(
    "extra",
    [
        {"service": {"type": "LoadBalancer"}},
        {"service": {"type": "NodePort"}},
        {"ingress": {"enabled": True, "hosts": ["a.example.org"]}},
        {"gateway": {"enabled": True, "hostnames": ["a.example.org"], "parentRefs": [{"name": "edge"}]}},
        {"networkPolicy": {"enabled": False}},
    ],
)
def test_a_way_from_outside_lets_everybody_in(tmp_path: Path, extra: dict[str, Any]) -> None:
    service = replace(WEB, callers=("api",))
    stranger = {"app.kubernetes.io/name": "x"}
    closed = by_helm(tmp_path / "a", ChartPlan("shop", "0.1.0", (service,)), "demo")
    assert not admitted(closed, "demo-web", stranger, 8080)
    opened = by_helm(tmp_path / "b", ChartPlan("shop", "0.1.0", (replace(service, extra_values=extra),)), "demo")
    assert admitted(opened, "demo-web", stranger, 8080)


def test_tls_is_passed_on(tmp_path: Path) -> None:
    ways = {
        "ingress": {"enabled": True, "hosts": ["a.example.org"], "annotations": {"haproxy.org/ssl-passthrough": "no"}},
        "gateway": {"enabled": True, "hostnames": ["a.example.org"], "parentRefs": [{"name": "edge"}]},
    }
    found = by_helm(tmp_path, ChartPlan("shop", "0.1.0", (replace(WEB, extra_values=ways),)), "demo")
    ingress, route = found["Ingress", "demo-web"], found["TLSRoute", "demo-web"]
    annotations = ingress["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/ssl-passthrough"] == "true"
    assert annotations["haproxy.org/ssl-passthrough"] == "no"
    assert ingress["spec"]["tls"] == [{"hosts": ["a.example.org"]}], "no certificate for who stands between"
    [path] = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"] == {"service": {"name": "demo-web", "port": {"name": "api"}}}
    assert route["spec"]["rules"] == [{"backendRefs": [{"name": "demo-web", "port": 8080}]}]


# --- server-side apply -----------------------------------------------------------------------------------------------

ALWAYS = {
    "Deployment": {"selector", "strategy", "template"},
    "StatefulSet": {"selector", "serviceName", "podManagementPolicy", "updateStrategy", "template"},
    "DaemonSet": {"selector", "updateStrategy", "template"},
    "Job": {"backoffLimit", "template"},
    "CronJob": {"schedule", "concurrencyPolicy", "jobTemplate"},
    "NetworkPolicy": {"podSelector", "policyTypes", "ingress"},
}


@pytest.mark.parametrize("name", list(CASES))
def test_what_has_a_default_in_the_cluster_is_always_said(name: str) -> None:
    [text] = manifest_files(ChartPlan("shop", "0.1.0", (CASES[name],)), "demo", {}).values()
    for (kind, _), item in objects(text.decode()).items():
        assert item["spec"].keys() >= ALWAYS.get(kind, set()) if kind in ALWAYS else True
