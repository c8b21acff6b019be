"""The logs of several containers as one: in the order of time, or as lines come in.

In: containers, an engine. Out: lines, each with the container that printed it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence

from sconectl.artefacts.local.containers import RELEASE
from sconectl.errors import SconectlError
from sconectl.ports import Containers, ContainerState

Line = tuple[ContainerState, str]
_PAUSE = 0.5


def printed(states: Sequence[ContainerState], engine: Containers, last: int | None) -> Iterator[Line]:
    """Yield what the containers have printed until now, in the order of time; at most the `last` lines of each."""
    found = [(line, number) for number, state in enumerate(states) for line in engine.log(state.id, last=last)]
    for line, number in sorted(found, key=lambda entry: entry[0].partition(" ")[0]):
        yield states[number], line.partition(" ")[2]


def followed(states: Sequence[ContainerState], engine: Containers, last: int | None) -> Iterator[Line]:
    """Yield what the containers print, until all of them are gone; over restarts, and each line once."""
    lines: queue.SimpleQueue[Line | SconectlError | None] = queue.SimpleQueue()
    for state in states:
        threading.Thread(target=_follow, args=(state, engine, last, lines), daemon=True).start()
    going = len(states)
    while going:
        found = lines.get()
        if isinstance(found, SconectlError):
            raise found
        if found is None:
            going -= 1
        else:
            yield found


def _follow(
    state: ContainerState,
    engine: Containers,
    last: int | None,
    lines: queue.SimpleQueue[Line | SconectlError | None],
) -> None:
    """Put the lines of one container into a queue, at the end None, or the error that ends it."""
    seen = ""
    try:
        while True:
            for line in engine.log(state.id, since=seen, last=None if seen else last, follow=True):
                moment, _, text = line.partition(" ")
                if moment > seen:
                    seen = moment
                    lines.put((state, text))
            if not _runs_again(state, engine):
                break
        lines.put(None)
    except SconectlError as error:
        lines.put(error)


def _runs_again(state: ContainerState, engine: Containers) -> bool:
    """Wait until a container that ended runs again; say no if it is gone, or will not be started again."""
    while True:
        now = next((each for each in engine.find({RELEASE: state.labels[RELEASE]}) if each.id == state.id), None)
        if now is None or now.status not in ("running", "restarting", "created"):
            return False
        if now.status == "running":
            return True
        time.sleep(_PAUSE)
