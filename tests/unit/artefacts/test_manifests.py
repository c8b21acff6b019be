"""Manifests for clusters without Helm say the same as what Helm makes of the chart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import helm_python as helm
import pytest
from fakes.builders import TOOLCHAINS
from ruamel.yaml import YAML

from sconectl.artefacts.chart import render_chart
from sconectl.artefacts.manifests import manifest_files
from sconectl.errors import PlanImpossible
from sconectl.plan.mesh.chart_plan import ChartPlan, ChartService, ServicePort, Workload
from sconectl.plan.mesh.mesh_volumes import volume_block

FACTS: dict[str, Any] = {"config_id": "shop/web/main", "cas_address": "cas.example.org", "cas_key": ""}
FACTS |= {
    "measurement": "1e" + "0" * 62,
    "ports": (ServicePort("api", 8080),),
    "pull_secret": "",
    "log_level": "error",
    "extra_values": {},
}
WEB = ChartService("web", "registry.example.com:5000/shop/web:1.4", toolchain=TOOLCHAINS["sim"], **FACTS)
DATABASE = {
    "persistence": {"enabled": True, "mountPath": "/data", "storageClass": "fast", "annotations": {"a": "b"}},
    "extraVolumes": [{"name": "tmp", "persistentVolumeClaim": {"claimName": "scratch"}}],
    "extraVolumeMounts": [{"name": "tmp", "mountPath": "/var/tmp"}],
    "resources": {"limits": {"cpu": 0.5}},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"podAffinity": {}},
    "startupProbe": {"tcpSocket": {"port": "api"}},
    "extraEnv": [{"name": "SCONE_HEAP", "value": "1G"}],
    "podAnnotations": {"mine": "1", "sconectl.io/measurement": "no"},
    "scone": {"las": "h:1"},
    "service": {"type": "NodePort", "nodePort": 30080, "annotations": {"c": "d"}},
}
VOLUMES = {
    "volumev1": volume_block("/scone/volumes/V1", encrypted=True),
    "volumelogs": volume_block("/logs", encrypted=False),
    "volumemy-data": volume_block("/scone/volumes/my.data", encrypted=True),
}
KEPT = {
    "persistence": {
        "enabled": True,
        "size": "2.5Gi",
        "storageClass": "fast",
        "accessModes": ["ReadWriteMany"],
        "annotations": {"a": "b"},
    }
}
IMPORTED = {
    "volumetheirs": {
        **volume_block("/scone/volumes/theirs", encrypted=True),
        "importedFrom": {"service": "db", "volume": "volumedata"},
    }
}
EXISTING = {"enabled": True, "existingClaim": "test-pvc"}
LONG, MOST = {"service": "s" * 60, "volume": "v"}, "volume" + "x" * 57
CASES = {
    "simple": WEB,
    "marked": replace(WEB, configuration="0" * 31 + "e"),
    "mark removed": replace(WEB, configuration="12" * 16, extra_values={"scone": {"configuration": None}}),
    "hardware": replace(WEB, toolchain=TOOLCHAINS["scone"], cas_key="5Kq", pull_secret="regcred"),
    "without port": replace(WEB, ports=(), log_level=""),
    "database": replace(WEB, extra_values=DATABASE),
    "existing claim": replace(
        WEB, extra_values={"persistence": {"enabled": True, "mountPath": "/x", "existingClaim": "mine"}}
    ),
    "accounts": replace(WEB, extra_values={"serviceAccount": {"create": False}}),
    "named account": replace(WEB, extra_values={"serviceAccount": {"name": "own", "annotations": {"x": "y"}}}),
    "names": replace(WEB, extra_values={"nameOverride": "other", "fullnameOverride": "f" * 60}),
    "long": replace(WEB, name="s" * 63),
    "tag": replace(WEB, image="registry.example.com/a@sha256:" + "0" * 64),
    "nothing": replace(WEB, extra_values={"podSecurityContext": None, "securityContext": None, "nodeSelector": None}),
    "volumes": replace(WEB, volume_values=VOLUMES),
    "persistent volumes": replace(WEB, volume_values=VOLUMES, extra_values=dict.fromkeys(VOLUMES, KEPT)),
    "existing claims": replace(
        WEB,
        volume_values=VOLUMES,
        extra_values={"volumev1": {"persistence": {"enabled": True, "existingClaim": "test-pvc"}}, "volumelogs": None},
    ),
    "imported": replace(WEB, volume_values=IMPORTED, extra_values={"volumetheirs": KEPT}),
    "imported from a long name": replace(
        WEB,
        volume_values={"volumetheirs": {**IMPORTED["volumetheirs"], "importedFrom": LONG}},
        extra_values={"volumetheirs": KEPT},
    ),
    "long volume": replace(WEB, volume_values={MOST: VOLUMES["volumev1"]}, extra_values={MOST: KEPT}),
    "memory": replace(
        WEB,
        volume_values=VOLUMES,
        extra_values={
            "memory": {"volumes": "1.5Gi"},
            "resources": {"limits": {"memory": "512M", "cpu": 2}, "requests": {"memory": "1Gi"}},
        },
    ),
    "memory in bytes": replace(
        WEB, volume_values=VOLUMES, extra_values={"resources": {"limits": {"memory": 1000000000}}}
    ),
    "user": replace(WEB, volume_values=VOLUMES, extra_values={"podSecurityContext": {"runAsUser": 999}}),
    "group": replace(
        WEB,
        volume_values=VOLUMES,
        extra_values={"podSecurityContext": {"runAsUser": 999}, "securityContext": {"runAsGroup": 998}},
    ),
    "not root": replace(WEB, volume_values=VOLUMES, extra_values={"podSecurityContext": {"runAsNonRoot": True}}),
    "own group": replace(
        WEB, volume_values=VOLUMES, extra_values={"podSecurityContext": {"runAsUser": 999, "fsGroup": 0}}
    ),
    "no context": replace(WEB, volume_values=VOLUMES, extra_values={"podSecurityContext": None}),
    "version": replace(WEB, extra_values={"scone": {"printVersion": True}, "useSGXDevPlugin": "azure"}),
}

SEVERAL = (ServicePort("api", 8080), ServicePort("metrics", 9090))
BOXED = replace(WEB, user=999, group=998, heap=1 << 28, callers=("front", "other"), ports=(ServicePort("https", 443),))
OPEN = {"ingress": {"enabled": True, "hosts": ["a.example.org", "b.example.org"], "className": "nginx"}}
OPEN["gateway"] = {"enabled": True, "hostnames": ["a.example.org"], "parentRefs": [{"name": "edge"}]}
PEER = {"enabled": True, "host": "demo-db", "port": 5432}
SCALED = {"autoscaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 9}}
CLAIMS = dict.fromkeys(VOLUMES, KEPT)
CASES |= {
    f"{kind}, {name}": replace(service, workload=kind, schedule="*/5 * * * *" if kind == "cronjob" else "")
    for kind in get_args(Workload)
    for name, service in {
        "simple": WEB,
        "without port": replace(WEB, ports=()),
        "several ports": replace(WEB, ports=SEVERAL, extra_values={"replicaCount": 3}),
        "another port": replace(WEB, ports=SEVERAL, extra_values={"service": {"port": 1, "nodePort": 30000}}),
        "volumes": replace(WEB, volume_values=VOLUMES, extra_values=CLAIMS),
        "existing": replace(WEB, volume_values=VOLUMES, extra_values={"volumev1": {"persistence": EXISTING}}),
        "data": replace(WEB, extra_values=DATABASE),
        "long": replace(WEB, name="s" * 60, volume_values=VOLUMES, extra_values=CLAIMS),
        "confined": BOXED,
    }.items()
}
CASES |= {
    "two ways from outside": replace(BOXED, extra_values={**OPEN, "networkPolicy": {"from": [{"podSelector": {}}]}}),
    "scaled": replace(WEB, extra_values=SCALED),
    "scaled by other things": replace(
        WEB,
        workload="statefulset",
        extra_values={
            "autoscaling": {
                **SCALED["autoscaling"],
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 70}},
                    }
                ],
            }
        },
    ),
    "waiting": replace(WEB, extra_values={"initContainers": {"container1": PEER, "container2": {**PEER, "port": 1}}}),
    "waiting for one": replace(BOXED, extra_values={"initContainers": {"container2": PEER}}),
    "waiting with an image": replace(
        WEB,
        toolchain=TOOLCHAINS["scone"],
        extra_values={"initContainers": {"image": "example/python:3", "container1": PEER}},
    ),
    "nobody may connect": replace(WEB, callers=()),
    "others may connect": replace(
        WEB, callers=(), extra_values={"networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}}
    ),
    "a balancer": replace(WEB, callers=("a",), extra_values={"service": {"type": "LoadBalancer"}}),
    "egress": replace(
        WEB, callers=("a",), extra_values={"networkPolicy": {"restrictEgress": True, "to": [{"podSelector": {}}]}}
    ),
    "egress of hardware": replace(
        WEB,
        cas_address="cas:77",
        toolchain=TOOLCHAINS["scone"],
        extra_values={"networkPolicy": {"enabled": True, "restrictEgress": True}},
    ),
    "heap and volumes": replace(WEB, heap=1 << 28, volume_values=VOLUMES),
    "heap and a request": replace(
        WEB, heap=1 << 28, extra_values={"resources": {"requests": {"memory": "1Gi", "cpu": 0.1}}}
    ),
    "heap and a limit": replace(
        WEB, heap=1 << 28, extra_values={"resources": {"limits": {"memory": "1Gi"}, "requests": {}}}
    ),
    "another question": replace(
        WEB, extra_values={"startupProbe": {"exec": {"command": ["true"]}}, "readinessProbe": None}
    ),
    "pods": replace(
        WEB,
        extra_values={
            "podLabels": {"a": "1", "app.kubernetes.io/name": "no", "app.kubernetes.io/version": "no"},
            "priorityClassName": "high",
            "runtimeClassName": "kata",
            "hostAliases": [{"ip": "127.0.0.1", "hostnames": ["x"]}],
            "terminationGracePeriodSeconds": 7,
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},
                {
                    "maxSkew": 1,
                    "topologyKey": "z",
                    "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": {"a": "b"}},
                },
            ],
            "extraContainers": [{"name": "log", "image": "registry.example.com/log:1"}],
            "writable": ["/var/cache"],
        },
    ),
    "odd characters in a Job": replace(
        WEB, workload="job", log_level="<&>\u2028é", extra_values={"podAnnotations": {"x": "<\"'>"}}
    ),
    "a Job of one name": replace(WEB, workload="job", extra_values={"jobs": {"uniqueName": False, "backoffLimit": 3}}),
}
CASES |= {
    f"hardware with {plugin}": replace(
        BOXED, toolchain=TOOLCHAINS["scone"], extra_values={"useSGXDevPlugin": plugin, "sgxEpcMem": 8}
    )
    for plugin in ("", "scone", "intel", "azure", "disabled")
}


def objects(text: str) -> dict[tuple[str, str], Any]:
    found = [item for item in YAML(typ="safe").load_all(text) if item]
    return {(item["kind"], item["metadata"]["name"]): item for item in found}


def by_helm(
    folder: Path, plan: ChartPlan, release: str, given: dict[str, Any] | None = None
) -> dict[tuple[str, str], Any]:
    for name, content in render_chart(plan).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with helm.Chart.load(str(folder)) as chart:
        rendered = chart.render(given, name=release, namespace="prod")
    texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
    found = {key: item for text in texts for key, item in objects(text).items() if not _is_test(item)}
    for item in found.values():
        _by_sconectl(item)
    return found


def _is_test(item: Any) -> bool:
    """Say whether an object is for `helm test` only."""
    return bool(item["metadata"].get("annotations", {}).get("helm.sh/hook") == "test")


def _by_sconectl(item: Any) -> None:
    """Put what Helm alone says into labels: who installs them, and the version, which changes nothing."""
    if isinstance(item, dict):
        if "app.kubernetes.io/managed-by" in item:
            item["app.kubernetes.io/managed-by"] = "sconectl"
            item.pop("helm.sh/chart", None)
        for below in item.values():
            _by_sconectl(below)


@pytest.mark.parametrize("service", CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("release", ["demo", "r" * 53])
def test_helm_makes_the_same(tmp_path: Path, service: ChartService, release: str) -> None:
    shared = {"imagePullSecrets": [{"name": "all"}, {"name": "regcred"}]}
    plan = ChartPlan("shop", "0.1.0", (service,), shared)
    files = manifest_files(plan, release, {})
    assert list(files) == [f"{service.name}.yaml"]
    assert objects(files[f"{service.name}.yaml"].decode()) == by_helm(tmp_path, plan, release)


def test_an_imported_volume_is_on_the_claim_of_the_only_pod_of_a_stateful_set(tmp_path: Path) -> None:
    volume = {"volumedata": VOLUMES["volumev1"]}
    owner = replace(WEB, name="db", workload="statefulset", volume_values=volume, extra_values={"volumedata": KEPT})
    importer = replace(WEB, volume_values=IMPORTED, extra_values={"volumetheirs": KEPT})
    plan = ChartPlan("shop", "0.1.0", (owner, importer))
    found = by_helm(tmp_path, plan, "demo")
    written = b"---\n".join(manifest_files(plan, "demo", {}).values()).decode()
    assert objects(written) == found
    [template] = found["StatefulSet", "demo-db"]["spec"]["volumeClaimTemplates"]
    assert template["metadata"]["name"] == "volumedata"
    volumes = {
        volume["name"]: volume for volume in found["Deployment", "demo-web"]["spec"]["template"]["spec"]["volumes"]
    }
    assert volumes["volumetheirs"]["persistentVolumeClaim"] == {"claimName": "volumedata-demo-db-0"}


def test_the_version_of_the_chart_changes_no_manifest() -> None:
    plan = ChartPlan("shop", "0.1.0", tuple(CASES.values())[:1])
    assert manifest_files(replace(plan, chart_version="9.9.9", version="7"), "demo", {}) == manifest_files(
        plan, "demo", {}
    )


def test_each_service_has_a_file_and_its_policy_comes_first() -> None:
    plan = ChartPlan("shop", "0.1.0", (WEB, replace(WEB, name="db")))
    policy = {"apiVersion": "v1", "kind": "P", "metadata": {"name": "x"}}
    files = manifest_files(plan, "demo", {"namespace": policy, "db": policy})
    assert sorted(files) == ["db.yaml", "namespace.yaml", "web.yaml"]
    assert next(iter(objects(files["db.yaml"].decode()))) == ("P", "x")
    assert files == manifest_files(plan, "demo", {"namespace": policy, "db": policy})


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"resources": {"limits": {"memory": "1e9"}}}, "is no size"),
        ({"volumetheirs": KEPT}, "a session outside of this mesh"),
        ({"autoscaling": {"enabled": True}}, "autoscaling is not possible with volumes"),
        ({"autoscaling": {"enabled": True}, "workload": {"kind": "job"}}, "autoscaling is for workload.kind"),
        ({"workload": {"kind": "cronjob"}}, "needs workload.schedule"),
        ({"service": {"enabled": False, "ports": []}, **OPEN}, "need a Service"),
    ],
)
def test_both_refuse_the_same(tmp_path: Path, extra: dict[str, Any], reason: str) -> None:
    values = {**IMPORTED, "volumetheirs": {**IMPORTED["volumetheirs"], "importedFrom": {}}}
    service = replace(WEB, volume_values=values)
    with pytest.raises(PlanImpossible, match=reason):
        manifest_files(ChartPlan("shop", "0.1.0", (replace(service, extra_values=extra),)), "demo", {})
    with pytest.raises(helm.HelmError, match=reason):
        by_helm(tmp_path, ChartPlan("shop", "0.1.0", (service,)), "demo", {service.name: extra})
