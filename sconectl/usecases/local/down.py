"""Ends a mesh on this machine.

In: the release, an engine. Out: a `Down` that says what was removed. Whatever carries the labels of the release is
found, whoever made it, `up` or Compose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sconectl.artefacts.local.containers import CAS, RELEASE, SESSION, VOLUME
from sconectl.ports import Containers, ContainerState, Progress, SessionStore


@dataclass(frozen=True)
class Down:
    """What was removed, and the volumes that stay; volumes with their labels."""

    containers: tuple[ContainerState, ...]
    networks: tuple[str, ...]
    volumes: Mapping[str, Mapping[str, str]]
    kept: Mapping[str, Mapping[str, str]]


def bring_down(release: str, engine: Containers, progress: Progress, *, volumes: bool) -> Down:
    """Remove containers and networks of a release, and volumes with their content if that is asked for.

    All are stopped at the same time: each has its own time for that. Raises `BuildFailed`.
    """
    labels = {RELEASE: release}
    found = engine.find(labels)
    if found:
        progress(f"stopping {', '.join(state.name for state in found)}")
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(engine.remove, (state.id for state in found)))
    networks, storage = engine.networks(labels), engine.volumes(labels)
    for network in networks:
        engine.remove_network(network)
    for volume in storage if volumes else ():
        engine.remove_volume(volume)
    return Down(found, networks, storage if volumes else {}, {} if volumes else storage)


def forget_states(removed: Mapping[str, Mapping[str, str]], store: Callable[[str], SessionStore]) -> tuple[str, ...]:
    """Let new volumes take the place of removed ones: a CAS that knows a state refuses an empty storage.

    `store` gives the CAS that a mesh calls so. Returns the volumes, as `SESSION/VOLUME`. Raises `CasError`.
    """
    done = []
    for labels in removed.values():
        if VOLUME not in labels:
            continue
        cas, session = store(labels[CAS]), labels[SESSION]
        for volume in cas.volumes(session):
            if volume.name == labels[VOLUME] and volume.tag is not None:
                cas.accept(session, volume.name, volume.tag, None)
                done.append(f"{session}/{volume.name}")
    return tuple(done)


def releases(engine: Containers) -> tuple[str, ...]:
    """Return the releases that have containers on this engine."""
    return tuple(sorted({state.labels[RELEASE] for state in engine.find({RELEASE: None})}))
