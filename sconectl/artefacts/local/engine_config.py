"""A container in the words of Docker's interface.

In: a container, the id of its image, its network, the ports of this machine that lead to it. Out: the body of the
request that creates it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sconectl.artefacts.local.containers import CONTAINER, ENDS, IMAGE, PART, LocalContainer

LOOPBACK = "127.0.0.1"
LOGS = {"max-size": "10m", "max-file": "3"}
_NANO = 10**9


def all_labels(container: LocalContainer, digest: str) -> dict[str, str]:
    """Return the labels of a container; `digest` says what it was made of."""
    return {
        **container.labels,
        CONTAINER: digest,
        IMAGE: container.image,
        **({PART: container.part} if container.part else {}),
        **({ENDS: "true"} if container.ends else {}),
    }


def engine_config(container: LocalContainer, image_id: str, network: str, ports: Mapping[int, int]) -> dict[str, Any]:
    """Return the configuration; `ports` are those of this machine by those of the container."""
    policy, _, times = container.restart.partition(":")
    host: dict[str, Any] = {
        "NetworkMode": network,
        "RestartPolicy": {"Name": policy, "MaximumRetryCount": int(times or 0)},
        "ReadonlyRootfs": container.read_only,
        "Privileged": container.privileged,
        "CapDrop": list(container.cap_drop),
        "CapAdd": list(container.cap_add),
        "SecurityOpt": list(container.security),
        "GroupAdd": list(container.groups),
        "Sysctls": dict(container.sysctls),
        "Memory": container.memory,
        "NanoCpus": container.nano_cpus,
        "Tmpfs": dict(container.tmpfs),
        "Mounts": [
            {"Type": "volume", "Source": each.volume, "Target": each.path, "ReadOnly": each.read_only}
            for each in container.storage
        ],
        "ExtraHosts": list(container.hosts),
        "LogConfig": {"Type": "json-file", "Config": LOGS},
        "PortBindings": {
            f"{inner}/tcp": [{"HostIp": LOOPBACK, "HostPort": str(outer)}] for inner, outer in ports.items()
        },
    }
    config: dict[str, Any] = {
        "Image": image_id,
        "Hostname": container.hostname,
        "User": container.user,
        "Env": [f"{name}={value}" for name, value in sorted(container.environment.items())],
        "Labels": all_labels(container, container.digest(image_id)),
        "StopTimeout": container.stop_seconds,
        "ExposedPorts": {f"{port}/tcp": {} for port in container.ports},
        "HostConfig": host,
        "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": list(container.aliases)}}},
    }
    if container.entrypoint:
        config["Entrypoint"] = list(container.entrypoint)
    if health := container.health:
        config["Healthcheck"] = {
            "Test": ["CMD", *health.command],
            "Interval": health.interval * _NANO,
            "Timeout": health.timeout * _NANO,
            "Retries": health.retries,
            "StartPeriod": health.start * _NANO,
        }
    return config
