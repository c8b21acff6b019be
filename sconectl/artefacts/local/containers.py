"""What runs a mesh on one machine: containers, with the volumes and the network that they need.

Pure data: made from pods (`pods`), turned into what an engine (`engine_config`) or Compose (`compose`) reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

LABEL = "sconectl.io/"
"""What the names of all labels of ours begin with."""
RELEASE = f"{LABEL}release"
MESH = f"{LABEL}mesh"
SERVICE = f"{LABEL}service"
PART = f"{LABEL}part"
ENDS = f"{LABEL}ends"
CONTAINER = f"{LABEL}container"
CONFIG_ID = f"{LABEL}config-id"
IMAGE = f"{LABEL}image"
CAS = f"{LABEL}cas"
CAS_KEY = f"{LABEL}cas-key"
SESSION = f"{LABEL}session"
VOLUME = f"{LABEL}volume"
NOT_GIVEN = frozenset((PART, ENDS, CAS_KEY))
"""Labels that not every container has, and that nobody else may give it."""


@dataclass(frozen=True)
class Health:
    """A command that says in the container whether its program serves; times in seconds."""

    command: tuple[str, ...]
    interval: int
    timeout: int
    retries: int
    start: int
    """How long it may fail at the beginning."""


@dataclass(frozen=True)
class Storage:
    """A volume of the engine in a container; `owned` is its name in the session of the service, which has its key."""

    volume: str
    path: str
    read_only: bool = False
    owned: str = ""


@dataclass(frozen=True)
class LocalContainer:
    """One container: what a pod has, in the words of an engine."""

    service: str
    part: str
    """What it is for if it is not the service itself: a container that waits for another server."""
    name: str
    hostname: str
    image: str
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    entrypoint: tuple[str, ...] = ()
    """A program instead of the one of the image, which attests."""
    user: str = ""
    groups: tuple[str, ...] = ()
    privileged: bool = False
    read_only: bool = False
    cap_drop: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    memory: int = 0
    nano_cpus: int = 0
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    storage: tuple[Storage, ...] = ()
    ports: tuple[int, ...] = ()
    aliases: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    restart: str = "no"
    """`no`, `unless-stopped`, or `on-failure:N`."""
    stop_seconds: int = 30
    health: Health | None = None
    ends: bool = False
    after: tuple[str, ...] = ()
    """Containers (by name) that have to end well before it is started."""

    def digest(self, image_id: str) -> str:
        """Return what changes when the container has to be replaced: 64 hex digits."""
        values = {**asdict(self), "image_id": image_id}
        return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class LocalMesh:
    """A mesh in a release: its containers, in the order of its services. `skipped` are services that are not run."""

    name: str
    release: str
    containers: tuple[LocalContainer, ...]
    skipped: tuple[str, ...] = ()

    @property
    def network(self) -> str:
        """The name of its network."""
        return f"sconectl-{self.release}"

    @property
    def volumes(self) -> dict[str, dict[str, str]]:
        """The labels of the volumes that it needs, by name: whose session knows the state of an encrypted one."""
        found: dict[str, dict[str, str]] = {}
        for container in self.containers:
            session = container.labels[CONFIG_ID].rpartition("/")[0]
            for each in container.storage:
                labels = found.setdefault(each.volume, dict(self.labels))
                if each.owned:
                    labels |= {CAS: container.labels[CAS], SESSION: session, VOLUME: each.owned}
        return dict(sorted(found.items()))

    @property
    def labels(self) -> dict[str, str]:
        """The labels of everything that belongs to it."""
        return {RELEASE: self.release, MESH: self.name}

    @property
    def images(self) -> tuple[str, ...]:
        """The images that it needs, each once."""
        return tuple(dict.fromkeys(container.image for container in self.containers))
