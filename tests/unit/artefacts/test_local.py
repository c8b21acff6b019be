"""Containers on one machine have what Helm gives their pods, the engine and Compose are told the same."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from typing import Any

import helm_python as helm
import pytest
from fakes.builders import TOOLCHAINS
from ruamel.yaml import YAML

from sconectl.artefacts.chart import render_chart
from sconectl.artefacts.local.compose import FILE, SETTINGS, compose_files
from sconectl.artefacts.local.containers import LocalContainer, LocalMesh
from sconectl.artefacts.local.engine_config import all_labels, engine_config
from sconectl.artefacts.local.pods import LocalCas, local_mesh
from sconectl.artefacts.pod_volumes import size_of
from sconectl.errors import PlanImpossible
from sconectl.plan.mesh.chart_plan import ChartPlan, ChartService

from .test_manifests import BOXED, CASES, VOLUMES, WEB

CAS = LocalCas("local", "172.17.0.1:8081", "a key")
IMAGE_ID = "sha256:" + "ab" * 32
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
PLAIN = {"persistence": {"enabled": False}}


def mesh_of(
    *services: ChartService, release: str = "demo", checks: dict[str, tuple[str, ...]] | None = None
) -> LocalMesh:
    return local_mesh(ChartPlan("shop", "0.1.0", services), release, CAS, checks or {})


def only(service: ChartService, own: tuple[str, ...] = ()) -> LocalContainer:
    return mesh_of(service, checks={service.image: own}).containers[0]


def pod_of(service: ChartService, tmp_path: Any) -> dict[str, Any]:
    """Return the pod of a service as Helm renders it."""
    for path, content in render_chart(ChartPlan("shop", "0.1.0", (service,))).items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    with helm.Chart.load(str(tmp_path)) as chart:
        texts = [text for path, text in chart.render({}, name="demo", namespace="default").items() if ".yaml" in path]
    documents = [found for text in texts for found in YAML(typ="safe").load_all(text) if found]
    [pod] = [each["spec"]["template"]["spec"] for each in documents if each["kind"] in WORKLOADS]
    return dict(pod)


RUNNABLE = [name for name, s in CASES.items() if not s.toolchain.sgx and s.workload != "cronjob"]


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_container_has_what_helm_gives_its_pod(name: str, tmp_path: Any) -> None:
    service = CASES[name]
    pod = pod_of(service, tmp_path)
    try:
        main = next(each for each in mesh_of(service).containers if not each.part)
    except PlanImpossible as error:
        assert any(word in error.message for word in ("extraContainers", "takes its value", "only a cluster has"))
        return
    [container] = pod["containers"]
    rights, own = pod.get("securityContext") or {}, container.get("securityContext") or {}
    user, group = (own.get(key, rights.get(key)) for key in ("runAsUser", "runAsGroup"))
    assert main.user == ("" if user is None else f"{user}" if group is None else f"{user}:{group}")
    assert main.read_only == own.get("readOnlyRootFilesystem", False)
    assert list(main.cap_drop) == (own.get("capabilities") or {}).get("drop", [])
    assert ("no-new-privileges" in main.security) == (own.get("allowPrivilegeEscalation") is False)
    assert main.groups == (() if rights.get("fsGroup") is None else (str(rights["fsGroup"]),))
    assert main.sysctls == {entry["name"]: entry["value"] for entry in rights.get("sysctls", ())}
    limit = container.get("resources", {}).get("limits", {}).get("memory")
    assert main.memory == (size_of(limit) if limit else 0)
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    expected = {**env, "SCONE_CAS_ADDR": CAS.address, "SCONE_CAS_KEY": env.get("SCONE_CAS_KEY", CAS.key)}
    assert main.environment == expected
    places = [*main.tmpfs, *(each.path for each in main.storage)]
    assert sorted(places) == sorted(mount["mountPath"] for mount in container["volumeMounts"])
    memory = {source["name"] for source in pod["volumes"] if source.get("emptyDir", {}).get("medium") == "Memory"}
    assert {m["mountPath"] for m in container["volumeMounts"] if m["name"] in memory} <= set(main.tmpfs)
    assert main.stop_seconds == pod["terminationGracePeriodSeconds"]
    assert main.ends == (pod["restartPolicy"] != "Always")
    assert (main.health is not None) == bool({"startupProbe", "readinessProbe"} & container.keys() and not main.ends)


@pytest.mark.parametrize("name", RUNNABLE)
def test_storage_is_of_the_engine_and_of_the_release(name: str) -> None:
    try:
        mesh = mesh_of(CASES[name])
    except PlanImpossible:
        return
    assert all(volume.startswith("demo-") for volume in mesh.volumes)
    mounted = {each.volume for container in mesh.containers for each in container.storage}
    assert mounted == set(mesh.volumes)
    other = mesh_of(CASES[name], release="other")
    assert not set(mesh.volumes) & set(other.volumes)
    if "fullnameOverride" not in CASES[name].extra_values:
        assert not {c.name for c in mesh.containers} & {c.name for c in other.containers}


def test_encrypted_storage_stays_without_a_claim_because_the_cas_knows_its_state() -> None:
    found = only(replace(WEB, volume_values=VOLUMES))
    assert {(each.path, each.volume, each.owned) for each in found.storage} == {
        ("/scone/volumes/V1", "demo-web-volumev1", "V1"),
        ("/scone/volumes/my.data", "demo-web-volumemy-data", "my.data"),
        ("/logs", "demo-web-volumelogs", ""),
    }
    labels = mesh_of(replace(WEB, volume_values=VOLUMES)).volumes["demo-web-volumev1"]
    assert (labels["sconectl.io/session"], labels["sconectl.io/volume"]) == ("shop/web", "V1")


def test_what_one_machine_cannot_give_is_said_of_all_services_at_once() -> None:
    beside = {"extraContainers": [{"name": "x", "image": "y"}]}
    asked = {"extraEnv": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]}
    given = {
        "extraVolumes": [{"name": "c", "configMap": {"name": "c"}}],
        "extraVolumeMounts": [{"name": "c", "mountPath": "/etc/c"}],
    }
    values: dict[str, dict[str, Any]] = {"a": beside, "b": asked, "c": given}
    services = [replace(WEB, name=name, extra_values=extra) for name, extra in values.items()]
    with pytest.raises(PlanImpossible) as caught:
        mesh_of(*services, replace(WEB, name="d", toolchain=TOOLCHAINS["scone"]))
    for text in ("a has extraContainers", "b: NODE takes", "c: /etc/c is a mount", "d needs hardware"):
        assert text in caught.value.message


def test_a_cronjob_is_left_out_and_named() -> None:
    mesh = mesh_of(WEB, replace(WEB, name="nightly", workload="cronjob", schedule="0 3 * * *"))
    assert mesh.skipped == ("nightly",) and [each.service for each in mesh.containers] == ["web"]


@pytest.mark.parametrize(("limit", "restart"), [(0, "no"), (3, "on-failure:3")])
def test_a_job_is_tried_as_often_as_in_a_cluster(limit: int, restart: str) -> None:
    job = only(replace(WEB, workload="job", extra_values={"jobs": {"backoffLimit": limit}}))
    assert (job.restart, job.ends, job.name) == (restart, True, "demo-web")


def test_the_health_command_of_the_image_is_asked_rather_than_a_port() -> None:
    own, port = only(WEB, own=("/bin/check", "it")).health, only(WEB).health
    assert own and own.command == ("/bin/check", "it") and own.start == 300
    assert port and port.command[-2:] == ("demo-web", "8080")


@pytest.mark.parametrize(
    ("probe", "end"),
    [
        ({"exec": {"command": ["/bin/ok", "1"]}}, ("/bin/ok", "1")),
        ({"httpGet": {"port": "api", "path": "/live", "scheme": "HTTPS"}}, ("HTTPS", "demo-web", "8080", "/live")),
        ({"httpGet": {"port": 81}}, ("HTTP", "demo-web", "81", "/")),
        ({"grpc": {"port": 9000}}, ("demo-web", "9000")),
    ],
)
def test_probes_of_the_manifest_are_asked(probe: dict[str, Any], end: tuple[str, ...]) -> None:
    found = only(replace(WEB, extra_values={"readinessProbe": probe, "startupProbe": probe})).health
    assert found and found.command[-len(end) :] == end


def test_what_replaces_a_pod_replaces_its_container() -> None:
    base = only(WEB)
    others = [
        replace(WEB, configuration="0" * 32),
        replace(WEB, measurement="2f" * 32),
        replace(WEB, config_id="shop/web/other"),
        replace(WEB, extra_values={"podAnnotations": {"mine": "2"}}),
        BOXED,
    ]
    digests = {base.digest(IMAGE_ID), base.digest("sha256:" + "cd" * 32), *(only(o).digest(IMAGE_ID) for o in others)}
    assert len(digests) == len(others) + 2
    assert only(WEB).digest(IMAGE_ID) == base.digest(IMAGE_ID)


def test_the_longest_name_leaves_room_for_the_number_of_a_replica() -> None:
    service = replace(WEB, name="w" * 58, extra_values={"replicaCount": 2})
    found = mesh_of(service).containers
    assert [each.name for each in found] == [f"demo-{'w' * 58}-0", f"demo-{'w' * 58}-1"]
    assert {each.hostname for each in found} == {f"demo-{'w' * 58}"}  # no engine takes more than 63 letters


@pytest.mark.parametrize(("cpu", "nano"), [("1m", 10**7), (0.001, 10**7), ("250m", 25 * 10**7), (2, 2 * 10**9)])
def test_processors_are_divided_no_further_than_a_kubelet_does(cpu: object, nano: int) -> None:
    assert only(replace(WEB, extra_values={"resources": {"limits": {"cpu": cpu}}})).nano_cpus == nano


def test_labels_that_say_what_a_container_is_come_from_no_manifest() -> None:
    given = {f"sconectl.io/{name}": "evil" for name in ("part", "ends", "cas-key", "release", "mesh", "cas", "image")}
    here = replace(CAS, key="")
    plan = ChartPlan("shop", "0.1.0", (replace(WEB, extra_values={"podAnnotations": {**given, "mine": "2"}}),))
    container = local_mesh(plan, "demo", here, {}).containers[0]
    labels = all_labels(container, "digest")
    assert labels["mine"] == "2" and "evil" not in labels.values()


def test_every_part_of_a_container_counts_in_its_digest() -> None:
    base = only(replace(WEB, volume_values=VOLUMES))
    for part in dataclasses.fields(LocalContainer):
        value: Any = getattr(base, part.name)
        match value:
            case bool():
                changed: Any = not value
            case int():
                changed = value + 1
            case str():
                changed = value + "x"
            case tuple():
                changed = (*value, "x")
            case None:
                changed = only(WEB).health
            case _ if part.name == "health":
                changed = None
            case _:
                changed = {**value, "more": "x"}
        assert replace(base, **{part.name: changed}).digest(IMAGE_ID) != base.digest(IMAGE_ID), part.name


# --- the same for the engine and for Compose --------------------------------------------------------------------------


def compose(mesh: LocalMesh) -> dict[str, Any]:
    files = compose_files(mesh, dict.fromkeys(mesh.images, IMAGE_ID))
    assert files == compose_files(mesh, dict.fromkeys(mesh.images, IMAGE_ID))
    assert files[SETTINGS] == f"COMPOSE_PROJECT_NAME=sconectl-{mesh.release}\n".encode()
    return dict(YAML(typ="safe").load(files[FILE]))


@pytest.mark.parametrize("name", RUNNABLE)
def test_compose_and_the_engine_are_told_the_same(name: str) -> None:
    try:
        mesh = mesh_of(CASES[name])
    except PlanImpossible:
        return
    document = compose(mesh)
    assert document["networks"]["default"]["name"] == mesh.network
    for container in mesh.containers:
        written = document["services"][container.name]
        config = engine_config(container, IMAGE_ID, mesh.network, {p: p for p in container.ports})
        host = config["HostConfig"]
        assert written["labels"] == config["Labels"] and written["hostname"] == config["Hostname"]
        assert [f"{key}={text}" for key, text in written.get("environment", {}).items()] == config["Env"]
        assert written.get("user", "") == config["User"] and written.get("read_only", False) == host["ReadonlyRootfs"]
        assert written.get("cap_drop", []) == host["CapDrop"] and written.get("security_opt", []) == host["SecurityOpt"]
        assert written.get("mem_limit", 0) == host["Memory"] and written.get("group_add", []) == host["GroupAdd"]
        assert written.get("cpus", 0) * 10**9 == host["NanoCpus"] and written.get("sysctls", {}) == host["Sysctls"]
        assert dict(text.split(":", 1) for text in written.get("tmpfs", ())) == host["Tmpfs"]
        volumes = [(v["source"], v["target"], v["read_only"]) for v in written.get("volumes", ())]
        assert volumes == [(m["Source"], m["Target"], m["ReadOnly"]) for m in host["Mounts"]]
        assert set(document.get("volumes", {})) == set(mesh.volumes)
        assert written.get("healthcheck", {}).get("test", []) == config.get("Healthcheck", {}).get("Test", [])
        assert (
            written.get("networks", {}).get("default", {}).get("aliases", [])
            == (config["NetworkingConfig"]["EndpointsConfig"][mesh.network]["Aliases"])
        )
        bound = [f"{b[0]['HostIp']}:{b[0]['HostPort']}:{port[:-4]}" for port, b in host["PortBindings"].items()]
        assert written.get("ports", []) == bound
        assert json.loads(json.dumps(config)) == config


def test_compose_fills_in_nothing_and_gives_no_port_twice() -> None:
    tricky = replace(
        WEB, extra_values={"extraEnv": [{"name": "A", "value": "$HOME ${X:-y} $$z"}], "podLabels": {"l": "a$b"}}
    )
    document = compose(mesh_of(tricky, replace(WEB, name="second")))
    first, second = document["services"]["demo-web"], document["services"]["demo-second"]
    assert first["environment"]["A"] == "$$HOME $${X:-y} $$$$z" and first["labels"]["l"] == "a$$b"
    assert (first["ports"], second["ports"]) == (["127.0.0.1:8080:8080"], ["127.0.0.1::8080"])


def test_who_waits_in_a_cluster_waits_here_and_one_after_the_other() -> None:
    peer = {"enabled": True, "host": "demo-db", "port": 5432}
    mesh = mesh_of(replace(WEB, extra_values={"initContainers": {"container1": peer, "container2": peer}}))
    one, two, main = mesh.containers
    assert (one.after, two.after, main.after) == ((), (one.name,), (two.name,))
    assert one.ends and one.entrypoint[-3:-1] == ("demo-db", "5432") and one.environment == {}
    assert one.read_only and one.cap_drop == ("ALL",) and one.memory == 64 << 20
    written = compose(mesh)["services"]["demo-web"]["depends_on"]
    assert written == {two.name: {"condition": "service_completed_successfully"}}
