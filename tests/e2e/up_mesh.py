"""Two services that trust each other only, as manifests, and what starts them: the installed `sconectl up`."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .test_mesh_tls import SERVER, SERVICES, manifest
from .world import Outcome, World, docker, inspected, must

PORT = 20000 + os.getpid() % 10000
"""Where the server listens, another one in each process of tests: Compose does not look for a port that is free."""
CLIENT = f"""
import os, socket, ssl, time
context = ssl.create_default_context(cafile="/tls/ca.crt")
context.verify_flags |= ssl.VERIFY_X509_STRICT
context.load_cert_chain("/tls/client.crt", "/tls/client.key")
while True:
    raw = socket.create_connection((os.environ["SERVER_HOST"], {PORT}), 5)
    with context.wrap_socket(raw, server_hostname=os.environ["SERVER_HOST"]) as stream:
        print("answer:", stream.recv(100).decode(), flush=True)
    time.sleep(1)
"""


class Local:
    """Meshes on one machine: each with a release of its own, all of them ended at the end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.release = f"up-{uuid.uuid4().hex[:8]}"

    def up(self, *words: str | Path, release: str = "", seconds: int = 240) -> Outcome:
        chosen = ("--release", release or self.release, "--wait", str(seconds))
        return self.world.sconectl("up", "-f", "mesh.yaml", *chosen, *words)

    def down(self, *words: str, release: str = "") -> Outcome:
        return self.world.sconectl("down", "--release", release or self.release, *words)

    def ps(self) -> dict[str, dict[str, Any]]:
        found = must(self.world.sconectl("ps", "--release", self.release, "--output", "json"))
        return {each["service"]: each for each in json.loads(found.out)["services"]}

    def logs(self, *words: str) -> str:
        return must(self.world.sconectl("logs", "--release", self.release, *words)).out

    def container(self, service: str) -> dict[str, Any]:
        return inspected(f"{self.release}-{service}")

    def objects(self) -> list[str]:
        """Return everything on the engine that carries the release's label."""
        chosen = ("--filter", f"label=sconectl.io/release={self.release}", "-q")
        kinds = (("ps", "-a"), ("network", "ls"), ("volume", "ls"))
        return [line for kind in kinds for line in must(docker(*kind, *chosen)).out.split()]


def write_manifests(world: World) -> None:
    """Write two services with mutual TLS, and their mesh beside them."""
    for name, program in (("server", SERVER.replace("8443", str(PORT))), ("client", CLIENT)):
        (world.root / f"{name}.py").write_text(program)
        (world.root / f"{name}.yaml").write_text(manifest(world.image(name), name, SERVICES[name]))
    write_mesh(world)


def write_mesh(
    world: World, *, cas_url: str = "local", host: str = "{{release}}-server", port: int = PORT, **values: Any
) -> None:
    document = {
        "apiVersion": "scone/5.8",
        "kind": "mesh",
        "cas": [{"name": "cas", "alias": ["image"], "cas_url": cas_url}],
        "policy": {"namespace": "tls-mesh"},
        "services": [
            {"name": "server", "image": world.image("server"), "ports": [port]},
            {"name": "client", "image": world.image("client")},
        ],
        "env": [{"service": "global", "env": [{"name": "SERVER_HOST", "value": host}]}],
        **({"helm_extra_values": values} if values else {}),
    }
    (world.root / "mesh.yaml").write_text(json.dumps(document))


@contextlib.contextmanager
def local_meshes(world: World) -> Iterator[Local]:
    local = Local(world)
    try:
        yield local
    finally:
        local.down("--volumes")
        world.stop_cas()
        world.close()
