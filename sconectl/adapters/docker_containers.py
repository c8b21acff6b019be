"""Containers that stay, through the docker SDK: a mesh on this machine. Every exception of the SDK is translated here.

In: what to make, with labels. Out: what there is. Implements `ports.Containers` for Docker.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from docker.errors import APIError, DockerException, NotFound

from sconectl.adapters.docker_engine import BROKEN, connected, translated
from sconectl.errors import BuildFailed, EngineUnreachable
from sconectl.ports import ContainerState

_ASKED_FOR, _PAUSE = 10.0, 0.02
"""Seconds that a command in a container may take, and between two looks whether it has ended."""
_CONFLICT = 409
_LOOPBACK = "127.0.0.1"


class DockerContainers:
    """Implements `ports.Containers`."""

    def __init__(self) -> None:
        self._api: Any = connected().api  # parts of the SDK are not typed

    def find(self, labels: Mapping[str, str | None]) -> tuple[ContainerState, ...]:
        """Return the containers with these labels, sorted by name; None stands for any value."""
        found = []
        with translated("looking for containers"):
            for entry in self._api.containers(all=True, filters=_filter(labels)):
                with suppress(NotFound):
                    found.append(_state(self._api.inspect_container(entry["Id"])))
        return tuple(sorted(found, key=lambda state: state.name))

    def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Create a container as the engine's interface describes it, and return its id."""
        with translated(f"creating the container {name}"):
            try:
                return str(self._api.create_container_from_config(dict(config), name)["Id"])
            except APIError as error:
                if error.status_code != _CONFLICT:
                    raise
                hint = f"see what it is (`docker inspect {name}`) and remove it, or choose another release"
                raise BuildFailed(f"a container {name} is there that is not of this mesh", hint=hint) from error

    def start(self, container: str) -> None:
        """Start a container; nothing happens if it runs."""
        with translated("starting a container"):
            try:
                self._api.start(container)
            except APIError as error:
                if "port is already allocated" not in str(error) and "address already in use" not in str(error):
                    raise
                hint = "run this again: another port is chosen then"
                raise BuildFailed(f"a port was taken meanwhile: {error.explanation}", hint=hint) from error

    def remove(self, container: str) -> None:
        """Stop a container in its own time, and remove it; nothing happens if it is gone."""
        with translated("removing a container"), suppress(NotFound):
            try:
                self._api.stop(container)
                self._api.remove_container(container, v=True, force=True)
            except APIError as error:
                if error.status_code != _CONFLICT:  # it is being removed by somebody else
                    raise

    def execute(self, container: str, command: Sequence[str]) -> int:
        """Run a command in a container that runs; return its exit code, 1 if that is not possible or takes long."""
        deadline = time.monotonic() + _ASKED_FOR
        with suppress(DockerException, *BROKEN):
            made = self._api.exec_create(container, list(command))["Id"]
            self._api.exec_start(made, detach=True)  # whoever reads what it prints waits for its end
            while time.monotonic() < deadline:
                found = self._api.exec_inspect(made)
                if not found["Running"]:
                    return 1 if found["ExitCode"] is None else int(found["ExitCode"])
                time.sleep(_PAUSE)
        return 1

    def processes(self, container: str) -> tuple[str, ...]:
        """Return the command lines of the processes in a container; none if it does not run, or nobody can tell."""
        with suppress(DockerException, *BROKEN):
            found = self._api.top(container)["Processes"] or ()
            return tuple(process[-1] for process in found)
        return ()

    def log(self, container: str, *, since: str = "", last: int | None = None, follow: bool = False) -> Iterator[str]:
        """Yield the lines of a log, each behind its time (RFC 3339) and a space."""
        options: dict[str, Any] = {"stdout": True, "stderr": True, "timestamps": True, "follow": follow}
        options |= {"tail": "all" if last is None else last}
        if since:
            options["since"] = _seconds(since)
        rest = b""
        with translated("reading the log of a container"), suppress(NotFound):
            for chunk in self._api.logs(container, stream=True, **options):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in lines)
        if rest:
            yield rest.decode("utf-8", "replace")

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a network, if there is none of this name."""
        with translated(f"making the network {name}"):
            if not any(found["Name"] == name for found in self._api.networks(names=[name])):
                self._api.create_network(name, driver="bridge", labels=dict(labels), check_duplicate=True)

    def ensure_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a volume, if there is none of this name."""
        with translated(f"making the volume {name}"):
            try:
                self._api.inspect_volume(name)
            except NotFound:
                self._api.create_volume(name, labels=dict(labels))

    def networks(self, labels: Mapping[str, str | None]) -> tuple[str, ...]:
        """Return the names of the networks with these labels."""
        with translated("looking for networks"):
            return tuple(sorted(found["Name"] for found in self._api.networks(filters=_filter(labels))))

    def volumes(self, labels: Mapping[str, str | None]) -> Mapping[str, Mapping[str, str]]:
        """Return all labels of the volumes with these labels, by name."""
        with translated("looking for volumes"):
            found = self._api.volumes(filters=_filter(labels))["Volumes"] or ()
        return {entry["Name"]: entry.get("Labels") or {} for entry in sorted(found, key=lambda entry: entry["Name"])}

    def remove_network(self, name: str) -> None:
        """Remove a network; nothing happens if it is gone."""
        with translated(f"removing the network {name}"), suppress(NotFound):
            self._api.remove_network(name)

    def remove_volume(self, name: str) -> None:
        """Remove a volume with its content; nothing happens if it is gone."""
        with translated(f"removing the volume {name}"), suppress(NotFound):
            self._api.remove_volume(name)

    def host_address(self) -> str:
        """Return the address at which containers reach this machine."""
        with translated("looking for the address of this machine"):
            for network in self._api.networks(filters={"driver": "bridge"}):
                for config in (network.get("IPAM") or {}).get("Config") or ():
                    subnet = ipaddress.ip_network(config["Subnet"])
                    if network["Name"] in ("bridge", "podman") and subnet.version == 4:
                        return str(config.get("Gateway") or next(subnet.hosts()))
        hint = "name an address of this machine in cas_url, where containers reach it, and start a CAS there"
        raise EngineUnreachable(
            "the container engine has no default network, on which containers reach a CAS", hint=hint
        )

    def free_port(self, preferred: int, taken: Collection[int]) -> int:
        """Return a port of this machine that nobody listens on: the preferred one if it can be, and none of `taken`."""
        if preferred not in taken and not _answers(preferred):
            return preferred
        while True:
            with socket.socket() as probe:
                probe.bind((_LOOPBACK, 0))
                port = int(probe.getsockname()[1])
            if port not in taken:
                return port


def _answers(port: int) -> bool:
    """Say whether somebody listens on a port; to bind it oneself would need rights for low numbers."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((_LOOPBACK, port)) == 0


def _filter(labels: Mapping[str, str | None]) -> dict[str, Any]:
    return {"label": [name if value is None else f"{name}={value}" for name, value in labels.items()]}


def _state(data: Mapping[str, Any]) -> ContainerState:
    state, config = data["State"], data["Config"]
    health = state.get("Health") or {}
    failed = [check for check in health.get("Log") or () if check["ExitCode"]]
    test = (config.get("Healthcheck") or {}).get("Test") or ()
    wanted = (data.get("HostConfig") or {}).get("PortBindings") or {}
    bound = {**wanted, **((data.get("NetworkSettings") or {}).get("Ports") or {})}
    return ContainerState(
        id=data["Id"],
        name=str(data["Name"]).lstrip("/"),
        labels=config.get("Labels") or {},
        status=state["Status"],
        exit_code=state.get("ExitCode", 0),
        restarts=data.get("RestartCount", 0),
        health=health.get("Status", ""),
        health_said=failed[-1]["Output"] if failed else "",
        health_command=tuple(test[1:]) if test[:1] == ["CMD"] else (),
        started=state.get("StartedAt", ""),
        ports={
            int(inner.partition("/")[0]): f"{places[0]['HostIp']}:{places[0]['HostPort']}"
            for inner, places in bound.items()
            if places
        },
    )


def _seconds(time: str) -> float:
    """Return a time as a number of seconds; what is before it in the same second is left to the caller."""
    from datetime import datetime

    return datetime.fromisoformat(time[:19] + "+00:00").timestamp()
