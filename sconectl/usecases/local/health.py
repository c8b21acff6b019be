"""How a container of a mesh is: what users are told about it, and what `up` waits for.

In: what an engine says of a container. Out: one word with the facts that belong to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sconectl.artefacts.local.containers import ENDS
from sconectl.ports import Containers, ContainerState
from sconectl.protect.measure import LAUNCHER_ROOT

_LAUNCHER = f"{LAUNCHER_ROOT}/runtime"
Word = Literal["waiting", "starting", "running", "healthy", "unhealthy", "restarting", "done", "failed", "stopped"]


@dataclass(frozen=True)
class Condition:
    """How a container is."""

    word: Word
    exit_code: int = 0

    @property
    def text(self) -> str:
        """The condition in words."""
        shows_code = self.word in ("failed", "restarting", "stopped")
        return f"{self.word} (exit code {self.exit_code})" if shows_code else self.word


def condition(state: ContainerState, engine: Containers) -> Condition:
    """Return how a container is. An engine asks for health at intervals, so one that starts is asked once more.

    That takes a process in the container each time, so nothing is asked before there is a program that could answer.
    """
    ends = ENDS in state.labels
    if state.status == "created":
        return Condition("waiting")
    if state.status == "restarting":
        return Condition("restarting", state.exit_code)
    if state.status != "running":
        if ends:
            return Condition("failed", state.exit_code) if state.exit_code else Condition("done")
        return Condition("stopped", state.exit_code)
    if ends or not state.health_command:
        return Condition("running")
    if state.health == "healthy":
        return Condition("healthy")
    if is_launching(state, engine):
        return Condition("starting")
    if engine.execute(state.id, state.health_command) == 0:
        return Condition("healthy")
    return Condition("unhealthy" if state.health == "unhealthy" else "starting")


def is_launching(state: ContainerState, engine: Containers) -> bool:
    """Say whether there is only the launcher, which measures the image, or attests."""
    processes = engine.processes(state.id)
    return bool(processes) and all(_LAUNCHER in process.split() for process in processes)
