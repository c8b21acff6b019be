"""Ends a mesh on this machine.

In: the release, an engine, and for volumes the CAS that knows their states. Out: a `Down` that says what was removed.
Whatever carries the labels of the release is found, whoever made it, `up` or Compose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sconectl.artefacts.local.containers import CAS, RELEASE, SESSION, VOLUME
from sconectl.errors import CasRefused
from sconectl.ports import Containers, ContainerState, Progress, SessionStore, VolumeState

Volumes = Mapping[str, Mapping[str, str]]
"""Volumes with their labels."""
_NOT_FOUND = 404


@dataclass(frozen=True)
class Down:
    """What was removed, and the volumes that stay."""

    containers: tuple[ContainerState, ...]
    networks: tuple[str, ...]
    kept: Volumes


def bring_down(release: str, engine: Containers, progress: Progress) -> Down:
    """Remove containers and networks of a release.

    All are stopped at the same time: each has its own time for that. Raises `BuildFailed`.
    """
    labels = {RELEASE: release}
    found = engine.find(labels)
    if found:
        progress(f"stopping {', '.join(state.name for state in found)}")
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(engine.remove, (state.id for state in found)))
    networks = engine.networks(labels)
    for network in networks:
        engine.remove_network(network)
    return Down(found, networks, engine.volumes(labels))


def ask_for_states(release: str, engine: Containers, store: Callable[[str], SessionStore]) -> None:
    """Ask each CAS for the states of the volumes of a release, which runs yet: who may not know them removes nothing.

    `store` gives the CAS that a mesh calls so. Raises `CasError`.
    """
    for labels in engine.volumes({RELEASE: release}).values():
        _known(labels, store)


def remove_volumes(
    found: Volumes, engine: Containers, store: Callable[[str], SessionStore], told: Callable[[str], None]
) -> None:
    """Remove volumes with their content; `told` hears what was done.

    Before that new ones take their place: a CAS that knows a state refuses an empty storage, and one that refuses to
    forget it would refuse the next start, too. Raises `CasError`, with the volume still there, and `BuildFailed`.
    """
    for name, labels in found.items():
        for volume in _known(labels, store):
            if volume.name == labels[VOLUME] and volume.tag is not None:
                store(labels[CAS]).accept(labels[SESSION], volume.name, volume.tag, None)
                told(f"volume {labels[SESSION]}/{volume.name}: the CAS expects an empty one")
        engine.remove_volume(name)
        told(f"{name}: removed")


def _known(labels: Mapping[str, str], store: Callable[[str], SessionStore]) -> tuple[VolumeState, ...]:
    """Return what the CAS knows of the session whose volume has these labels; nothing of one that it has no more."""
    if not {CAS, SESSION, VOLUME} <= labels.keys():
        return ()
    try:
        return store(labels[CAS]).volumes(labels[SESSION])
    except CasRefused as refusal:
        if refusal.status != _NOT_FOUND:
            raise
        return ()


def releases(engine: Containers) -> tuple[str, ...]:
    """Return the releases that have containers on this engine."""
    return tuple(sorted({state.labels[RELEASE] for state in engine.find({RELEASE: None})}))
