"""Brings a mesh up on a container engine: what is unchanged stays, what has changed is replaced, what is left goes.

In: the containers of the mesh, their images, an engine. Out: what was done with each. A run that was cut off is
finished by the next one, and undone by `down`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sconectl.artefacts.local.containers import CAS_KEY, CONTAINER, MESH, PART, RELEASE, LocalContainer, LocalMesh
from sconectl.artefacts.local.engine_config import engine_config
from sconectl.errors import Refused
from sconectl.ports import Containers, ContainerState, ImageInfo, Progress

Deed = Literal["unchanged", "started", "created", "replaced", "removed"]


@dataclass(frozen=True)
class LocalWorld:
    """The outside world of a mesh on this machine."""

    engine: Containers
    images: Mapping[str, ImageInfo]
    progress: Progress


@dataclass(frozen=True)
class Intent:
    """What is to be done with the container of a name: with the one that is `wanted`, and the one that is there."""

    name: str
    deed: Deed
    wanted: LocalContainer | None
    there: ContainerState | None


def intents(mesh: LocalMesh, images: Mapping[str, ImageInfo], there: tuple[ContainerState, ...]) -> tuple[Intent, ...]:
    """Return what is to be done, with what is left over first. Raises `Refused` if the release is another mesh's."""
    others = {state.labels.get(MESH, "") for state in there} - {mesh.name}
    if others:
        raise Refused(
            f"the release {mesh.release} is that of another mesh on this machine: {', '.join(sorted(others))}",
            hint=f"give another one with --release, or end it: sconectl down --release {mesh.release}",
        )
    keys = {container.labels[CAS_KEY] for container in mesh.containers if CAS_KEY in container.labels}
    if keys and {state.labels[CAS_KEY] for state in there if CAS_KEY in state.labels} - keys:
        raise Refused(
            f"the release {mesh.release} runs on this machine already, with the embedded CAS of another user",
            hint=f"give another one with --release, or if it is yours, end it: sconectl down --release {mesh.release}",
        )
    known = {state.name: state for state in there}
    names = {container.name for container in mesh.containers}
    found = [Intent(state.name, "removed", None, state) for state in there if state.name not in names]
    wanted = {container.name: container for container in mesh.containers}
    deeds: dict[str, Deed] = {}
    for name, container in wanted.items():
        deeds[name] = _deed(container, images[container.image].id, known.get(name))
    for container in mesh.containers:
        _together([container.name, *container.after], deeds)
    return (*found, *(Intent(name, deeds[name], each, known.get(name)) for name, each in wanted.items()))


def _together(names: list[str], deeds: dict[str, Deed]) -> None:
    """Replace a container and those that wait before it starts as one, unless all of them can stay."""
    if any(deeds[name] in ("created", "replaced") for name in names):
        for name in names:
            deeds[name] = "created" if deeds[name] == "created" else "replaced"


def _deed(container: LocalContainer, image_id: str, there: ContainerState | None) -> Deed:
    if there is None:
        return "created"
    if there.labels.get(CONTAINER) != container.digest(image_id):
        return "replaced"
    if there.status == "running" or (container.ends and there.status == "exited" and not there.exit_code):
        return "unchanged"
    startable = there.status == "created" or (there.status == "exited" and not (container.ends or container.after))
    return "started" if startable else "replaced"  # one that fails again and again begins anew


def bring_up(mesh: LocalMesh, world: LocalWorld) -> tuple[Intent, ...]:
    """Make and start everything that nothing has to be awaited for, and return what was done with each container.

    Those that start after others are created only: `waiting` starts them. Raises `BuildFailed` and `Refused`.
    """
    engine = world.engine
    there = engine.find({RELEASE: mesh.release})
    found = tuple(_with_free_ports(intent, engine) for intent in intents(mesh, world.images, there))
    for intent in found:
        if intent.there is not None and intent.deed in ("removed", "replaced"):
            world.progress(f"stopping {intent.name}")
            engine.remove(intent.there.id)
    engine.ensure_network(mesh.network, mesh.labels)
    for volume, labels in mesh.volumes.items():
        engine.ensure_volume(volume, labels)
    taken = {port for intent in found if intent.there and intent.deed != "removed" for port in _published(intent.there)}
    made: list[tuple[str, LocalContainer]] = []
    for intent in found:
        container = intent.wanted
        if container is None:
            continue
        if intent.deed in ("created", "replaced"):
            ports = _ports(container, intent.there, engine, taken)
            taken |= set(ports.values())
            image_id = world.images[container.image].id
            config = engine_config(container, image_id, mesh.network, ports)
            made.append((engine.create(intent.name, config), container))
        elif intent.deed == "started" and intent.there is not None:
            made.append((intent.there.id, container))
    for identity, container in made:
        if not container.after:
            world.progress(f"starting {container.name}")
            engine.start(identity)
    return found


def _with_free_ports(intent: Intent, engine: Containers) -> Intent:
    """Return what is to be done with a container that does not run if somebody else has one of its ports by now."""
    there = intent.there
    if intent.deed != "started" or there is None:
        return intent
    lost = any(engine.free_port(port, ()) != port for port in _published(there) if port)
    return replace(intent, deed="replaced") if lost else intent


def _published(state: ContainerState) -> set[int]:
    return {int(place.rpartition(":")[2] or 0) for place in state.ports.values()}


def _ports(
    container: LocalContainer, before: ContainerState | None, engine: Containers, taken: set[int]
) -> dict[int, int]:
    """Return a port of this machine for each of a container: that of before, else the same number if it is free."""
    found: dict[int, int] = {}
    for port in container.ports:
        had = int((before.ports.get(port, "") if before else "").rpartition(":")[2] or 0)
        rest = (taken - {had}) | set(found.values())
        found[port] = engine.free_port(had or port, rest)
    return found


def is_service(state: ContainerState) -> bool:
    """Say whether a container is the service itself, and none that waits for another server."""
    return PART not in state.labels
