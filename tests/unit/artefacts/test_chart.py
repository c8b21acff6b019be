"""The chart as the real Helm engine and the schemas of Kubernetes see it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
from fakes.builders import TOOLCHAINS
from ruamel.yaml import YAML

from sconectl import assets
from sconectl.artefacts.chart import render_chart
from sconectl.artefacts.chart_values import SGX_RESOURCE
from sconectl.errors import PlanImpossible, Refused, SconectlError
from sconectl.plan.mesh.chart_plan import ChartPlan, ChartService, ServicePort
from sconectl.plan.mesh.mesh_volumes import volume_block

MEASUREMENT = "1e" + "0" * 62  # YAML would take it for a number if it were not quoted
SIM_ENV = ["SCONE_CONFIG_ID", "SCONE_CAS_ADDR", "SCONE_LOG"]
HARDWARE_ENV = ["SCONE_LAS_ADDR", "SCONE_VERSION", "SCONE_EDMM_MODE"]
PORTS = ((ServicePort("api", 8080),), ())
FACTS: dict[str, Any] = {"config_id": "shop-1/web/main", "cas_address": "cas.scone-system:8081", "cas_key": ""}
FACTS |= {"measurement": MEASUREMENT, "ports": PORTS[0], "pull_secret": "", "log_level": "error", "extra_values": {}}
WEB = ChartService("web", "registry.example.com:5000/shop/web:1.4", toolchain=TOOLCHAINS["sim"], **FACTS)
HARDWARE = replace(WEB, toolchain=TOOLCHAINS["scone"])
BARE = replace(WEB, name="worker", ports=())
FULL = replace(HARDWARE, name="db", cas_key="5Kq", pull_secret="sconeapps", extra_values={"replicaCount": 3})
MANY = tuple(
    replace((WEB, HARDWARE, BARE, FULL)[index % 4], name=f"service-{index:02}", ports=PORTS[index % 3 == 0])
    for index in range(30)
)
HOSTILE = [
    "{{ .Values.scone.cas }}",
    '{{ fail "rendered" }}',
    "a\"b'c\\d",
    "a\nb: c\n---\nkind: Secret\n",
    "a # b",
    "{{- /* -}} \t\u2028\x85\x1b é😀",
    "*a: &b !c | > %",
    "$(HOME) ${HOME} `id`",
]


def plan(*services: ChartService) -> ChartPlan:
    return ChartPlan(name="shop", version="0.1.0", services=services)


def load(text: str | bytes | Path) -> Any:
    return YAML(typ="safe").load(text)


def write(tmp_path: Path, chart: ChartPlan) -> Path:
    root = tmp_path / "target" / "helm"
    for name, content in render_chart(chart).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def render(root: Path, values: dict[str, Any] | None = None, release: str = "demo") -> dict[str, str]:
    with helm.Chart.load(str(root)) as chart:
        return dict(chart.render(values, name=release, namespace="prod"))


def objects(root: Path, values: dict[str, Any] | None = None, release: str = "demo") -> dict[tuple[str, str], Any]:
    """Return the rendered objects by kind and name, after validating each of them strictly."""
    found: dict[tuple[str, str], Any] = {}
    for path, text in render(root, values, release).items():
        if "/templates/tests/" in path:
            continue
        for item in filter(None, YAML(typ="safe").load_all(text) if path.endswith(".yaml") else ()):
            kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)
            key = (item["kind"], item["metadata"]["name"])
            assert key not in found
            found[key] = item
    return found


def pod(found: dict[tuple[str, str], Any], name: str = "demo-web") -> dict[str, Any]:
    return dict(found["Deployment", name]["spec"]["template"]["spec"])


def deployed(tmp_path: Path, service: ChartService) -> Any:
    return objects(write(tmp_path, plan(service)))["Deployment", f"demo-{service.name}"]


@pytest.mark.parametrize(
    "services", [(WEB,), (HARDWARE,), (BARE,), (FULL,), (WEB, FULL), (BARE, HARDWARE), MANY, ()], ids=len
)
def test_helm_and_kubernetes_have_nothing_to_say(tmp_path: Path, services: tuple[ChartService, ...]) -> None:
    root = write(tmp_path, plan(*services))
    for chart in [root, *(root / "charts" / service.name for service in services)]:
        report = helm.lint(str(chart), strict=True, with_subcharts=True)
        assert (report["messages"], report["errors"]) == ([], [])
    expected = {(kind, f"demo-{item.name}") for item in services for kind in ("Deployment", "ServiceAccount")}
    expected |= {("Service", f"demo-{service.name}") for service in services if service.ports}
    expected |= {("PodDisruptionBudget", f"demo-{s.name}") for s in services if s.extra_values.get("replicaCount")}
    assert objects(root).keys() == expected


def test_helm_packages_the_chart_whole(tmp_path: Path) -> None:
    archive = helm.package(str(write(tmp_path, plan(WEB, FULL))), destination=str(tmp_path))
    assert objects(Path(archive)).keys() == objects(tmp_path / "target" / "helm").keys()


def test_the_files_are_the_promised_ones() -> None:
    own = {"Chart.yaml", "values.yaml", "values.schema.json", ".helmignore"}
    answers = {"charts/web/files/answers.py"}
    templates = "_helpers.tpl _pod.tpl _resources.tpl _volumes.tpl ingress.yaml networkpolicy.yaml".split()
    templates += "persistentvolumeclaim.yaml scaling.yaml service.yaml serviceaccount.yaml workload.yaml".split()
    templates += ["tests/connection.yaml"]
    expected = (
        own | {"README.md", "templates/NOTES.txt", "templates/release.yaml"} | {f"charts/web/{name}" for name in own}
    )
    expected |= {f"charts/web/templates/{name}" for name in templates}
    assert render_chart(plan(WEB)).keys() == expected | answers


def test_templates_are_copied_as_they_are() -> None:
    files = render_chart(plan(replace(WEB, image=HOSTILE[0]), FULL))
    for name, content in assets.read_tree("charts_templates/service").items():
        assert files[f"charts/web/{name}"] == files[f"charts/db/{name}"] == content
    for name, content in assets.read_tree("charts_templates/umbrella").items():
        assert files[name] == content


def test_the_same_plan_gives_the_same_bytes_in_the_same_order() -> None:
    first, second = render_chart(plan(*MANY)), render_chart(plan(*MANY))
    assert list(first.items()) == list(second.items())
    names = [service.name for service in MANY]
    assert [item["name"] for item in load(first["Chart.yaml"])["dependencies"]] == names
    assert list(load(first["values.yaml"])) == ["global", *names]


@pytest.mark.parametrize(
    ("service", "names"),
    [
        (WEB, SIM_ENV),
        (replace(WEB, log_level=""), SIM_ENV[:2]),
        (replace(WEB, cas_key="5Kq"), [*SIM_ENV, "SCONE_CAS_KEY"]),
        (HARDWARE, [*SIM_ENV, *HARDWARE_ENV]),
        (replace(HARDWARE, cas_key="5Kq"), [*SIM_ENV, *HARDWARE_ENV, "SCONE_CAS_KEY"]),
    ],
)
def test_the_environment_is_exactly_this(tmp_path: Path, service: ChartService, names: list[str]) -> None:
    (container,) = deployed(tmp_path, service)["spec"]["template"]["spec"]["containers"]
    env = {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}
    assert len(env) == len(container["env"])
    known: dict[str, Any] = {
        **{"SCONE_CONFIG_ID": "shop-1/web/main", "SCONE_CAS_ADDR": "cas.scone-system:8081"},
        **{"SCONE_LOG": "error", "SCONE_CAS_KEY": "5Kq", "SCONE_VERSION": "1", "SCONE_EDMM_MODE": "auto"},
        "SCONE_LAS_ADDR": {"fieldRef": {"fieldPath": "status.hostIP"}},
    }
    assert env == {name: known[name] for name in names}
    assert not container.keys() & {"command", "args", "envFrom", "lifecycle"}


@pytest.mark.parametrize("service", [WEB, HARDWARE])
def test_another_quoting_service(tmp_path: Path, service: ChartService) -> None:
    env = pod(objects(write(tmp_path, plan(service)), {"web": {"scone": {"las": "h:1"}}}))["containers"][0]["env"]
    assert [item for item in env if item["name"] == "SCONE_LAS_ADDR"] == [{"name": "SCONE_LAS_ADDR", "value": "h:1"}]


def test_the_container_is_attested_and_has_least_privilege(tmp_path: Path) -> None:
    found = objects(write(tmp_path, plan(WEB)))
    spec = pod(found)
    (container,) = spec["containers"]
    assert (container["name"], container["image"]) == ("api", WEB.image)
    assert container["imagePullPolicy"] == "Always"
    assert container["ports"] == [{"name": "api", "containerPort": 8080, "protocol": "TCP"}]
    root = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": False, "capabilities": {"drop": ["ALL"]}}
    assert container["securityContext"] == {**root, "seccompProfile": {"type": "RuntimeDefault"}}
    assert spec["securityContext"] == {"runAsNonRoot": False, "seccompProfile": {"type": "RuntimeDefault"}}
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    assert spec["serviceAccountName"] == "demo-web"
    assert found["ServiceAccount", "demo-web"]["automountServiceAccountToken"] is False
    assert spec["restartPolicy"] == "Always"
    assert spec["volumes"] == [{"name": "sconectl-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}}]
    assert container["volumeMounts"] == [{"name": "sconectl-memory", "mountPath": "/dev/shm"}]
    assert {key for key in container if "Probe" in key} == {"startupProbe", "readinessProbe"}
    startup = container["startupProbe"]
    assert startup["tcpSocket"] == container["readinessProbe"]["tcpSocket"] == {"port": "api"}
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300
    service = found["Service", "demo-web"]["spec"]
    assert service["ports"] == [{"name": "api", "port": 8080, "targetPort": "api", "protocol": "TCP"}]
    assert service["type"] == "ClusterIP"


def test_nobody_waits_for_a_port_that_is_only_assumed(tmp_path: Path) -> None:
    assumed = replace(WEB, ports=(ServicePort("api", 443, assumed=True),))
    found = objects(write(tmp_path, plan(assumed)))
    assert [key for key in pod(found)["containers"][0] if "Probe" in key] == []
    assert found["Service", "demo-web"]["spec"]["ports"][0]["port"] == 443


def test_labels_and_selectors(tmp_path: Path) -> None:
    found = objects(write(tmp_path, plan(WEB)))
    selector = {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "demo"}
    labels = {**selector, "app.kubernetes.io/version": "1.4", "app.kubernetes.io/managed-by": "Helm"}
    labels["app.kubernetes.io/part-of"] = "shop"
    deployment = found["Deployment", "demo-web"]
    assert deployment["spec"]["selector"] == {"matchLabels": selector}
    assert found["Service", "demo-web"]["spec"]["selector"] == selector
    assert deployment["spec"]["template"]["metadata"]["labels"] == labels
    assert all(item["metadata"]["labels"] == labels | {"helm.sh/chart": "web-0.1.0"} for item in found.values())


def test_an_update_keeps_the_selector_and_only_a_new_image_replaces_the_pods(tmp_path: Path) -> None:
    assert objects(write(tmp_path, replace(plan(WEB), version="9+x"))) == objects(write(tmp_path, plan(WEB)))
    before = deployed(tmp_path, WEB)["spec"]
    after = deployed(tmp_path, replace(WEB, measurement="b" * 64, image=f"{WEB.image}.1@sha256:{'0' * 64}"))["spec"]
    assert before["selector"] == after["selector"]
    annotation = "sconectl.io/measurement"
    assert before["template"]["metadata"]["annotations"][annotation] == MEASUREMENT
    assert after["template"]["metadata"]["annotations"][annotation] == "b" * 64
    assert after["template"]["metadata"]["labels"]["app.kubernetes.io/version"] == "1.4.1"


def test_another_configuration_replaces_the_pods(tmp_path: Path) -> None:
    first, second = (deployed(tmp_path, replace(WEB, configuration=mark))["spec"] for mark in ("1e30" * 8, "b" * 32))
    annotation = "sconectl.io/configuration"
    assert first["template"]["metadata"]["annotations"].pop(annotation) == "1e30" * 8
    assert second["template"]["metadata"]["annotations"].pop(annotation) == "b" * 32
    assert first == second
    assert annotation not in deployed(tmp_path, WEB)["spec"]["template"]["metadata"]["annotations"]


def test_only_the_hardware_toolchain_asks_for_hardware(tmp_path: Path) -> None:
    root = write(tmp_path, plan(WEB, replace(HARDWARE, name="db")))
    found = objects(root)
    real, simulated = pod(found, "demo-db"), pod(found)
    assert real["containers"][0]["resources"] == {"limits": {SGX_RESOURCE: 1}}
    assert real["nodeSelector"] == {"las.scontain.com/ok": "true"}
    assert "resources" not in simulated["containers"][0]
    assert "nodeSelector" not in simulated
    assert "sgx" not in json.dumps(simulated).lower()


def test_a_simulation_says_so_everywhere(tmp_path: Path) -> None:
    root = write(tmp_path, plan(WEB, replace(HARDWARE, name="db")))
    found = objects(root)
    mark = {"sconectl.io/simulation": "true"}
    charts = [load(root / "Chart.yaml"), load(root / "charts/web/Chart.yaml")]
    deployment = found["Deployment", "demo-web"]
    for place in (*charts, deployment["metadata"], deployment["spec"]["template"]["metadata"]):
        assert place["annotations"].items() >= mark.items()
    notes = render(root)["shop/templates/NOTES.txt"]
    assert "SIMULATION: NO HARDWARE PROTECTION" in notes
    simulated = notes.partition("may run as root")[0]
    assert "  - web\n" in simulated
    assert "  - db\n" not in simulated


def test_hardware_is_never_called_a_simulation(tmp_path: Path) -> None:
    root = write(tmp_path, plan(HARDWARE))
    texts = [*render(root).values(), *(path.read_text() for path in root.rglob("Chart.yaml"))]
    assert not any("simulation" in text.lower() for text in texts)


@pytest.mark.parametrize(("built", "claimed"), [("sim", "scone"), ("scone", "sim")])
def test_no_value_changes_the_toolchain(tmp_path: Path, built: str, claimed: str) -> None:
    service = replace(WEB, toolchain=TOOLCHAINS[built])
    with pytest.raises(helm.HelmRenderError, match="build the image again"):
        render(write(tmp_path, plan(service)), {"web": {"scone": {"toolchain": claimed}}})
    for extra in ({"scone": {"toolchain": claimed}}, {"scone": None}, {"scone": {"toolchain": None}}):
        with pytest.raises(Refused):
            render_chart(plan(replace(service, extra_values=extra)))


def test_user_annotations_do_not_hide_ours(tmp_path: Path) -> None:
    values = {"podAnnotations": {"sconectl.io/simulation": "false", "sconectl.io/measurement": "x", "mine": "1"}}
    metadata = deployed(tmp_path, replace(WEB, extra_values=values))["spec"]["template"]["metadata"]
    ours = {"sconectl.io/simulation": "true", "sconectl.io/measurement": MEASUREMENT}
    assert metadata["annotations"] == {**ours, "mine": "1"}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_data(tmp_path: Path, text: str) -> None:
    extra = {"podAnnotations": {"note": text}, "persistence": {"storageClass": text}}
    fields = dict.fromkeys(("image", "config_id", "cas_address", "cas_key", "log_level", "pull_secret"), text)
    service = replace(HARDWARE, extra_values=extra, **fields)  # type: ignore[arg-type]
    root = write(tmp_path, replace(plan(service), version=text))
    assert helm.lint(str(root), strict=True, with_subcharts=True)["messages"] == []
    found = objects(root)
    assert len(found) == 3
    spec = pod(found)
    env = {item["name"]: item.get("value") for item in spec["containers"][0]["env"]}
    assert spec["containers"][0]["image"] == text
    assert spec["imagePullSecrets"] == [{"name": text}]
    assert (env["SCONE_CONFIG_ID"], env["SCONE_CAS_ADDR"]) == (text, text)
    assert (env["SCONE_CAS_KEY"], env["SCONE_LOG"]) == (text, text)
    template = found["Deployment", "demo-web"]["spec"]["template"]["metadata"]
    assert template["annotations"]["note"] == text
    assert "app.kubernetes.io/version" not in template["labels"]


@pytest.mark.parametrize("name", ["1", "01-01", "1e3", "no", "null", "true", "y", "tags", "a" * 63])
def test_any_dns_label_is_a_service_name(tmp_path: Path, name: str) -> None:
    found = objects(write(tmp_path, plan(replace(WEB, name=name))), release="2024")
    ((_, full),) = (key for key in found if key[0] == "Deployment")
    assert full == f"2024-{name}" or (len(name) > 58 and len(full) <= 63)
    assert found["Deployment", full]["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] == name


def test_long_names_stay_legal_and_distinct(tmp_path: Path) -> None:
    services = [replace(WEB, name="s" * 62 + end) for end in "ab"]
    names = [name for kind, name in objects(write(tmp_path, plan(*services)), release="r" * 53) if kind == "Service"]
    assert len(set(names)) == 2
    assert all(len(name) <= 63 and name.startswith("r" * 53) for name in names)


@pytest.mark.parametrize("release", ["shop", "true", "1e3"])
def test_a_chart_is_installed_as_the_release_it_was_compiled_for(tmp_path: Path, release: str) -> None:
    root = write(tmp_path, replace(plan(WEB, BARE), release=release))
    assert helm.lint(str(root), strict=True, with_subcharts=True)["messages"] == []
    assert ("Deployment", f"{release}-web") in objects(root, release=release)
    with pytest.raises(helm.HelmRenderError) as caught:
        render(root, release="other")
    said = str(caught.value)
    assert f"shop was compiled for the release {release}, and not for other" in said
    assert "sconectl apply --release other" in said
    with pytest.raises(helm.HelmRenderError, match="compiled for the release"):
        render(Path(helm.package(str(root), destination=str(tmp_path))), release="other")


def test_a_chart_that_was_compiled_for_no_release_is_installed_as_any(tmp_path: Path) -> None:
    root = write(tmp_path, plan(WEB))
    for release in ("a", "b"):
        assert ("Deployment", f"{release}-web") in objects(root, release=release)


@pytest.mark.parametrize("name", ["", "Web", "a.b", "../x", "a_b", "-a", "a-", "a" * 64, "a\n", "{{x}}"])
def test_other_names_are_refused(name: str) -> None:
    for bad in (plan(replace(WEB, name=name)), replace(plan(WEB), name=name)):
        with pytest.raises(PlanImpossible, match="cannot be called"):
            render_chart(bad)


@pytest.mark.parametrize(("names", "message"), [(["global"], "global"), (["web", "a", "web"], "same name: web")])
def test_names_that_helm_or_a_folder_cannot_tell_apart_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(PlanImpossible, match=message):
        render_chart(plan(*(replace(WEB, name=name) for name in names)))


def test_extra_values_are_merged_deeply_and_last(tmp_path: Path) -> None:
    extra = {
        "resources": {"limits": {"sgx.intel.com/epc": "5Mi", SGX_RESOURCE: None, "cpu": 0.5}},
        "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}, "readOnlyRootFilesystem": True},
        "memory": {"sizeLimit": "1Gi"},
        "nodeSelector": None,
        "livenessProbe": {"tcpSocket": {"port": "api"}},
        "extraEnv": [{"name": "SCONE_HEAP", "value": "1G"}],
        "service": {"type": "NodePort", "nodePort": 30080},
    }
    found = objects(write(tmp_path, plan(replace(HARDWARE, extra_values=extra))))
    spec = pod(found)
    (container,) = spec["containers"]
    assert container["resources"] == {"limits": {"sgx.intel.com/epc": "5Mi", "cpu": 0.5}}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["livenessProbe"] == {"tcpSocket": {"port": "api"}}
    assert container["env"][-1] == {"name": "SCONE_HEAP", "value": "1G"}
    assert spec["volumes"][0]["emptyDir"]["sizeLimit"] == "1Gi"
    assert "nodeSelector" not in spec
    assert found["Service", "demo-web"]["spec"]["ports"][0]["nodePort"] == 30080


def test_volumes_of_a_database(tmp_path: Path) -> None:
    extra = {
        "persistence": {"enabled": True, "size": "2Gi", "mountPath": "/var/lib/data", "storageClass": "fast"},
        "extraVolumes": [{"name": "tmp", "persistentVolumeClaim": {"claimName": "scratch"}}],
        "extraVolumeMounts": [{"name": "tmp", "mountPath": "/var/tmp"}],
    }
    found = objects(write(tmp_path, plan(replace(WEB, extra_values=extra))))
    claim = found["PersistentVolumeClaim", "demo-web"]["spec"]
    assert claim["resources"] == {"requests": {"storage": "2Gi"}}
    assert (claim["accessModes"], claim["storageClassName"]) == (["ReadWriteOnce"], "fast")
    spec = pod(found)
    assert spec["volumes"][1]["persistentVolumeClaim"] == {"claimName": "demo-web"}
    paths = [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]
    assert paths == ["/dev/shm", "/var/lib/data", "/var/tmp"]
    existing = {**extra, "persistence": {**extra["persistence"], "existingClaim": "mine"}}  # type: ignore[dict-item]
    found = objects(write(tmp_path, plan(replace(WEB, extra_values=existing))))
    assert ("PersistentVolumeClaim", "demo-web") not in found
    assert pod(found)["volumes"][1]["persistentVolumeClaim"] == {"claimName": "mine"}


VOLUMES = {
    "volumev1": volume_block("/scone/volumes/V1", encrypted=True),
    "volumelogs": volume_block("/logs", encrypted=False),
}
STORED = replace(WEB, volume_values=VOLUMES)


def volumes_of(spec: dict[str, Any]) -> dict[str, Any]:
    return {volume.pop("name"): volume for volume in spec["volumes"]}


def test_an_encrypted_volume_has_storage_and_memory(tmp_path: Path) -> None:
    root = write(tmp_path, plan(STORED))
    report = helm.lint(str(root / "charts" / "web"), strict=True)
    assert (report["messages"], report["errors"]) == ([], [])
    found = objects(root)
    mounts = {mount["name"]: mount["mountPath"] for mount in pod(found)["containers"][0]["volumeMounts"]}
    assert mounts == {
        "sconectl-memory": "/dev/shm",
        "sconectl-volumes": "/scone/memory",
        "volumev1": "/scone/volumes/V1",
        "volumelogs": "/logs",
    }
    volumes = volumes_of(pod(found))
    assert volumes["sconectl-volumes"] == {"emptyDir": {"medium": "Memory", "sizeLimit": str(1 << 30)}}
    assert volumes["volumev1"] == volumes["volumelogs"] == {"emptyDir": {}}
    assert found["Deployment", "demo-web"]["spec"]["strategy"] == {"type": "Recreate"}
    assert "fsGroup" not in pod(found)["securityContext"]


def test_storage_is_what_the_values_say(tmp_path: Path) -> None:
    root = write(tmp_path, plan(STORED))
    kept = {"enabled": True, "size": "3Gi", "storageClass": "fast", "annotations": {"helm.sh/resource-policy": "keep"}}
    found = objects(root, {"web": {"volumev1": {"persistence": kept}}})
    claim = found["PersistentVolumeClaim", "demo-web-volumev1"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["metadata"]["annotations"] == kept["annotations"]
    assert claim["spec"]["resources"] == {"requests": {"storage": "3Gi"}}
    assert (claim["spec"]["accessModes"], claim["spec"]["storageClassName"]) == (["ReadWriteOnce"], "fast")
    volumes = volumes_of(pod(found))
    assert volumes["volumev1"] == {"persistentVolumeClaim": {"claimName": "demo-web-volumev1"}}
    assert volumes["sconectl-volumes"]["emptyDir"]["sizeLimit"] == str(3 << 30)
    there = {"volumev1": {"persistence": {"enabled": True, "existingClaim": "test-pvc"}}, "memory": {"volumes": "64Mi"}}
    found = objects(root, {"web": there})
    assert not [name for kind, name in found if kind == "PersistentVolumeClaim"]
    volumes = volumes_of(pod(found))
    assert volumes["volumev1"] == {"persistentVolumeClaim": {"claimName": "test-pvc"}}
    assert volumes["sconectl-volumes"]["emptyDir"]["sizeLimit"] == str(64 << 20)


def test_memory_and_group_follow_from_volumes(tmp_path: Path) -> None:
    values = {"resources": {"limits": {"memory": "512Mi"}}, "podSecurityContext": {"runAsUser": 999}}
    root = write(tmp_path, plan(STORED))
    spec = pod(objects(root, {"web": values}))
    assert spec["containers"][0]["resources"] == {"limits": {"memory": str(1536 << 20)}}
    assert (spec["securityContext"]["fsGroup"], spec["securityContext"]["runAsUser"]) == (999, 999)
    other = {**values, "securityContext": {"runAsNonRoot": True}, "podSecurityContext": {"fsGroup": 7}}
    assert pod(objects(root, {"web": other}))["securityContext"]["fsGroup"] == 7
    assert "fsGroupChangePolicy" not in pod(objects(root, {"web": other}))["securityContext"]
    (tmp_path / "none").mkdir()
    spec = pod(objects(write(tmp_path / "none", plan(WEB)), {"web": values}))
    assert spec["containers"][0]["resources"] == values["resources"] and "fsGroup" not in spec["securityContext"]


def test_an_imported_volume_is_on_the_claim_of_its_owner(tmp_path: Path) -> None:
    owner = replace(WEB, name="db", volume_values={"volumedata": VOLUMES["volumev1"]})
    imported = {**VOLUMES["volumev1"], "importedFrom": {"service": "db", "volume": "volumedata"}}
    root = write(tmp_path, plan(owner, replace(WEB, volume_values={"volumetheirs": imported})))
    on = {"persistence": {"enabled": True}}
    found = objects(root, {"db": {"volumedata": on}, "web": {"volumetheirs": on}})
    assert [name for kind, name in found if kind == "PersistentVolumeClaim"] == ["demo-db-volumedata"]
    for name, label in (("demo-db", "volumedata"), ("demo-web", "volumetheirs")):
        claim = volumes_of(pod(found, name))[label]
        assert claim == {"persistentVolumeClaim": {"claimName": "demo-db-volumedata"}}


def test_notes_warn_of_storage_that_is_gone_with_the_pod(tmp_path: Path) -> None:
    root = write(tmp_path, plan(STORED))
    [notes] = (text for path, text in render(root).items() if path.endswith("NOTES.txt"))
    assert "web.volumev1" in notes and "volumelogs" not in notes
    kept = {"web": {"volumev1": {"persistence": {"enabled": True}}}}
    [notes] = (text for path, text in render(root, kept).items() if path.endswith("NOTES.txt"))
    assert "volumev1" not in notes


def test_notes_name_what_a_restricted_namespace_refuses(tmp_path: Path) -> None:
    root = write(tmp_path, plan(WEB, replace(WEB, name="db", user=999)))
    for values, expected in (({}, ["web"]), ({"web": {"podSecurityContext": {"runAsNonRoot": True}}}, [])):
        [notes] = (text for path, text in render(root, values).items() if path.endswith("NOTES.txt"))
        said = notes.partition("may run as root")[2].partition("Watch")[0]
        assert [line[4:] for line in said.splitlines() if line.startswith("  - ")] == expected


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ({}, {SGX_RESOURCE: 1}),
        ({"useSGXDevPlugin": "scone"}, {SGX_RESOURCE: 1}),
        ({"useSGXDevPlugin": "intel"}, {SGX_RESOURCE: 1}),
        ({"useSGXDevPlugin": "intel", "sgxEpcMem": 8}, {SGX_RESOURCE: 1, "sgx.intel.com/epc": "8Mi"}),
        ({"useSGXDevPlugin": "azure", "sgxEpcMem": 16}, {"sgx.intel.com/epc": "16Mi"}),
        (
            {"useSGXDevPlugin": "azure", "resources": {"limits": {"sgx.intel.com/epc": "5Mi"}}},
            {"sgx.intel.com/epc": "5Mi"},
        ),
        ({"useSGXDevPlugin": "disabled"}, None),
    ],
)
def test_an_enclave_is_asked_for_as_the_device_plugin_wants_it(
    tmp_path: Path, values: dict[str, Any], limits: dict[str, Any] | None
) -> None:
    spec = pod(objects(write(tmp_path, plan(HARDWARE)), {"web": values}))
    [container] = spec["containers"]
    assert container.get("resources") == (None if limits is None else {"limits": limits})
    devices = [volume["hostPath"]["path"] for volume in spec["volumes"] if "hostPath" in volume]
    assert (devices != []) == (limits is None) == bool(container["securityContext"].get("privileged"))


def test_azure_has_to_know_how_much(tmp_path: Path) -> None:
    with pytest.raises(helm.HelmError, match="sgxEpcMem"):
        render(write(tmp_path, plan(HARDWARE)), {"web": {"useSGXDevPlugin": "azure"}})
    assert objects(write(tmp_path, plan(WEB)), {"web": {"useSGXDevPlugin": "azure"}})


def applied(live: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return a section as server-side apply leaves it: of what is live, it takes away only what it has set before."""
    found = {}
    for key in live | after:
        old, mine, new = live.get(key), before.get(key), after.get(key)
        if isinstance(old, dict) and not isinstance(new, str | int):
            item: Any = applied(old, mine or {}, new or {})
        else:
            item = new if key in after else None if key in before else old
        if item not in (None, {}):
            found[key] = item
    return found


def test_persistence_can_be_switched_on_and_off_later(tmp_path: Path) -> None:
    root = write(tmp_path, plan(WEB))
    on = {"web": {"persistence": {"enabled": True, "mountPath": "/data"}}}
    states = [objects(root, values)["Deployment", "demo-web"]["spec"]["strategy"] for values in ({}, on, {})]
    renewed = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert states == [renewed, {"type": "Recreate"}, renewed]
    live: dict[str, Any] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    for before, after in zip([{}, *states], states, strict=False):
        live = applied(live, before, after)
        assert live == after  # above all: no rollingUpdate beside Recreate, which Kubernetes refuses


def test_unknown_extra_values_are_all_named_at_once() -> None:
    extra = {"egress": {"enabled": True}, "service": {"prot": 1}}
    with pytest.raises(PlanImpossible) as caught:
        render_chart(plan(replace(WEB, extra_values=extra), replace(BARE, extra_values={"comand": 1})))
    named = [part.partition(":")[0] for part in caught.value.message.partition(": ")[2].split("; ")]
    assert named == ["web.service.prot", "web.egress", "worker.comand"]


IMPOSSIBLE = {
    "service": 5,
    "workload": 1,
    "networkPolicy": None,
    "replicaCount": "many",
    "volumev1": {"persistence": {"enabled": True}},
    "imagePullSecrets": [{"nam": "x"}],
    "ingress": {"enabled": True},
    "gateway": {"enabled": True, "hostnames": ["a"]},
    "persistence": {"enabled": True},
    "initContainers": {"container1": {"enabled": True}},
    "writable": ["/tmp", "/tmp"],
    "extraVolumeMounts": [{"name": "mine", "mountPath": "/run"}],
}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"service": {"ports": []}}, "web.service: port is missing"),
        ({"service": {"ports": None}}, "web.service: port is missing"),
        ({"workload": {"kind": "cronjob"}}, "web: a CronJob needs workload.schedule"),
        ({"workload": {"kind": "job"}, "autoscaling": {"enabled": True}}, "web: autoscaling is for"),
    ],
)
def test_values_that_the_templates_would_refuse_are_refused_before(
    tmp_path: Path, extra: dict[str, Any], message: str
) -> None:
    with pytest.raises(PlanImpossible, match=f"extra Helm values are not possible: {message}"):
        render_chart(plan(replace(WEB, extra_values=extra)))
    with pytest.raises(helm.HelmError):
        render(write(tmp_path, plan(WEB)), {"web": extra})


@pytest.mark.parametrize(("name", "value"), IMPOSSIBLE.items(), ids=list(IMPOSSIBLE))
def test_values_that_helm_or_kubernetes_would_refuse_are_refused_before(name: str, value: Any) -> None:
    with pytest.raises(PlanImpossible, match=f"extra Helm values are not possible: web(: |.){name}"):
        render_chart(plan(replace(WEB, user=999, extra_values={name: value})))


def test_helm_test_takes_no_policy_of_another_service_away(tmp_path: Path) -> None:
    root = write(tmp_path, plan(replace(WEB, callers=("other",)), replace(WEB, name="web-test", callers=("web",))))
    rendered = [
        item
        for path, text in render(root).items()
        if path.endswith(".yaml")
        for item in YAML(typ="safe").load_all(text)
    ]
    rendered = list(filter(None, rendered))
    keys = [(item["kind"], item["metadata"]["name"]) for item in rendered]
    assert len(keys) == len(set(keys))
    pods = [item for item in rendered if item["kind"] == "Pod"]
    services = [item["spec"]["selector"] for item in rendered if item["kind"] == "Service"]
    assert pods
    assert not any(labels.items() <= one["metadata"]["labels"].items() for labels in services for one in pods)


def test_no_service_is_called_like_the_addresses_of_pods() -> None:
    services = replace(WEB, name="db", workload="statefulset"), replace(WEB, name="db-pods")
    with pytest.raises(PlanImpossible, match="cannot be called db-pods"):
        render_chart(plan(*services))
    assert render_chart(plan(replace(services[0], workload="deployment"), services[1]))


def test_values_given_to_helm(tmp_path: Path) -> None:
    values = {
        "global": {"imagePullSecrets": [{"name": "all"}, {"name": "sconeapps"}]},
        "db": {"resources": {"limits": {SGX_RESOURCE: None, "sgx.k8s.io/sgx": 2}}, "replicaCount": 0},
    }
    found = objects(write(tmp_path, plan(FULL)), values)
    spec = pod(found, "demo-db")
    assert spec["imagePullSecrets"] == [{"name": "sconeapps"}, {"name": "all"}]
    assert spec["containers"][0]["resources"] == {"limits": {"sgx.k8s.io/sgx": 2}}
    assert found["Deployment", "demo-db"]["spec"]["replicas"] == 0


@pytest.mark.parametrize(
    "web",
    [
        {"replicas": 1},
        {"replicaCount": "1"},
        {"image": None},
        {"service": {"port": 70000}},
        {"service": {"ports": None}},
        {"service": {"ports": [{"name": "Bad_Name", "port": 1}]}},
        {"workload": {"kind": "pod"}},
        {"ingress": {"enabled": True}},
        {"gateway": {"enabled": True, "hostnames": ["a"]}},
        {"jobs": {"restartPolicy": "Always"}},
        {"initContainers": {"container1": {"enabled": True, "port": 1}}},
        {"writable": ["tmp"]},
        {"memory": {"sizeLimit": "lots"}},
        {"scone": {"measurement": "x", "toolchain": "other"}},
        {"persistence": {"enabled": True}},
        {"volumev2": {"persistence": {"enabled": True}}},
        {"volumev2": {"persistence": {"enabled": True, "size": "1Gi", "accessModes": ["ReadWriteOnce"]}}},
        {"memory": {"sizeLimit": "1Gi", "volumes": "lots"}},
        {"useSGXDevPlugin": "other"},
        {"extraEnv": [{"name": "PASSWORD", "value": "x"}]},
        {"extraEnv": [{"name": "SCONE_CONFIG_ID", "value": "x"}]},
        {"podAnnotations": {"a": 1}},
    ],
)
def test_the_schemas_refuse_wrong_values(tmp_path: Path, web: dict[str, Any]) -> None:
    root = write(tmp_path, plan(WEB))
    for values in [{"web": web}, {"wbe": dict[str, Any]()}]:
        with pytest.raises(helm.HelmValuesError, match="schema"):
            render(root, values)


def test_every_value_is_in_the_schema_and_in_the_readme() -> None:
    files = render_chart(plan(FULL))
    schema = json.loads(files["charts/db/values.schema.json"])
    values = load(files["charts/db/values.yaml"])
    assert values.keys() == schema["properties"].keys() - {"global"}
    readme = files["README.md"].decode()
    for key in values:
        assert f"`{key}" in readme


def test_a_missing_asset_is_a_broken_installation() -> None:
    for lookup, name in ((assets.read, "charts_templates"), (assets.read_tree, "charts_templates/icon.svg")):
        for missing in (name, "charts_templates/nothing"):
            with pytest.raises(SconectlError, match=f"lacks {missing}"):
                lookup(missing)
