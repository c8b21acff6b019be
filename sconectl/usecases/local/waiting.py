"""Waits until every container of a mesh does its work, and says of each when it does.

In: the containers, an engine, a clock. Out: nothing; raises `BuildFailed` with the last lines of its log for a
container that does not, while the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sconectl.artefacts.local.containers import RELEASE, LocalContainer, LocalMesh
from sconectl.errors import BuildFailed
from sconectl.ports import Containers, ContainerState
from sconectl.usecases.local.health import Condition, condition, is_launching

REFUSED = 125
"""The exit code of a launcher that does not start its program: it has been patient already."""
_RESTARTS = 5
_STEADY = 3.0
_PAUSE = 0.25
_LAST_LINES = 20


@dataclass(frozen=True)
class Clock:
    """Tells seconds, and passes some."""

    now: Callable[[], float]
    sleep: Callable[[float], None]


Ready = Callable[[LocalContainer, Condition, float], None]
"""Is told of each container that does its work, how it is, and after how many seconds."""


class Waiting:
    """The containers of a mesh that do not work yet."""

    def __init__(
        self, mesh: LocalMesh, engine: Containers, clock: Clock, ready: Ready, settled: Collection[str] = ()
    ) -> None:
        """`settled` are the names of containers that went on running."""
        self._mesh, self._engine, self._clock, self._ready, self._settled = mesh, engine, clock, ready, settled
        self._began = clock.now()
        self._open = {container.name: container for container in mesh.containers}
        self._ended: set[str] = set()
        self._running_since: dict[str, tuple[int, float]] = {}
        self._restarts: dict[str, int] = {}

    def wait(self, seconds: float) -> None:
        """Wait at most so long. Raises `BuildFailed`."""
        while True:
            states = {state.name: state for state in self._engine.find({RELEASE: self._mesh.release})}
            for name, container in list(self._open.items()):
                self._look(container, states.get(name))
            if not self._open:
                return
            if self._clock.now() - self._began > seconds:
                self._give_up(states, seconds)
            self._clock.sleep(_PAUSE)

    def _look(self, container: LocalContainer, state: ContainerState | None) -> None:
        if state is None:
            raise BuildFailed(f"the container {container.name} is gone", hint="somebody removed it: run this again")
        found = condition(state, self._engine)
        if found.word == "waiting":
            if self._ended.issuperset(container.after):
                self._engine.start(state.id)
            return
        restarts = state.restarts - self._restarts.setdefault(container.name, state.restarts)
        refused = found.word == "restarting" and found.exit_code == REFUSED
        if found.word in ("failed", "stopped") or refused or restarts >= _RESTARTS:
            times = f" and was started again {restarts} times" if restarts > 1 else ""
            self._fail(container, state, f"ended with exit code {found.exit_code}{times}")
        steady = found.word == "running" and not container.ends and self._steady(state)
        if found.word in ("done", "healthy") or steady:
            del self._open[container.name]
            if found.word == "done":
                self._ended.add(container.name)
            self._ready(container, found, self._clock.now() - self._began)

    def _steady(self, state: ContainerState) -> bool:
        """Say whether the program of a container that nothing can be asked of has run for a while."""
        if state.name in self._settled:
            return True
        restarts, since = self._running_since.setdefault(state.name, (state.restarts, self._clock.now()))
        if restarts != state.restarts or is_launching(state, self._engine):
            self._running_since[state.name] = (state.restarts, self._clock.now())
            return False
        return self._clock.now() - since >= _STEADY

    def _give_up(self, states: dict[str, ContainerState], seconds: float) -> None:
        name, container = next(iter(self._open.items()))
        others = [each for each in self._open if each != name]
        rest = f"; nor do {', '.join(others)}" if others else ""
        self._fail(container, states[name], f"does not do its work after {seconds:.0f} seconds{rest}")

    def _fail(self, container: LocalContainer, state: ContainerState, what: str) -> None:
        lines = [line.partition(" ")[2] for line in self._engine.log(state.id, last=_LAST_LINES)]
        if state.health_said and state.status == "running":
            lines += ["its health check said:", *state.health_said.splitlines()[-_LAST_LINES:]]
        raise BuildFailed(
            f"{container.name} {what}",
            hint=f"mend it and run this again, which goes on from here; all of its log: docker logs {container.name}",
            output="\n".join(lines),
        )
