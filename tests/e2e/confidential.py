"""A native image converted with a volume, and containers of it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .world import World, docker, inspected, logs, must, run

MEMORY = ("--tmpfs", "/scone/memory")


@dataclass
class Confidential:
    """A confidential image with volumes; the storage of each is a volume of the engine."""

    world: World
    native: str
    image: str
    config_id: str
    volumes: tuple[str, ...]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:10])

    def storage(self, volume: str) -> str:
        return f"sconectl-test-{self.mark}-{volume}"

    def create(
        self,
        *options: str,
        host: str = "a-host",
        storage: Mapping[str, str] | None = None,
        memory: Sequence[str] = MEMORY,
    ) -> str:
        """Prepare a container as an operator does; return its name. `storage` is another one by volume.

        Containers with one host name are one instance to the CAS: the next one has the volume at once.
        """
        places = {volume: self.storage(volume) for volume in self.volumes} if storage is None else storage
        mounts = [word for volume, place in places.items() for word in ("-v", f"{place}:/scone/volumes/{volume}")]
        return self.world.create(
            self.image, config_id=self.config_id, options=[*mounts, *memory, "--hostname", host, *options]
        )

    def on_storage(self, command: str) -> str:
        """Run a shell command in a directory with all storages, as their operator could."""
        mounts = [word for volume in self.volumes for word in ("-v", f"{self.storage(volume)}:/storage/{volume}")]
        words = ("--rm", "-u", "0", *mounts, "-w", "/storage", "--entrypoint", "sh")
        return must(docker("run", *words, self.native, "-c", command)).out

    def remove(self) -> None:
        self.world.remove_containers()
        docker("volume", "rm", "-f", *[self.storage(volume) for volume in self.volumes])


def converted(
    world: World, native: str, volumes: Mapping[str, str], *, name: str, bounded: Sequence[str] = (), command: str = "",
) -> Confidential:  # fmt: skip
    """Convert a native image with volumes (their paths by name), by the installed command."""
    if docker("image", "inspect", native).code != 0:
        pytest.skip(f"there is no image {native}; `make test` makes it where Debian packages can be had")
    image = world.image(name)
    words = ["sconify-image", f"--from={native}", f"--to={image}", f"--cas={world.address}", f"--namespace={name}"]
    words += [
        "--create-namespace",
        f"--name={name}",
        *[f"--volume={volume}:{path}" for volume, path in volumes.items()],
    ]
    words += [f"--volume-tags={volume}=bounded" for volume in bounded]
    words += [f"--command={command}"] if command else []
    session = must(world.sconectl(*words)).out.strip()
    return Confidential(world, native, image, f"{session}/service", tuple(volumes))


def address_of(container: str) -> str:
    """Return where a running container listens."""
    [network] = inspected(container)["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def await_end(container: str, *, seconds: float = 90) -> int:
    """Wait until a container has ended; return its exit code."""
    done = run(["timeout", str(seconds), "docker", "wait", container])
    assert done.code == 0, f"{container} does not end:\n{docker('top', container).out}{logs(container)}"
    return int(done.out)


def process_of_cas(world: World) -> int:
    status = must(world.sconectl("cas", "status", "--dir", world.cas_directory)).out
    found = re.search(r"process (\d+)", status)
    assert found, status
    return int(found[1])


def is_there(process: int) -> bool:
    """Tell whether a process runs that is not our child, so that it cannot be waited for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
