"""What runs containers: the fake, and a real engine if there is one with a base image (`make test` has)."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from fakes.containers import FakeContainers

from sconectl.adapters.docker_containers import DockerContainers
from sconectl.errors import BuildFailed
from sconectl.ports import Containers, ContainerState

BASE = "SCONECTL_TEST_BASE_IMAGE"
LABEL = "sconectl.io/contract"


class Machine:
    """An engine, an image that it has, and a mark of this test that everything carries."""

    def __init__(self, engine: Containers, image: str) -> None:
        self.engine, self.image = engine, image
        self.name = f"sconectl-contract-{uuid.uuid4().hex[:10]}"
        self.labels = {LABEL: self.name}

    def create(self, end: str, *command: str, port: int = 0, health: dict[str, Any] | None = None) -> str:
        host = {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]} if port else {}}
        config: dict[str, Any] = {
            "Image": self.image,
            "Entrypoint": list(command),
            "Labels": {**self.labels, "end": end},
        }
        config |= {"HostConfig": host, "StopTimeout": 0, "ExposedPorts": {"80/tcp": {}} if port else {}}
        config["Healthcheck"] = health or {"Test": ["CMD", "true"], "Interval": 3600 * 10**9}
        return self.engine.create(f"{self.name}-{end}", config)

    def state(self, end: str) -> ContainerState:
        [found] = self.engine.find({**self.labels, "end": end})
        return found


@pytest.fixture(params=["fake", "docker"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    if request.param == "fake":
        yield Machine(FakeContainers(), "any")
        return
    image = os.environ.get(BASE, "")
    if not image:
        pytest.skip(f"{BASE} names no image; `make test` sets it")
    found = Machine(DockerContainers(), image)
    try:
        yield found
    finally:
        for state in found.engine.find(found.labels):
            found.engine.remove(state.id)
        found.engine.remove_network(found.name)
        found.engine.remove_volume(found.name)


def behave(machine: Machine, end: str, change: Callable[[ContainerState], ContainerState], *lines: str) -> None:
    """Let a fake do what the command of a real container does."""
    if isinstance(machine.engine, FakeContainers):
        name = f"{machine.name}-{end}"
        machine.engine.behaviours[name] = change
        machine.engine.healthy.add(name)
        machine.engine.logs[name] = list(lines)


def ended(code: int) -> Callable[[ContainerState], ContainerState]:
    return lambda state: replace(state, status="exited", exit_code=code)


def await_status(machine: Machine, end: str, status: str) -> ContainerState:
    deadline = time.monotonic() + 30
    while (found := machine.state(end)).status != status:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def test_a_container_is_found_by_its_labels_from_its_creation_to_its_end(machine: Machine) -> None:
    engine = machine.engine
    port = engine.free_port(48123, ())
    identity = machine.create("a", "sleep", "100", port=port)
    made = machine.state("a")
    assert (made.id, made.name, made.status) == (identity, f"{machine.name}-a", "created")
    assert made.labels[LABEL] == machine.name and made.health_command == ("true",)
    assert made.ports == {80: f"127.0.0.1:{port}"}
    engine.start(identity)
    assert machine.state("a").status == "running"
    engine.start(identity)  # nothing happens
    behave(machine, "a", lambda state: state)
    if not isinstance(engine, FakeContainers):
        assert engine.processes(identity) == ("sleep 100",)
    assert engine.execute(identity, ("true",)) == 0
    assert [state.id for state in engine.find({LABEL: None}) if state.name == made.name] == [identity]
    assert engine.find({LABEL: "another"}) == ()
    engine.remove(identity)
    engine.remove(identity)
    assert engine.find(machine.labels) == ()


def test_a_name_is_given_once(machine: Machine) -> None:
    machine.create("a", "true")
    with pytest.raises(BuildFailed, match="that is not of this mesh"):
        machine.create("a", "true")


def test_the_end_of_a_container_and_its_log_are_told(machine: Machine) -> None:
    behave(machine, "a", ended(3), "2026-01-01T00:00:01Z one", "2026-01-01T00:00:02Z two")
    identity = machine.create("a", "sh", "-c", "echo one; sleep 0.1; echo two >&2; exit 3")
    machine.engine.start(identity)
    assert await_status(machine, "a", "exited").exit_code == 3
    lines = list(machine.engine.log(identity))
    assert [line.partition(" ")[2] for line in lines] == ["one", "two"]
    assert [line.partition(" ")[2] for line in machine.engine.log(identity, last=1)] == ["two"]
    moments = [line.partition(" ")[0] for line in lines]
    assert moments == sorted(moments) and all(moment[10] == "T" for moment in moments)
    after = [line for line in machine.engine.log(identity, since=moments[1]) if line.partition(" ")[0] >= moments[1]]
    assert [line.partition(" ")[2] for line in after] == ["two"]
    assert list(machine.engine.log(identity, follow=True)) == lines
    if not isinstance(machine.engine, FakeContainers):
        assert machine.engine.execute(identity, ("true",)) == 1  # it does not run any more
    assert machine.engine.processes(identity) == ()


def test_a_command_that_does_not_end_is_not_waited_for(machine: Machine) -> None:
    if isinstance(machine.engine, FakeContainers):
        pytest.skip("the commands of the fake always end")
    identity = machine.create("a", "sleep", "100")
    machine.engine.start(identity)
    assert machine.engine.execute(identity, ("sh", "-c", "echo x; exit 7")) == 7
    assert machine.engine.execute(identity, ("no such program",)) != 0
    assert machine.engine.execute(identity, ("true",)) == 0
    began = time.monotonic()
    assert machine.engine.execute(identity, ("sleep", "90")) == 1
    assert time.monotonic() - began < 30


def test_what_a_failing_health_check_said(machine: Machine) -> None:
    behave(machine, "a", lambda state: replace(state, health="unhealthy", health_said="two\n"))
    script = "[ -e /tmp/asked ] && { echo two >&2; exit 1; }; touch /tmp/asked; echo one; exit 1"
    check = {"Test": ["CMD", "sh", "-c", script], "Interval": 10**8, "Retries": 2}
    identity = machine.create("a", "sleep", "100", health=check)
    machine.engine.start(identity)
    deadline = time.monotonic() + 30
    while (state := machine.state("a")).health != "unhealthy":
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    assert state.health_said == "two\n"


def test_networks_and_volumes_are_made_once_and_found_by_their_labels(machine: Machine) -> None:
    engine = machine.engine
    for _ in range(2):
        engine.ensure_network(machine.name, machine.labels)
        engine.ensure_volume(machine.name, {**machine.labels, "more": "x"})
    assert engine.networks(machine.labels) == (machine.name,)
    assert engine.volumes(machine.labels) == {machine.name: {**machine.labels, "more": "x"}}
    for _ in range(2):
        engine.remove_network(machine.name)
        engine.remove_volume(machine.name)
    assert engine.networks(machine.labels) == () and not engine.volumes(machine.labels)


def test_ports_that_are_taken_are_not_given(machine: Machine) -> None:
    engine = machine.engine
    first = engine.free_port(48200, ())
    assert engine.free_port(first, {first}) != first
    assert engine.host_address().count(".") == 3
