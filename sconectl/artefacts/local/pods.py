"""The containers of a mesh on one machine, taken from the pods that the chart would make.

In: the plan of the chart, the release, and where its CAS is. Out: a `LocalMesh`. Raises `PlanImpossible` with all that
a pod has and one machine cannot give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sconectl.artefacts.chart_values import each_values
from sconectl.artefacts.installed import Installed, Object
from sconectl.artefacts.local import containers as words
from sconectl.artefacts.local.containers import Health, LocalContainer, LocalMesh, Storage
from sconectl.artefacts.local.probes import health_of
from sconectl.artefacts.network import services
from sconectl.artefacts.pod_volumes import PodVolumes, size_of
from sconectl.artefacts.workload import check_workload, workload
from sconectl.errors import PlanImpossible
from sconectl.plan.mesh.chart_plan import ChartPlan

_STORAGE = "/scone/volumes/"
_TMPFS = "rw,exec,nosuid,nodev,mode=1777"
_NANO = 10**9
_LEAST_CPUS = _NANO // 100
"""What a kubelet gives to a pod that asks for less: the kernel divides processors no further."""
_WAITING_STOPS = 1
_LONGEST_HOSTNAME = 63
_EMBEDDED = "local"


@dataclass(frozen=True)
class LocalCas:
    """Where containers find the CAS: what the mesh calls it, its address, and the hash of its key if that is known."""

    url: str
    address: str
    key: str


def local_mesh(plan: ChartPlan, release: str, cas: LocalCas, checks: Mapping[str, Sequence[str]]) -> LocalMesh:
    """Return the containers of a mesh; `checks` are the health commands that images bring, by image."""
    found: list[LocalContainer] = []
    wrong = [f"{s.name} has a chart of its own, which only Helm can render" for s in plan.services if s.own_chart]
    skipped = []
    for service, values in each_values(plan):
        of = Installed(plan, service, release, values)
        check_workload(of)
        if of.service.toolchain.sgx:
            wrong.append(f"{service.name} needs hardware (toolchain {service.toolchain.name})")
        elif of.kind == "cronjob":
            skipped.append(service.name)
        else:
            found += _Service(of, cas, checks, wrong).containers()
    names = [container.name for container in found]
    wrong += [f"two containers would be called {name}" for name in sorted({n for n in names if names.count(n) > 1})]
    if wrong:
        message = f"this mesh cannot run on one machine: {'; '.join(wrong)}"
        raise PlanImpossible(message, hint="install its chart in a cluster, or change these values for this run")
    return LocalMesh(plan.name, release, tuple(found), tuple(skipped))


class _Service:
    """One service of the mesh; `wrong` is told what its pods have and a container cannot have."""

    def __init__(self, of: Installed, cas: LocalCas, checks: Mapping[str, Sequence[str]], wrong: list[str]) -> None:
        self._of, self._cas, self._checks, self._wrong = of, cas, checks, wrong
        self._spec = workload(of)["spec"]
        self._pod = self._spec["template"]["spec"]
        self._volumes = PodVolumes(of)
        self._templates = {claim["metadata"]["name"] for claim in self._spec.get("volumeClaimTemplates", ())}

    def containers(self) -> Iterator[LocalContainer]:
        """Yield those of each replica: what it waits for, then the service."""
        if self._pod["containers"][1:]:
            self._wrong.append(f"{self._of.service.name} has extraContainers")
        scaling = self._of.values["autoscaling"]
        count = scaling["minReplicas"] if scaling["enabled"] else self._spec.get("replicas", 1)
        for number in range(count):
            name = self._of.name if count == 1 else f"{self._of.name}-{number}"
            before: tuple[str, ...] = ()
            for waiting in self._pod.get("initContainers", ()):
                one = self._waiting(waiting, f"{name}-{waiting['name']}", before)
                before = (one.name,)
                yield one
            yield self._main(name, number, before)

    def _main(self, name: str, number: int, before: tuple[str, ...]) -> LocalContainer:
        [container, *_] = self._pod["containers"]
        of = self._of
        per_pod = of.kind == "statefulset"
        own = name if len(name) <= _LONGEST_HOSTNAME else of.name
        hostname = f"{of.workload_name}-{number}" if per_pod else own
        aliases = [of.name, hostname, *([f"{hostname}.{of.pods_name}"] if per_pod else [])]
        public = list(services(of))
        tmpfs, storage = self._mounted(container, number)
        return LocalContainer(
            **self._shared(container),
            part="",
            name=name,
            hostname=hostname,
            environment=self._environment(container),
            tmpfs=tmpfs,
            storage=tuple(storage),
            ports=tuple(port["port"] for port in of.ports) if number == 0 and public else (),
            aliases=tuple(dict.fromkeys(alias for alias in aliases if alias != name)),
            restart=self._restart(),
            stop_seconds=int(self._pod["terminationGracePeriodSeconds"]),
            health=self._health(container, hostname),
            ends=of.ends,
            after=before,
        )

    def _waiting(self, container: Object, name: str, before: tuple[str, ...]) -> LocalContainer:
        return LocalContainer(
            **self._shared(container),
            part=str(container["name"]),
            name=name,
            hostname=name[:_LONGEST_HOSTNAME].rstrip("-"),
            environment={},
            entrypoint=tuple(container["command"]),
            stop_seconds=_WAITING_STOPS,
            ends=True,
            after=before,
        )

    def _shared(self, container: Object) -> dict[str, Any]:
        """Return what all containers of the pod have of it, and what is said in the same way about each."""
        pod = self._pod.get("securityContext") or {}
        own = container.get("securityContext") or {}
        user = own.get("runAsUser", pod.get("runAsUser"))
        group = own.get("runAsGroup", pod.get("runAsGroup"))
        groups = [pod["fsGroup"]] if "fsGroup" in pod else []
        capabilities = own.get("capabilities") or {}
        security = [] if own.get("allowPrivilegeEscalation", True) else ["no-new-privileges"]
        profile = own.get("seccompProfile") or pod.get("seccompProfile") or {}
        security += ["seccomp=unconfined"] if profile.get("type") == "Unconfined" else []
        limits = (container.get("resources") or {}).get("limits") or {}
        return {
            "service": self._of.service.name,
            "image": str(container["image"]),
            "labels": self._labels(),
            "user": "" if user is None else f"{user}:{group}" if group is not None else str(user),
            "groups": tuple(str(each) for each in dict.fromkeys([*groups, *(pod.get("supplementalGroups") or ())])),
            "privileged": bool(own.get("privileged")),
            "read_only": bool(own.get("readOnlyRootFilesystem")),
            "cap_drop": tuple(capabilities.get("drop") or ()),
            "cap_add": tuple(capabilities.get("add") or ()),
            "security": tuple(security),
            "sysctls": {entry["name"]: str(entry["value"]) for entry in pod.get("sysctls") or ()},
            "memory": size_of(limits["memory"]) if limits.get("memory") else 0,
            "nano_cpus": _nano_cpus(limits["cpu"]) if limits.get("cpu") else 0,
            "hosts": tuple(
                f"{name}:{entry['ip']}"
                for entry in self._pod.get("hostAliases") or ()
                for name in entry.get("hostnames") or ()
            ),
        }

    def _labels(self) -> dict[str, str]:
        """Return labels and annotations of the pod; a change of them replaces it."""
        metadata = self._spec["template"]["metadata"]
        given = {**metadata["labels"], **metadata["annotations"]}
        for name in words.NOT_GIVEN & given.keys():
            del given[name]
        own = {
            words.RELEASE: self._of.release,
            words.MESH: self._of.plan.name,
            words.SERVICE: self._of.service.name,
            words.CONFIG_ID: self._of.values["scone"]["configId"],
            words.CAS: self._cas.url,
            **({words.CAS_KEY: self._cas.key} if self._cas.key else {}),
        }
        return {key: str(text) for key, text in sorted({**given, **own}.items())}

    def _environment(self, container: Object) -> dict[str, str]:
        found: dict[str, str] = {}
        for entry in container["env"]:
            if "valueFrom" in entry:
                self._wrong.append(f"{self._of.service.name}: {entry['name']} takes its value from the cluster")
                continue
            found[entry["name"]] = str(entry.get("value", ""))
        if self._cas.url == _EMBEDDED:
            found["SCONE_CAS_ADDR"] = self._cas.address
        if self._cas.key and "SCONE_CAS_KEY" not in found:
            found["SCONE_CAS_KEY"] = self._cas.key
        return found

    def _restart(self) -> str:
        """Return when it is started again: a job so often as it may fail, everything else always."""
        if not self._of.ends:
            return "unless-stopped"
        times = int(self._of.values["jobs"]["backoffLimit"])
        return f"on-failure:{times}" if times else "no"

    def _health(self, container: Object, hostname: str) -> Health | None:
        """Return the command that says whether the service serves: the image's own, else what the probes ask."""
        if self._of.ends:
            return None
        ports = {port["name"]: port["port"] for port in self._of.ports}
        return health_of(container, hostname, ports, tuple(self._checks.get(str(container["image"]), ())))

    def _mounted(self, container: Object, number: int) -> tuple[dict[str, str], list[Storage]]:
        """Return memory and volumes of a container, by the places where they are."""
        sources = {source["name"]: source for source in self._pod["volumes"]}
        tmpfs: dict[str, str] = {}
        storage: list[Storage] = []
        for mount in container["volumeMounts"]:
            name, path, source = mount["name"], mount["mountPath"], sources.get(mount["name"], {})
            empty = source.get("emptyDir")
            if name in self._templates:
                claim = f"{name}-{self._of.workload_name}-{number}"
            elif "persistentVolumeClaim" in source:
                claim = str(source["persistentVolumeClaim"]["claimName"])
            elif empty is not None and name in self._volumes.blocks:
                claim = self._kept(name, number)
            else:
                claim = ""
            if mount.get("subPath") or mount.get("subPathExpr") or not (claim or empty is not None):
                self._wrong.append(f"{self._of.service.name}: {path} is a mount that only a cluster has")
            elif claim:
                storage.append(Storage(self._volume(claim), path, bool(mount.get("readOnly")), self._owned(name, path)))
            else:
                size = empty.get("sizeLimit")
                tmpfs[path] = f"{_TMPFS},size={size_of(size)}" if size else _TMPFS
        return tmpfs, storage

    def _kept(self, label: str, number: int) -> str:
        """Return the volume of the engine for storage that a cluster would forget with the pod.

        The CAS knows the state of that storage, so a container that takes the place of another one needs it.
        """
        claim = self._volumes.claim(label)
        replicas = self._spec.get("replicas", 1) > 1
        return f"{claim}-{number}" if replicas else claim

    def _owned(self, label: str, path: str) -> str:
        """Return what the session of the service calls an encrypted volume of its own; "" for another one."""
        block = self._volumes.blocks.get(label, {})
        return path.removeprefix(_STORAGE) if block.get("encrypted") and "importedFrom" not in block else ""

    def _volume(self, claim: str) -> str:
        """Return the name of a claim's volume: that of the claim, with the release if it does not begin with it."""
        begin = f"{self._of.release}-"
        return claim if claim.startswith(begin) else begin + claim


def _nano_cpus(amount: Any) -> int:
    text = str(amount)
    try:
        given = int(float(text[:-1]) * _NANO / 1000) if text.endswith("m") else int(float(text) * _NANO)
        return max(given, _LEAST_CPUS)
    except ValueError:
        raise PlanImpossible(f"{text!a} is no number of processors", hint="write it like 0.5 or 500m") from None
