"""A small cluster: pods that the chart begins, replaced one after another, behind an address that stays.

In: target/helm, and images in the engine. It does what Kubernetes does with a Deployment of two replicas and
`maxUnavailable: 0`, and with its Service: a new pod gets connections when it is ready, and an old one is stopped when
it has none any more.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML

from ..world import World, docker, gateway, inspected, must
from .shop import SECRETS

REPLICAS = 2
READY = {"store": "Ready to accept connections", "api": "listening", "web": "start worker process"}
"""What a service says when it is ready, by the name of its image."""
PORTS = {"store": 6379, "api": 8443, "web": 8443}
Result = TypeVar("Result")


@dataclass(frozen=True)
class PodTemplate:
    """What a pod is begun with, as the chart says. Another template replaces the pods: `configuration` is a mark."""

    kind: str
    """The name of the image's service: the service of the mesh may be called otherwise."""
    image: str
    config_id: str
    measurement: str
    configuration: str

    @property
    def session(self) -> str:
        """The name of its session in the namespace: that of the service, or the first one that it had."""
        return self.config_id.split("/")[1]


def templates(chart: Path) -> dict[str, PodTemplate]:
    """Return the pods of a chart by the names of their services."""
    found = {}
    for file in sorted(chart.glob("charts/*/values.yaml")):
        values: dict[str, Any] = YAML(typ="safe").load(file.read_text())
        scone, image = values["scone"], values["image"]
        kind = image.rpartition(":")[0].rpartition("-")[2]
        template = PodTemplate(kind, image, scone["configId"], scone["measurement"], scone["configuration"])
        found[file.parent.name] = template
    return found


@dataclass
class Pod:
    """A container that is ready; `digests` are the SHA-256 of the secrets that it has."""

    container: str
    template: PodTemplate
    address: str
    digests: dict[str, str]
    connections: int = 0


@dataclass
class Service:
    """An address that leads to the pods that are ready, each new connection to the next one."""

    kind: str
    host: str
    port: int = 0
    pods: list[Pod] = field(default_factory=list)
    _turn: itertools.count[int] = field(default_factory=itertools.count)

    # What follows runs in one loop, so a pod that is taken out gets no connection more.

    async def add(self, pod: Pod) -> None:
        self.pods.append(pod)

    async def take_out_the_oldest(self) -> Pod:
        return self.pods.pop(0)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._connect, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pod = self.pods[next(self._turn) % len(self.pods)]
        pod.connections += 1
        try:
            their_reader, their_writer = await asyncio.open_connection(pod.address, PORTS[self.kind])
            await asyncio.gather(_pass(reader, their_writer), _pass(their_reader, writer))
        except OSError:
            writer.transport.abort()  # whoever asked sees that, and counts it
        finally:
            pod.connections -= 1


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


class Cluster:
    """The pods and addresses of a mesh, on one machine."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.services = {kind: Service(kind, gateway()) for kind in PORTS}
        for service in self.services.values():
            self._do(service.listen())

    def close(self) -> None:
        for service in self.services.values():
            self._do(service.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def start(self, template: PodTemplate) -> Pod:
        """Start a pod, wait until it is ready, and look at the digests of its secrets."""
        container = self._world.start(template.image, config_id=template.config_id)
        self._world.log_with(container, READY[template.kind])
        address = inspected(container)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        listing = must(docker("exec", container, "sh", "-c", f"sha256sum {SECRETS}/*")).out
        digests = {path.rpartition("/")[2]: digest for digest, path in map(str.split, listing.splitlines())}
        return Pod(container, template, address, digests)

    def start_all(self, templates: Mapping[str, PodTemplate]) -> dict[str, Pod]:
        """Start a pod of each service at the same time."""
        with ThreadPoolExecutor() as pool:
            return dict(zip(templates, pool.map(self.start, templates.values()), strict=True))

    def refused(self, template: PodTemplate) -> str:
        """Start a pod that the CAS does not let start; return what it said."""
        code, log = self._world.finish(self._world.start(template.image, config_id=template.config_id))
        assert code != 0, log
        return log

    def stop(self, pod: Pod) -> None:
        """Stop a pod when it has answered everything."""
        deadline = time.monotonic() + 20
        while pod.connections:
            assert time.monotonic() < deadline, f"a {pod.template.kind} pod does not come to an end"
            time.sleep(0.02)
        must(docker("rm", "-f", "-v", pod.container))

    def roll_out(self, first: Pod) -> None:
        """Replace the pods of a service one after another by pods like this one, which runs already."""
        service = self.services[first.template.kind]
        for number in range(REPLICAS):
            self._do(service.add(self.start(first.template) if number else first))
            if len(service.pods) > REPLICAS:
                self.stop(self._do(service.take_out_the_oldest()))
