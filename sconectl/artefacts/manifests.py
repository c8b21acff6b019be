"""The objects that Helm makes from the chart of a mesh, as plain manifests for clusters without Helm (`-o yaml`).

In: a `ChartPlan` and the name of the release. Out: the content of each file of target/manifests. It says the same as
the templates in charts_templates/service, but for the label with the version of the chart: a test renders both and
compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sconectl.artefacts.chart import chart_values, image_tag
from sconectl.artefacts.pod_volumes import PodVolumes, short
from sconectl.plan.mesh.chart_plan import ChartPlan, ChartService
from sconectl.text import yaml_text

MANAGER = "sconectl"
_LONGEST_NAME = 63
_COMMENT = "Written by sconectl from the mesh manifest; the next `sconectl apply -o yaml` writes it again."

Object = dict[str, Any]
_RENEWED: Object = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def manifest_files(plan: ChartPlan, release: str, policies: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    """Return the manifests by file name, one file for each service.

    `policies` are custom resources by the name of their file: those of services come first in the service's file.
    """
    found = {name: [dict(policy)] for name, policy in policies.items()}
    for service in plan.services:
        found[service.name] = [*found.get(service.name, []), *_Objects(plan, service, release).all()]
    return {f"{name}.yaml": _text(objects) for name, objects in found.items()}


def _text(objects: Iterable[Object]) -> bytes:
    head = "".join(f"# {line}\n" for line in _COMMENT.splitlines())
    return (head + "---\n".join(yaml_text.dump(item) for item in objects)).encode()


class _Objects:
    """The objects of one service."""

    def __init__(self, plan: ChartPlan, service: ChartService, release: str) -> None:
        self.plan = plan
        self.service = service
        self.release = release
        self.values = chart_values(service)
        self.label = (self.values.get("nameOverride") or service.name)[:_LONGEST_NAME].removesuffix("-")
        self.name = short(self.values.get("fullnameOverride") or f"{release}-{self.label}")
        self.volumes = PodVolumes(self.values, self.name, release)

    def all(self) -> list[Object]:
        """Return them in the order in which they are made."""
        values, found = self.values, []
        if values["serviceAccount"]["create"]:
            found.append(self._account())
        if values["persistence"]["enabled"] and not values["persistence"].get("existingClaim"):
            found.append(self._claim(self.name, values["persistence"]))
        found += self.volumes.claims(self._claim)
        if values["service"]["enabled"]:
            found.append(self._service())
        return [*found, self._deployment()]

    def _selector(self) -> dict[str, str]:
        return {"app.kubernetes.io/name": self.label, "app.kubernetes.io/instance": self.release}

    def _labels(self) -> dict[str, str]:
        tag = image_tag(self.service.image)
        return {
            **self._selector(),
            **({"app.kubernetes.io/version": tag} if tag else {}),
            "app.kubernetes.io/managed-by": MANAGER,
            "app.kubernetes.io/part-of": self.plan.name[:_LONGEST_NAME].removesuffix("-"),
        }

    def _object(self, version: str, kind: str, rest: Object, annotations: Mapping[str, str], name: str = "") -> Object:
        metadata: Object = {"name": name or self.name, "labels": self._labels()}
        if annotations:
            metadata["annotations"] = dict(annotations)
        return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}

    def _account(self) -> Object:
        account = self.values["serviceAccount"]
        rest = {"automountServiceAccountToken": False}
        return self._object("v1", "ServiceAccount", rest, account.get("annotations") or {}, account.get("name") or "")

    def _claim(self, name: str, given: Mapping[str, Any]) -> Object:
        spec: Object = {"accessModes": given["accessModes"]}
        if given.get("storageClass"):
            spec["storageClassName"] = given["storageClass"]
        spec["resources"] = {"requests": {"storage": given["size"]}}
        return self._object("v1", "PersistentVolumeClaim", {"spec": spec}, given.get("annotations") or {}, name)

    def _service(self) -> Object:
        given = self.values["service"]
        port: Object = {"name": "api", "port": given["port"], "targetPort": "api", "protocol": "TCP"}
        if given.get("nodePort"):
            port["nodePort"] = given["nodePort"]
        spec = {"type": given["type"], "selector": self._selector(), "ports": [port]}
        return self._object("v1", "Service", {"spec": spec}, given.get("annotations") or {})

    def _simulation(self) -> dict[str, str]:
        return {"sconectl.io/simulation": "true"} if self.service.toolchain.simulated else {}

    def _deployment(self) -> Object:
        spec: Object = {"replicas": self.values["replicaCount"], "strategy": _RENEWED}
        if self.volumes.one_by_one:
            spec["strategy"] = {"type": "Recreate"}
        scone = self.values["scone"]
        own = {"sconectl.io/measurement": scone["measurement"], **self._simulation()}
        if scone.get("configuration"):
            own["sconectl.io/configuration"] = scone["configuration"]
        annotations = {**(self.values.get("podAnnotations") or {}), **own}
        spec["selector"] = {"matchLabels": self._selector()}
        metadata = {"labels": self._labels(), "annotations": dict(sorted(annotations.items()))}
        spec["template"] = {"metadata": metadata, "spec": self._pod()}
        return self._object("apps/v1", "Deployment", {"spec": spec}, self._simulation())

    def _pod(self) -> Object:
        values = self.values
        account = values["serviceAccount"]
        spec: Object = {}
        pulling = [*(values.get("imagePullSecrets") or ()), *(self.plan.shared_values.get("imagePullSecrets") or ())]
        if pulling:
            names = dict.fromkeys(str(entry["name"]) for entry in pulling)
            spec["imagePullSecrets"] = [{"name": name} for name in names]
        spec |= {
            "serviceAccountName": account.get("name") or (self.name if account["create"] else "default"),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "restartPolicy": "Always",
        }
        if security := self.volumes.security():
            spec["securityContext"] = security
        spec["containers"] = [self._container()]
        spec["volumes"] = self._volumes()
        return spec | {key: values[key] for key in ("nodeSelector", "affinity", "tolerations") if values.get(key)}

    def _container(self) -> Object:
        values = self.values
        container: Object = {
            "name": "api",
            "image": values["image"],
            "imagePullPolicy": values["imagePullPolicy"],
            "env": [*self._settings(), *(values.get("extraEnv") or ())],
        }
        if values["service"].get("port"):
            container["ports"] = [{"name": "api", "containerPort": values["service"]["port"], "protocol": "TCP"}]
        resources = self.volumes.resources()
        given = {**values, "resources": resources}
        for key in ("startupProbe", "livenessProbe", "readinessProbe", "resources", "securityContext"):
            if given.get(key):
                container[key] = given[key]
        mounts = [{"name": "sconectl-memory", "mountPath": "/dev/shm"}]  # noqa: S108 - in the container
        if values["persistence"]["enabled"]:
            mounts.append({"name": "sconectl-data", "mountPath": values["persistence"]["mountPath"]})
        container["volumeMounts"] = [*mounts, *self.volumes.mounts(), *(values.get("extraVolumeMounts") or ())]
        return container

    def _settings(self) -> list[Object]:
        scone = self.values["scone"]
        hardware = self.service.toolchain.sgx
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

    def _volumes(self) -> list[Object]:
        memory = {"medium": "Memory", "sizeLimit": self.values["memory"]["sizeLimit"]}
        found: list[Object] = [{"name": "sconectl-memory", "emptyDir": memory}]
        if self.values["persistence"]["enabled"]:
            claim = self.values["persistence"].get("existingClaim") or self.name
            found.append({"name": "sconectl-data", "persistentVolumeClaim": {"claimName": claim}})
        return [*found, *self.volumes.sources(), *(self.values.get("extraVolumes") or ())]
