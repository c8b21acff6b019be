"""A mesh as a file of Docker Compose, which runs the same containers as `up`.

In: the containers of the mesh, and the ids of their images. Out: compose.yaml, and .env beside it with the name of the
project, which Compose takes from there in all of its versions. Containers carry the labels of `up`: `ps`, `logs` and
`down` find them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sconectl.artefacts.local.containers import LocalContainer, LocalMesh
from sconectl.artefacts.local.engine_config import LOGS, LOOPBACK, all_labels
from sconectl.text import yaml_text

FILE = "compose.yaml"
SETTINGS = ".env"
_COMMENT = """Written by sconectl from the mesh manifest; the next `sconectl up -o compose` writes it again.

The CAS that the services attest to has to run. Images are those that this machine has."""
_NANO = 10**9


def compose_files(mesh: LocalMesh, image_ids: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files by name. The same mesh gives the same bytes."""
    given: set[int] = set()
    services = {each.name: _service(each, mesh, image_ids[each.image], given) for each in mesh.containers}
    document: dict[str, Any] = {
        "services": services,
        "networks": {"default": {"name": mesh.network, "labels": mesh.labels}},
    }
    if mesh.volumes:
        document["volumes"] = {name: {"name": name, "labels": labels} for name, labels in mesh.volumes.items()}
    return {
        FILE: yaml_text.dump(_literal(document), comment=_COMMENT).encode(),
        SETTINGS: f"COMPOSE_PROJECT_NAME=sconectl-{mesh.release}\n".encode(),
    }


def _service(each: LocalContainer, mesh: LocalMesh, image_id: str, given: set[int]) -> dict[str, Any]:
    """Return one service; `given` are the ports of this machine that those before it have."""
    found: dict[str, Any] = {
        "image": each.image,
        "container_name": each.name,
        "hostname": each.hostname,
        "user": each.user,
        "entrypoint": list(each.entrypoint),
        "environment": dict(sorted(each.environment.items())),
        "labels": all_labels(each, each.digest(image_id)),
        "privileged": each.privileged,
        "read_only": each.read_only,
        "cap_drop": list(each.cap_drop),
        "cap_add": list(each.cap_add),
        "security_opt": [option.replace("=", ":") for option in each.security],
        "group_add": list(each.groups),
        "sysctls": dict(each.sysctls),
        "mem_limit": each.memory,
        "cpus": each.nano_cpus / _NANO,
        "tmpfs": [f"{path}:{options}" for path, options in each.tmpfs.items()],
        "volumes": [
            {"type": "volume", "source": place.volume, "target": place.path, "read_only": place.read_only}
            for place in each.storage
        ],
        "ports": [_published(port, given) for port in each.ports],
        "networks": {"default": {"aliases": list(each.aliases)}} if each.aliases else {},
        "extra_hosts": list(each.hosts),
        "depends_on": {name: {"condition": "service_completed_successfully"} for name in each.after},
        "stop_grace_period": f"{each.stop_seconds}s",
        "logging": {"driver": "json-file", "options": LOGS},
    }
    found = {key: item for key, item in found.items() if item}
    found["restart"] = each.restart
    if health := each.health:
        found["healthcheck"] = {
            "test": ["CMD", *health.command],
            "interval": f"{health.interval}s",
            "timeout": f"{health.timeout}s",
            "retries": health.retries,
            "start_period": f"{health.start}s",
        }
    return found


def _published(port: int, given: set[int]) -> str:
    """Return a port on the loopback address; the engine chooses another number for one that is given already."""
    if port in given:
        return f"{LOOPBACK}::{port}"
    given.add(port)
    return f"{LOOPBACK}:{port}:{port}"


def _literal(value: Any) -> Any:
    """Return a value that Compose takes as it is: it fills in what stands behind a dollar."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _literal(item) for key, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, list) else value
