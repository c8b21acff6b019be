"""A mesh of curated services and a client, applied by the installed command, run as the strictest platforms do.

Nobody writes a manifest for the curated services: the mesh names their images, and that is all.
"""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ruamel.yaml import YAML

from .confidential import await_end
from .world import Outcome, World, docker, inspected, logs, must, run

NATIVE_CLIENT = "sconectl-test-image/clients"
RELEASE, NAMESPACE = "demo", "curated-mesh"


@dataclass
class CuratedMesh:
    """The mesh on one machine: containers in a network of their own, each by the name of its Service."""

    world: World
    network: str
    release: str = RELEASE
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:10])
    running: dict[str, str] = field(default_factory=dict)

    def image(self, service: str) -> str:
        return f"sconectl-test/{self.world.name}-curated/{service}:1"

    def storage(self, claim: str) -> str:
        return f"sconectl-test-{self.mark}-{claim}"

    @cached_property
    def pods(self) -> dict[str, dict[str, Any]]:
        """The specifications of the pods that `helm install` would make, by service."""
        with helm.Chart.load(str(self.world.target / "helm")) as chart:
            files = chart.render({}, name=self.release, namespace="default")
        texts = [text for path, text in files.items() if path.endswith(".yaml")]
        documents = [found for text in texts for found in YAML(typ="safe").load_all(text) if found]
        workloads = [each for each in documents if each["kind"] in ("Deployment", "StatefulSet")]
        for each in workloads:
            kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
        return {
            each["metadata"]["labels"]["app.kubernetes.io/name"]: each["spec"]["template"]["spec"] for each in workloads
        }

    def create(self, service: str, *arguments: str, read_only: bool = True, **more: str) -> str:
        """Prepare a container that has what the chart gives it, and nothing else. Other names lead to it, too.

        Somebody else may add arguments, and `more` variables.
        """
        pod = self.pods[service]
        [container] = pod["containers"]
        rights, security = pod["securityContext"], container["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]} and not security["allowPrivilegeEscalation"]
        words = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--hostname", service]
        if rights["runAsNonRoot"]:
            assert security["readOnlyRootFilesystem"]
            words += ["--user", f"{rights['runAsUser']}:{rights['runAsGroup']}"]
        words += ["--read-only"] if security["readOnlyRootFilesystem"] and read_only else []
        words += ["--memory", container["resources"]["limits"]["memory"]]
        for entry in rights.get("sysctls", ()):
            words += ["--sysctl", f"{entry['name']}={entry['value']}"]
        words += ["--network", self.network]
        words += [word for name in (self.release, "other") for word in ("--network-alias", f"{name}-{service}")]
        sources = {source["name"]: source for source in pod["volumes"]}
        for mount in container["volumeMounts"]:
            words += self._mounted(mount["mountPath"], sources.get(mount["name"], {"persistentVolumeClaim": {}}), mount)
        given = {entry["name"]: entry["value"] for entry in container["env"]}
        config_id = given.pop("SCONE_CONFIG_ID")
        assert given.pop("SCONE_CAS_ADDR") == self.world.address
        words += self.options(service)
        return self.world.create(container["image"], *arguments, config_id=config_id, options=words, **given | more)

    def options(self, service: str) -> list[str]:
        """Return what this machine's engine is told beside the chart."""
        return []

    def _mounted(self, place: str, source: dict[str, Any], mount: dict[str, Any]) -> list[str]:
        if "emptyDir" in source:
            size = source["emptyDir"].get("sizeLimit", "64Mi").replace("Mi", "m").replace("Gi", "g")
            return ["--tmpfs", f"{place}:exec,mode=1777,size={size}"]
        claim = source["persistentVolumeClaim"].get("claimName", mount["name"])
        return ["-v", f"{self.storage(claim)}:{place}"]

    def start(self, service: str) -> str:
        """Start a service, and wait until its own health check says that it serves."""
        name = self.create(service)
        must(docker("start", name))
        self.running[service] = name
        self.await_health(name)
        return name

    def await_health(self, container: str, seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while True:
            found = inspected(container)
            assert found["State"]["Running"] and time.monotonic() < deadline, f"{found['State']}\n{logs(container)}"
            if self.is_healthy(found):
                return
            time.sleep(0.2)

    def is_healthy(self, container: dict[str, Any]) -> bool:
        """Ask as the engine itself does, without its pauses; without a health check as the chart's probe does."""
        if check := container["Config"].get("Healthcheck"):
            kind, *command = check["Test"]
            assert kind == "CMD"
            return docker("exec", container["Id"], *command).code == 0
        [pod] = [pod for pod in self.pods.values() if pod["containers"][0]["image"] == container["Config"]["Image"]]
        [network] = container["NetworkSettings"]["Networks"].values()
        port = pod["containers"][0]["ports"][0]["containerPort"]
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex((network["IPAddress"], port)) == 0

    def stop(self, service: str) -> int:
        """Stop a service as a platform does; return its exit code."""
        name = self.running.pop(service)
        must(docker("stop", "-t", "20", name))
        return await_end(name)

    def ask(self, command: str, *, stdin: str = "") -> Outcome:
        """Run a shell command where the client has its certificates; wait at most some seconds."""
        words = ["docker", "exec", "-i", self.running["client"], "timeout", "60", "sh", "-c", command]
        return run(words, stdin=stdin)

    def ask_all(self, commands: Sequence[str]) -> dict[str, Outcome]:
        """Run several at the same time."""
        with ThreadPoolExecutor() as pool:
            return dict(zip(commands, pool.map(self.ask, commands), strict=True))

    def apply(self) -> Outcome:
        """Apply the client and the mesh, which were written before."""
        words = ("apply", "-f", "client.yaml", "-f", "mesh.yaml", "-n", "--release", self.release)
        return must(self.world.sconectl(*words))

    def give(self, path: str, content: str) -> None:
        must(self.ask(f"cat >{path}", stdin=content))


@contextmanager
def a_network() -> Iterator[str]:
    name = f"sconectl-test-{uuid.uuid4().hex[:10]}"
    must(docker("network", "create", name))
    try:
        yield name
    finally:
        docker("network", "rm", name)


def certificate(issuer: str, subject: str) -> tuple[str, str, str]:
    """Return CA, certificate and key of somebody whom nobody knows: the names are those of the right ones."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.now(UTC)

    def signed(name: str, public: ec.EllipticCurvePublicKey, ca: bool) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            public,
            x509.random_serial_number(),
            now - timedelta(days=1),
            now + timedelta(days=1),
        ).add_extension(x509.BasicConstraints(ca, None), critical=True)
        return builder.sign(ca_key, hashes.SHA256())

    form = serialization.Encoding.PEM
    plain = (form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    own = [signed(issuer, ca_key.public_key(), True), signed(subject, key.public_key(), False)]
    return (*(one.public_bytes(form).decode() for one in own), key.private_bytes(*plain).decode())  # type: ignore[return-value]


def client_manifest(image: str, imports: Sequence[str]) -> str:
    """Return a service that holds secrets: /tls/NAME has each as text, and /tls/NAME.key the key of a certificate.

    It is the service behind nginx, too: it defines what both need to know each other.
    """
    own = [
        {"name": "BACKEND_CA_KEY", "kind": "private-key"},
        {"name": "BACKEND_CA", "kind": "x509-ca", "private_key": "BACKEND_CA_KEY", "common_name": "Backends"},
        {"name": "BACKEND_KEY", "kind": "private-key"},
        {
            **{"name": "BACKEND", "kind": "x509", "private_key": "BACKEND_KEY", "issuer": "BACKEND_CA"},
            "dns": [f"{RELEASE}-client"],
        },
        {"name": "PROXY_KEY", "kind": "private-key"},
        {"name": "PROXY", "kind": "x509", "private_key": "PROXY_KEY", "issuer": "BACKEND_CA", "common_name": "a proxy"},
    ]
    certificates = [name for name in imports if "CLIENT_CERT" in name.upper()]
    contents = {name: f"$$SCONE::{name}$$" for name in (*imports, "BACKEND_CA", "BACKEND", "PROXY")}
    contents |= {f"{name}.key": f"$$SCONE::{name}:privatekey$$" for name in (*certificates, "BACKEND", "PROXY")}
    build = {"kind": "sconify_image", "from": NATIVE_CLIENT, "to": image, "command": "sleep infinity"}
    manifest = {
        "apiVersion": "scone/5.8",
        "kind": "genservice",
        "build": {"name": "client", **build},
        "environment": {},
        "secrets": {"global": own, "import": list(imports)},
        "injection_files": [{"path": f"/tls/{name}", "content": text} for name, text in contents.items()],
    }
    return json.dumps(manifest)


def require_images(world: World) -> None:
    if docker("image", "inspect", NATIVE_CLIENT).code != 0:
        pytest.skip(f"there is no image {NATIVE_CLIENT}; `make test` makes it where Debian packages can be had")


def write_mesh(
    file: Path,
    mesh: CuratedMesh,
    services: Sequence[str],
    values: Mapping[str, str],
    helm_values: Mapping[str, Any],
    **more: Any,
) -> None:
    """Write a mesh; `more` are further fields of a service, by its name."""
    document = {
        "apiVersion": "scone/5.8",
        "kind": "mesh",
        "cas": [{"name": "cas", "alias": ["image"], "cas_url": mesh.world.address}],
        "policy": {"namespace": NAMESPACE},
        "env": [{"service": "global", "env": [{"name": name, "value": value} for name, value in values.items()]}],
        "helm_extra_values": helm_values,
        "services": [{"name": name, "image": mesh.image(name), **more.get(name, {})} for name in services],
    }
    file.write_text(json.dumps(document))
