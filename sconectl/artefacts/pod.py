"""The pods of a service without Helm.

In: a service as it is installed. Out: the template of its pods. It says the same as
charts_templates/service/templates/_pod.tpl: a test renders both and compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sconectl import assets
from sconectl.artefacts.chart_values import READ_ONLY_ROOT
from sconectl.artefacts.installed import Installed, Object
from sconectl.artefacts.pod_volumes import PodVolumes
from sconectl.artefacts.resources import DEVICES, has_device, resources, security_context
from sconectl.errors import PlanImpossible

PYTHON = ("/scone/lib/ld.so", "--inhibit-cache", "--library-path", "/scone/lib", "/scone/bin/python3")
"""The Python of the launcher in simulated images."""
_ANSWERS = "charts_templates/service/files/answers.py"
_ASKING = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}}
_NOBODY = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001}
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_OTHER_HANDLERS = ("exec", "grpc", "httpGet")


def pod_template(of: Installed) -> Object:
    """Return metadata and specification of the pods."""
    values = of.values
    labels = {**(values.get("podLabels") or {}), **of.labels()}
    if "app.kubernetes.io/version" not in of.labels():
        labels.pop("app.kubernetes.io/version", None)
    metadata = {"labels": labels, "annotations": _annotations(of)}
    return {"metadata": metadata, "spec": _spec(of)}


def _annotations(of: Installed) -> dict[str, str]:
    """Return the annotations; those about image and configuration replace the pods when they change."""
    scone = of.values["scone"]
    own = {"sconectl.io/measurement": scone["measurement"], **of.simulation()}
    if scone.get("configuration"):
        own["sconectl.io/configuration"] = scone["configuration"]
    return dict(sorted({**(of.values.get("podAnnotations") or {}), **own}.items()))


def _spec(of: Installed) -> Object:
    values, volumes = of.values, PodVolumes(of)
    account = values["serviceAccount"]
    spec: Object = {}
    pulling = [*(values.get("imagePullSecrets") or ()), *(of.plan.shared_values.get("imagePullSecrets") or ())]
    if pulling:
        names = dict.fromkeys(str(entry["name"]) for entry in pulling)
        spec["imagePullSecrets"] = [{"name": name} for name in names]
    spec |= {
        "serviceAccountName": account.get("name") or (of.name if account["create"] else "default"),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": values["jobs"]["restartPolicy"] if of.ends else "Always",
        "terminationGracePeriodSeconds": values["terminationGracePeriodSeconds"],
    }
    spec |= _given(values, "priorityClassName", "runtimeClassName", "hostAliases")
    if security := volumes.security():
        spec["securityContext"] = security
    if waiting := _waiting(of):
        spec["initContainers"] = waiting
    spec["containers"] = [_container(of, volumes), *(values.get("extraContainers") or ())]
    spec["volumes"] = _volumes(of, volumes)
    spec |= _given(values, "nodeSelector", "affinity", "tolerations")
    if spread := values.get("topologySpreadConstraints"):
        selector = {"labelSelector": {"matchLabels": of.selector()}}
        spec["topologySpreadConstraints"] = [{**selector, **entry} for entry in spread]
    return spec


def _given(values: Mapping[str, Any], *keys: str) -> Object:
    return {key: values[key] for key in keys if values.get(key)}


def _waiting(of: Installed) -> list[Object]:
    """Return containers that wait until others answer in TLS; the launcher of a simulated image brings a Python."""
    given, found = of.values["initContainers"], []
    image, pod = given.get("image"), of.values.get("podSecurityContext")
    asking_user = _NOBODY if pod and not pod.get("runAsNonRoot") else {}
    for name in ("container1", "container2"):
        if not given[name]["enabled"]:
            continue
        if not image and not of.service.toolchain.simulated:
            message = f"{of.service.name}: images of this toolchain cannot ask whether a server answers"
            raise PlanImpossible(message, hint="name an image with python3 in initContainers.image")
        python = ("python3",) if image else PYTHON
        asked = (given[name]["host"], str(given[name]["port"]), "tls")
        container: Object = {
            "name": f"wait-{name}",
            "image": image or of.values["image"],
            "imagePullPolicy": of.values["imagePullPolicy"],
            "command": [*python, "-I", "-S", "-B", "-c", assets.read(_ANSWERS).decode(), *asked],
            "resources": _ASKING,
            "securityContext": {**asking_user, **READ_ONLY_ROOT},
        }
        found.append(container)
    return found


def _container(of: Installed, volumes: PodVolumes) -> Object:
    values = of.values
    container: Object = {
        "name": "api",
        "image": values["image"],
        "imagePullPolicy": values["imagePullPolicy"],
        "env": [*_settings(of), *(values.get("extraEnv") or ())],
    }
    if of.ports:
        container["ports"] = [
            {"name": port["name"], "containerPort": port["port"], "protocol": "TCP"} for port in of.ports
        ]
    for key in _PROBES:
        if values.get(key):
            container[key] = _probe(values[key])
    parts = {"resources": resources(of, volumes), "securityContext": security_context(of)}
    container |= {key: part for key, part in parts.items() if part}
    mounts = [{"name": "sconectl-memory", "mountPath": "/dev/shm"}]  # noqa: S108 - in the container
    mounts += [{"name": f"sconectl-writable-{number}", "mountPath": path} for number, path in _writable(of)]
    if values["persistence"]["enabled"]:
        mounts.append({"name": "sconectl-data", "mountPath": values["persistence"]["mountPath"]})
    mounts += volumes.mounts()
    if has_device(of):
        mounts += [{"name": name, "mountPath": path} for name, path in DEVICES.items()]
    container["volumeMounts"] = [*mounts, *(values.get("extraVolumeMounts") or ())]
    return container


def _probe(probe: Object) -> Object:
    """Return a probe with one way to ask: another one replaces the connection that is tried by default."""
    if any(probe.get(key) for key in _OTHER_HANDLERS):
        return {key: item for key, item in probe.items() if key != "tcpSocket"}
    return probe


def _writable(of: Installed) -> list[tuple[int, str]]:
    return list(enumerate(of.values.get("writable") or ()))


def _settings(of: Installed) -> list[Object]:
    scone = of.values["scone"]
    hardware = of.service.toolchain.sgx
    given = {
        "SCONE_CONFIG_ID": scone["configId"],
        "SCONE_CAS_ADDR": scone["cas"],
        "SCONE_CAS_KEY": scone.get("casKey"),
        "SCONE_LOG": scone.get("log"),
        "SCONE_LAS_ADDR": scone.get("las"),
    }
    found: list[Object] = [{"name": name, "value": value} for name, value in given.items() if value]
    if hardware and not scone.get("las"):
        found.append({"name": "SCONE_LAS_ADDR", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}})
    if hardware or scone.get("printVersion"):
        found.append({"name": "SCONE_VERSION", "value": "1"})
    if hardware:
        found.append({"name": "SCONE_EDMM_MODE", "value": scone.get("edmm") or "auto"})
    return found


def _volumes(of: Installed, volumes: PodVolumes) -> list[Any]:
    memory = {"medium": "Memory", "sizeLimit": of.values["memory"]["sizeLimit"]}
    found: list[Object] = [{"name": "sconectl-memory", "emptyDir": memory}]
    found += [{"name": f"sconectl-writable-{number}", "emptyDir": {}} for number, _ in _writable(of)]
    found += volumes.sources()
    if has_device(of):
        found += [{"name": name, "hostPath": {"path": path, "type": "CharDevice"}} for name, path in DEVICES.items()]
    return [*found, *(of.values.get("extraVolumes") or ())]
