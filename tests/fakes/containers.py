"""A container engine in memory: its containers do what a test says, by the rules of a real one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sconectl.errors import BuildFailed
from sconectl.ports import ContainerState

Behaviour = Callable[[ContainerState], ContainerState]
"""Gives the state in which a container is when it is looked at the next time."""


def stays(state: ContainerState) -> ContainerState:
    return state


@dataclass
class FakeContainers:
    """Implements `ports.Containers`. `behaviours` are those of containers that run, by name; others go on running."""

    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    healthy: set[str] = field(default_factory=set)
    logs: dict[str, list[str]] = field(default_factory=dict)
    listening: set[int] = field(default_factory=set)
    states: dict[str, ContainerState] = field(default_factory=dict)
    configs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    made_networks: dict[str, Mapping[str, str]] = field(default_factory=dict)
    made_volumes: dict[str, Mapping[str, str]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    launching: set[str] = field(default_factory=set)
    """Containers in which there is only the launcher."""
    refused: str = ""
    """A container that cannot be started."""

    def find(self, labels: Mapping[str, str | None]) -> tuple[ContainerState, ...]:
        for state in list(self.states.values()):
            if state.status in ("running", "restarting"):
                self.states[state.id] = self.behaviours.get(state.name, stays)(state)
        return tuple(sorted((s for s in self.states.values() if _has(s.labels, labels)), key=lambda s: s.name))

    def create(self, name: str, config: Mapping[str, Any]) -> str:
        self.calls.append(f"create {name}")
        if any(state.name == name for state in self.states.values()):
            raise BuildFailed(f"a container {name} is there that is not of this mesh")
        identity = f"id-{len(self.calls)}"
        test = (config.get("Healthcheck") or {}).get("Test", ())
        bound = config["HostConfig"].get("PortBindings", {})
        ports = {int(p.partition("/")[0]): f"{b[0]['HostIp']}:{b[0]['HostPort']}" for p, b in bound.items()}
        self.configs[name] = config
        self.states[identity] = ContainerState(
            identity, name, config["Labels"], "created", health_command=tuple(test[1:]), ports=ports
        )
        return identity

    def start(self, container: str) -> None:
        state = self.states[container]
        self.calls.append(f"start {state.name}")
        if state.name == self.refused:
            raise BuildFailed("a port was taken meanwhile")
        self.states[container] = replace(state, status="running")

    def remove(self, container: str) -> None:
        if state := self.states.pop(container, None):
            self.calls.append(f"remove {state.name}")

    def execute(self, container: str, command: Sequence[str]) -> int:
        state = self.states[container]
        assert tuple(command) == state.health_command
        return 0 if state.name in self.healthy else 1

    def processes(self, container: str) -> tuple[str, ...]:
        state = self.states[container]
        if state.status != "running":
            return ()
        launcher = "/scone/bin/python3 -I /scone/runtime"
        return (launcher,) if state.name in self.launching else (launcher, "program -x")

    def log(self, container: str, *, since: str = "", last: int | None = None, follow: bool = False) -> Iterator[str]:
        lines = self.logs.get(self.states[container].name, []) if container in self.states else []
        lines = [line for line in lines if line.partition(" ")[0] >= since]
        yield from lines if last is None else lines[max(0, len(lines) - last) :]

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        self.made_networks.setdefault(name, dict(labels))

    def ensure_volume(self, name: str, labels: Mapping[str, str]) -> None:
        self.made_volumes.setdefault(name, dict(labels))

    def networks(self, labels: Mapping[str, str | None]) -> tuple[str, ...]:
        return tuple(sorted(name for name, own in self.made_networks.items() if _has(own, labels)))

    def volumes(self, labels: Mapping[str, str | None]) -> Mapping[str, Mapping[str, str]]:
        return {name: own for name, own in sorted(self.made_volumes.items()) if _has(own, labels)}

    def remove_network(self, name: str) -> None:
        self.made_networks.pop(name, None)

    def remove_volume(self, name: str) -> None:
        self.made_volumes.pop(name, None)

    def host_address(self) -> str:
        return "127.0.0.1"

    def free_port(self, preferred: int, taken: Collection[int]) -> int:
        port = preferred
        while port in self.listening or port in taken:
            port += 10_000
        return port


def _has(own: Mapping[str, str], wanted: Mapping[str, str | None]) -> bool:
    return all(name in own and value in (None, own[name]) for name, value in wanted.items())
