"""A mesh on one machine, on an engine in memory: what is started, kept, replaced, awaited and removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest
from fakes.containers import Behaviour, FakeContainers
from hypothesis import given
from hypothesis import strategies as st

from sconectl.artefacts.local.containers import CAS_KEY, RELEASE, VOLUME, Health, LocalContainer, LocalMesh, Storage
from sconectl.artefacts.local.engine_config import all_labels
from sconectl.errors import BuildFailed, CasRefused, Refused
from sconectl.ports import ContainerState, ImageInfo, VolumeState
from sconectl.usecases.local.down import ask_for_states, bring_down, releases, remove_volumes
from sconectl.usecases.local.health import Condition, condition
from sconectl.usecases.local.log_lines import followed, printed
from sconectl.usecases.local.up import Intent, LocalWorld, bring_up, intents
from sconectl.usecases.local.waiting import Clock, Waiting

IMAGES = {"image:1": ImageInfo("sha256:1", "amd64", {})}
HEALTH = Health(("ask",), 5, 5, 3, 300)


def container(name: str, release: str = "demo", mesh: str = "shop", **more: object) -> LocalContainer:
    labels = {"sconectl.io/release": release, "sconectl.io/mesh": mesh, "sconectl.io/service": name}
    labels |= {"sconectl.io/config-id": f"ns/{name}/p", "sconectl.io/cas": "local"}
    base = LocalContainer(name, "", f"{release}-{name}", name, "image:1", {}, labels)
    return replace(base, **more)  # type: ignore[arg-type]


def mesh_of(*containers: LocalContainer, release: str = "demo", name: str = "shop") -> LocalMesh:
    return LocalMesh(name, release, containers)


WEB = container("web", ports=(443,), health=HEALTH)
DB = container("db", storage=(Storage("demo-db-data", "/scone/volumes/data", owned="data"),))
WAIT = container("job-wait", entrypoint=("wait",), ends=True, part="wait")
JOB = container("job", ends=True, after=(WAIT.name,))
MESH = mesh_of(WEB, DB, WAIT, JOB)


def up(mesh: LocalMesh, engine: FakeContainers) -> dict[str, str]:
    done = bring_up(mesh, LocalWorld(engine, IMAGES, lambda _: None))
    return {intent.name: intent.deed for intent in done}


def wait(mesh: LocalMesh, engine: FakeContainers, seconds: float = 60) -> dict[str, str]:
    moments = count()
    told: dict[str, str] = {}

    def ready(each: LocalContainer, found: Condition, _after: float) -> None:
        told[each.name] = found.text

    Waiting(mesh, engine, Clock(lambda: float(next(moments)), lambda _: None), ready).wait(seconds)
    return told


def ends(code: int = 0) -> Behaviour:
    return lambda state: replace(state, status="exited", exit_code=code)


def state_of(engine: FakeContainers, name: str) -> ContainerState:
    return next(state for state in engine.states.values() if state.name == name)


@pytest.fixture
def engine() -> FakeContainers:
    return FakeContainers(behaviours={WAIT.name: ends(), JOB.name: ends()}, healthy={WEB.name})


def test_everything_is_made_with_labels_and_started_but_who_waits(engine: FakeContainers) -> None:
    assert set(up(MESH, engine).values()) == {"created"}
    assert state_of(engine, JOB.name).status == "created"
    told = wait(MESH, engine)
    assert told == {WEB.name: "healthy", DB.name: "running", WAIT.name: "done", JOB.name: "done"}
    assert engine.calls.index(f"start {JOB.name}") > engine.calls.index(f"start {WAIT.name}")
    assert set(engine.networks({"sconectl.io/release": "demo"})) == {"sconectl-demo"}
    assert engine.volumes({"sconectl.io/session": "ns/db", "sconectl.io/volume": "data"})
    assert state_of(engine, WEB.name).ports == {443: "127.0.0.1:443"}


def test_a_launcher_that_still_measures_is_no_program_that_works(engine: FakeContainers) -> None:
    mesh = mesh_of(DB)
    engine.launching.add(DB.name)
    up(mesh, engine)
    with pytest.raises(BuildFailed, match="demo-db does not do its work after 60 seconds"):
        wait(mesh, engine)
    looks = count()

    def attested_at_last(state: ContainerState) -> ContainerState:
        if next(looks) == 10:
            engine.launching.clear()
        return state

    engine.behaviours[DB.name] = attested_at_last
    assert wait(mesh, engine) == {DB.name: "running"} and next(looks) > 10


def test_a_launcher_that_still_measures_is_not_asked_for_the_health_of_its_program(
    engine: FakeContainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = mesh_of(WEB)
    engine.launching.add(WEB.name)
    up(mesh, engine)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "execute", lambda *_: pytest.fail("asked"))
        with pytest.raises(BuildFailed, match="demo-web does not do its work after 60 seconds"):
            wait(mesh, engine)
    engine.launching.clear()
    assert wait(mesh, engine) == {WEB.name: "healthy"}


def test_a_second_run_changes_nothing(engine: FakeContainers) -> None:
    up(MESH, engine)
    wait(MESH, engine)
    calls = list(engine.calls)
    assert set(up(MESH, engine).values()) == {"unchanged"}
    wait(MESH, engine)
    assert engine.calls == calls


@pytest.mark.parametrize("changed", [replace(DB, environment={"A": "b"}), replace(DB, memory=1), replace(DB, user="9")])
def test_only_what_has_changed_is_replaced(engine: FakeContainers, changed: LocalContainer) -> None:
    up(MESH, engine)
    wait(MESH, engine)
    deeds = up(mesh_of(WEB, changed, WAIT, JOB), engine)
    assert {name for name, deed in deeds.items() if deed != "unchanged"} == {DB.name}


def test_another_image_of_the_same_name_replaces_the_container(engine: FakeContainers) -> None:
    up(MESH, engine)
    other = {"image:1": ImageInfo("sha256:2", "amd64", {})}
    found = intents(MESH, other, engine.find({}))
    assert {intent.deed for intent in found} == {"replaced"}


def test_what_the_mesh_has_no_longer_is_removed_first(engine: FakeContainers) -> None:
    up(MESH, engine)
    deeds = up(mesh_of(DB), engine)
    assert deeds == {WEB.name: "removed", WAIT.name: "removed", JOB.name: "removed", DB.name: "unchanged"}
    assert [state.name for state in engine.find({})] == [DB.name]


def test_a_job_that_failed_and_what_it_waits_for_run_again(engine: FakeContainers) -> None:
    engine.behaviours[JOB.name] = ends(3)
    up(MESH, engine)
    engine.logs[JOB.name] = [f"2026-01-01T00:00:0{n}Z line {n}" for n in range(3)]
    with pytest.raises(BuildFailed) as caught:
        wait(MESH, engine)
    assert "demo-job ended with exit code 3" in caught.value.message and caught.value.output.endswith("line 2")
    deeds = up(MESH, engine)
    assert deeds == {WEB.name: "unchanged", DB.name: "unchanged", WAIT.name: "replaced", JOB.name: "replaced"}


def test_a_run_that_was_cut_off_is_finished_by_the_next_one(engine: FakeContainers) -> None:
    engine.refused = DB.name
    with pytest.raises(BuildFailed):
        up(MESH, engine)
    engine.refused = ""
    deeds = up(MESH, engine)
    assert deeds[WEB.name] == "unchanged" and deeds[DB.name] == "started"
    assert len(wait(MESH, engine)) == 4


def test_another_mesh_of_the_same_release_is_left_alone(engine: FakeContainers) -> None:
    up(MESH, engine)
    before = list(engine.calls)
    with pytest.raises(Refused, match="that of another mesh on this machine: shop"):
        up(mesh_of(container("web", mesh="other"), name="other"), engine)
    assert engine.calls == before


def test_two_releases_live_side_by_side_and_get_other_ports(engine: FakeContainers) -> None:
    up(mesh_of(WEB), engine)
    second = container("web", release="second", ports=(443, 80))
    engine.listening.add(80)
    up(mesh_of(second, release="second"), engine)
    engine.listening |= {443}
    assert len(releases(engine)) == 2
    assert state_of(engine, second.name).ports[80] == "127.0.0.1:10080"
    bring_down("demo", engine, lambda _: None)
    assert releases(engine) == ("second",)


def test_a_container_that_is_replaced_keeps_its_port(engine: FakeContainers) -> None:
    engine.listening.add(443)
    up(mesh_of(WEB), engine)
    assert state_of(engine, WEB.name).ports == {443: "127.0.0.1:10443"}
    engine.listening.clear()
    up(mesh_of(replace(WEB, memory=5)), engine)
    assert state_of(engine, WEB.name).ports == {443: "127.0.0.1:10443"}


def test_a_port_that_somebody_else_has_taken_meanwhile_is_given_up(engine: FakeContainers) -> None:
    up(mesh_of(WEB, DB), engine)
    for state in engine.find({}):
        engine.states[state.id] = replace(state, status="exited")
    engine.listening.add(443)
    assert up(mesh_of(WEB, DB), engine) == {WEB.name: "replaced", DB.name: "started"}
    assert state_of(engine, WEB.name).ports == {443: "127.0.0.1:10443"}


def test_a_mesh_of_another_user_is_left_alone(engine: FakeContainers) -> None:
    """Both run the same example, each with an embedded CAS of his own."""
    mine, theirs = (mesh_of(replace(DB, labels={**DB.labels, CAS_KEY: key})) for key in ("mine", "theirs"))
    up(theirs, engine)
    before = list(engine.calls)
    with pytest.raises(Refused, match="with the embedded CAS of another user"):
        up(mine, engine)
    assert engine.calls == before
    assert up(mesh_of(DB), engine) == {DB.name: "replaced"}  # with another CAS than the embedded one


def _restarting(code: int) -> Behaviour:
    return lambda state: replace(state, status="restarting", exit_code=code, restarts=state.restarts + 1)


@pytest.mark.parametrize(("code", "restarts"), [(1, 5), (125, 0)])
def test_a_service_that_ends_again_and_again_is_told_and_a_refusal_at_once(code: int, restarts: int) -> None:
    engine = FakeContainers(behaviours={DB.name: _restarting(code)})
    up(mesh_of(DB), engine)
    with pytest.raises(BuildFailed, match=f"ended with exit code {code}"):
        wait(mesh_of(DB), engine)
    assert state_of(engine, DB.name).restarts == restarts + 1


def test_a_service_that_comes_to_work_after_it_ended_once_is_no_failure() -> None:
    def once(state: ContainerState) -> ContainerState:
        if state.restarts:
            return replace(state, status="running", exit_code=0)
        return replace(state, status="restarting", exit_code=1, restarts=1)

    engine = FakeContainers(behaviours={WEB.name: once}, healthy={WEB.name})
    up(mesh_of(WEB), engine)
    assert wait(mesh_of(WEB), engine) == {WEB.name: "healthy"}


def test_one_that_never_serves_is_told_when_the_time_is_over_with_all_others() -> None:
    engine = FakeContainers()
    mesh = mesh_of(WEB, container("also", health=HEALTH))
    up(mesh, engine)
    with pytest.raises(BuildFailed, match="demo-web does not do its work after 9 seconds; nor do demo-also"):
        wait(mesh, engine, 9)


def test_what_the_health_check_of_one_said_that_never_serves() -> None:
    engine = FakeContainers()
    engine.behaviours[WEB.name] = lambda state: replace(state, health="unhealthy", health_said="404 Not Found\n")
    engine.logs[WEB.name] = ["2026-01-01T00:00:00Z listening"]
    up(mesh_of(WEB), engine)
    with pytest.raises(BuildFailed) as caught:
        wait(mesh_of(WEB), engine, 9)
    assert caught.value.output == "listening\nits health check said:\n404 Not Found"


class _Store:
    """A CAS that knows the states of the volumes of one session."""

    def __init__(self, *volumes: VolumeState) -> None:
        self.states = {volume.name: volume for volume in volumes}
        self.readable = self.writable = True
        self.status = 403

    def volumes(self, session: str) -> tuple[VolumeState, ...]:
        assert session == "ns/db"
        if not self.readable:
            raise CasRefused("you may not read it", status=self.status)
        return tuple(self.states.values())

    def accept(self, session: str, volume: str, old: str | None, new: str | None) -> None:
        if not self.writable:
            raise CasRefused("you may not update it", status=403)
        assert self.states[volume].tag == old
        self.states[volume] = replace(self.states[volume], tag=new)


@pytest.fixture
def store() -> _Store:
    return _Store(VolumeState("data", "ab" * 16), VolumeState("other", "cd" * 16))


def down(engine: FakeContainers, store: _Store | None = None) -> list[str]:
    """Do what the command does, with volumes if there is a CAS to ask."""
    give: Callable[[str], _Store] = {"local": store}.__getitem__  # type: ignore[assignment]
    told: list[str] = []
    if store:
        ask_for_states("demo", engine, give)  # type: ignore[arg-type]
    kept = bring_down("demo", engine, lambda _: None).kept
    if store:
        remove_volumes(kept, engine, give, told.append)  # type: ignore[arg-type]
    return told or list(kept)


def test_down_leaves_nothing_but_volumes_and_those_on_demand(engine: FakeContainers, store: _Store) -> None:
    up(MESH, engine)
    assert down(engine) == ["demo-db-data"]
    assert not engine.states and not engine.made_networks and engine.made_volumes
    assert down(engine, store) == ["volume ns/db/data: the CAS expects an empty one", "demo-db-data: removed"]
    assert not engine.made_volumes
    assert {name: volume.tag for name, volume in store.states.items()} == {"data": None, "other": "cd" * 16}
    assert down(engine, store) == []


def test_who_may_not_ask_the_cas_ends_nothing(engine: FakeContainers, store: _Store) -> None:
    up(MESH, engine)
    before = dict(engine.states)
    store.readable = False
    with pytest.raises(CasRefused):
        down(engine, store)
    assert engine.states == before and engine.made_volumes


def test_a_volume_stays_until_the_cas_has_forgotten_its_state(engine: FakeContainers, store: _Store) -> None:
    up(MESH, engine)
    store.writable = False
    with pytest.raises(CasRefused):
        down(engine, store)
    assert engine.made_volumes and store.states["data"].tag
    up(MESH, engine)  # it goes on with its data
    store.writable = True
    down(engine, store)
    assert not engine.made_volumes and store.states["data"].tag is None


def test_volumes_of_which_no_cas_knows_anything_go_all_the_same(engine: FakeContainers, store: _Store) -> None:
    up(MESH, engine)
    engine.ensure_volume("foreign", {RELEASE: "demo", VOLUME: "data"})  # not made by `up`: nobody said which session
    store.readable, store.status = False, 404
    assert down(engine, store) == ["demo-db-data: removed", "foreign: removed"]


STATES = st.builds(
    ContainerState,
    st.just("id"),
    st.just(WEB.name),
    st.sampled_from([all_labels(c, c.digest("sha256:1")) for c in (WEB, replace(WEB, ends=True), JOB)]),
    st.sampled_from(["created", "running", "restarting", "exited", "dead", "paused"]),
    st.sampled_from([0, 1, 125]),
    st.integers(0, 9),
    st.sampled_from(["", "starting", "healthy", "unhealthy"]),
    st.sampled_from([(), ("ask",)]),
)


@given(STATES)
def test_what_is_said_of_a_container_follows_from_its_state(state: ContainerState) -> None:
    found = condition(state, FakeContainers(states={"id": state}))
    assert found.word != "healthy" or (state.status == "running" and state.health_command)
    assert found.word not in ("running", "healthy", "starting", "unhealthy") or state.status == "running"
    assert found.word != "done" or (state.exit_code == 0 and state.status not in ("running", "restarting", "created"))
    if found.word in ("failed", "stopped", "restarting"):
        assert str(state.exit_code) in found.text


@given(st.lists(STATES, max_size=1), st.sampled_from([MESH, mesh_of(WEB), mesh_of(DB)]))
def test_every_container_has_one_deed_and_no_running_one_like_it_is_stopped(
    there: list[ContainerState], mesh: LocalMesh
) -> None:
    found: tuple[Intent, ...] = intents(mesh, IMAGES, tuple(there))
    assert sorted(i.name for i in found) == sorted({*(c.name for c in mesh.containers), *(s.name for s in there)})
    for intent in found:
        if intent.wanted and intent.there and intent.there.status == "running":
            same = intent.there.labels["sconectl.io/container"] == intent.wanted.digest("sha256:1")
            assert (intent.deed == "unchanged") == same


# --- logs -------------------------------------------------------------------------------------------------------------


def _stamped(*seconds: int) -> list[str]:
    return [f"2026-01-01T00:00:{second:02}Z at {second}" for second in seconds]


def test_logs_are_one_in_the_order_of_time(engine: FakeContainers) -> None:
    up(mesh_of(WEB, DB), engine)
    engine.logs = {WEB.name: _stamped(1, 4), DB.name: _stamped(2, 3)}
    states = engine.find({})
    assert [text for _, text in printed(states, engine, None)] == ["at 1", "at 2", "at 3", "at 4"]
    assert [text for _, text in printed(states, engine, 1)] == ["at 3", "at 4"]


def test_logs_are_followed_over_a_restart_and_each_line_comes_once(engine: FakeContainers) -> None:
    up(mesh_of(DB), engine)
    engine.logs = {DB.name: _stamped(1, 2)}
    rounds: Iterator[int] = iter(range(2))

    def restarts(state: ContainerState) -> ContainerState:
        if next(rounds, None) is None:
            return replace(state, status="exited")
        engine.logs[DB.name] = _stamped(1, 2, 3)
        return replace(state, restarts=state.restarts + 1)

    states = engine.find({})
    engine.behaviours[DB.name] = restarts
    assert [text for _, text in followed(states, engine, None)] == ["at 1", "at 2", "at 3"]
