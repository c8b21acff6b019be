"""Leases on volumes: one instance writes at a time, and its tag never goes back."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from hypothesis.strategies import integers, sampled_from

from sconectl.cas.attest import enclaves
from sconectl.cas.bounds.lanes import Customer
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys.cas_keys import CasKeys
from sconectl.errors import Refused

from .enclave_world import CHANNEL, World, causes_of, make_keys, service

ONE, TWO, THREE = "11" * 16, "22" * 16, "33" * 16
OTHER_CHANNEL = b"the channel of another program"
FIRST, SECOND, THIRD = "aa" * 16, "bb" * 16, "cc" * 16


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> CasKeys:
    return make_keys(tmp_path_factory.mktemp("keys") / "cas")


def mounting(volume: str = "{name: v}", mount: str = "{name: v, path: /v}") -> str:
    image = f"images: [{{name: image, volumes: [{mount}]}}]\n"
    return service(more="    image_name: image\n") + image + f"volumes: [{volume}]\n"


@pytest.fixture
def world(keys: CasKeys, tmp_path: Path) -> World:
    found = World(keys, tmp_path)
    found.put(mounting())
    found.attest()
    return found


def refusal(status: int, work: Any, *arguments: Any, **settings: Any) -> str:
    with pytest.raises(CasRefusal) as caught:
        work(*arguments, **settings)
    assert caught.value.status == status, caught.value.causes
    return causes_of(caught)


def test_a_second_instance_is_told_who_is_the_first_and_until_when(world: World) -> None:
    assert world.lease("v", ONE, "pod-1") is None
    world.move("v", None, FIRST, holder=ONE)
    world.wait(29)
    text = refusal(409, world.lease, "v", TWO, "pod-2")
    assert text == (
        "Volume v is in use by pod-1\nIts lease ends at 2026-03-01 12:00:40 UTC, unless that instance renews it before"
    )
    assert refusal(409, world.move, "v", FIRST, SECOND, holder=TWO) == text
    assert refusal(409, world.move, "v", FIRST, SECOND) == text
    world.wait(1)
    assert world.lease("v", TWO, "pod-2") == FIRST
    assert "in use by pod-2" in refusal(409, world.move, "v", FIRST, SECOND, holder=ONE)
    assert "in use by pod-2" in refusal(409, world.lease, "v", ONE, "pod-1")


def test_a_restart_of_the_same_instance_does_not_wait(world: World) -> None:
    world.lease("v", ONE, "pod-1")
    world.move("v", None, FIRST, holder=ONE)
    assert world.lease("v", ONE, "pod-1") == FIRST


def test_moving_the_tag_renews_the_lease(world: World) -> None:
    world.lease("v", ONE)
    before: str | None = None
    for tag in (FIRST, SECOND, THIRD):
        world.wait(20)
        world.move("v", before, tag, holder=ONE)
        before = tag
    world.wait(29)
    refusal(409, world.lease, "v", TWO)
    world.wait(60)
    assert world.move("v", THIRD, FIRST, holder=ONE) == FIRST  # run out, and nobody else came
    refusal(409, world.lease, "v", TWO)


def test_who_took_no_lease_moves_no_tag_as_its_holder(world: World) -> None:
    assert "There is no lease on volume v" in refusal(409, world.move, "v", None, FIRST, holder=ONE)
    world.lease("v", ONE)
    assert world.enclaves.release_lease(CHANNEL, "v", ONE, "one") == {"tag": None, "seconds": 0}
    assert "There is no lease on volume v" in refusal(409, world.move, "v", None, FIRST, holder=ONE)


def test_a_released_lease_is_free_at_once(world: World) -> None:
    world.lease("v", ONE)
    world.enclaves.release_lease(CHANNEL, "v", TWO, "two")  # which is not its own: nothing happens
    refusal(409, world.lease, "v", TWO)
    world.enclaves.release_lease(CHANNEL, "v", ONE, "one")
    assert world.lease("v", TWO, "two") is None


def test_a_lease_outlives_the_cas(world: World) -> None:
    world.lease("v", ONE, "pod-1")
    world.restart()
    assert "not attested" in refusal(403, world.lease, "v", ONE, "pod-1")
    world.attest()
    assert "in use by pod-1" in refusal(409, world.lease, "v", TWO)
    assert world.lease("v", ONE, "pod-1") is None


def test_a_session_that_was_updated_asks_for_a_new_attestation(world: World) -> None:
    world.lease("v", ONE)
    world.put(mounting() + "salt: 04b1dfc79f9c3ba96cb009b9e7914497\n")
    for work in (world.lease, world.enclaves.release_lease):
        arguments = ("v", ONE) if work == world.lease else (CHANNEL, "v", ONE, "one")
        assert "was updated in between\nAttest again" in refusal(403, work, *arguments)
    assert "Attest again" in refusal(403, world.move, "v", None, FIRST, holder=ONE)
    world.attest()
    assert world.move("v", None, FIRST, holder=ONE) == FIRST


def test_importers_share_the_lease(keys: CasKeys, tmp_path: Path) -> None:
    world = World(keys, tmp_path)
    world.put(mounting("{name: v, export: {session: acme}}"), "owner")
    world.put(mounting("{name: theirs, import: {session: owner, volume: v}}", "{name: theirs, path: /t}"))
    world.attest("owner/app", channel=OTHER_CHANNEL)
    world.attest()
    world.lease("theirs", ONE, "importer")
    text = refusal(409, world.lease, "v", TWO, "owner", channel=OTHER_CHANNEL)
    assert text.startswith("Volume v is in use by importer\n")
    world.enclaves.release_lease(CHANNEL, "theirs", ONE, "importer")
    world.lease("v", TWO, "owner", channel=OTHER_CHANNEL)
    assert refusal(409, world.lease, "theirs", ONE).startswith("Volume theirs is in use by owner\n")


def test_volumes_are_apart(keys: CasKeys, tmp_path: Path) -> None:
    world = World(keys, tmp_path)
    world.put(mounting("{name: v}, {name: w}", "{name: v, path: /v}, {name: w, path: /w}"))
    world.attest()
    world.lease("v", ONE)
    assert world.lease("w", TWO) is None


def test_a_volume_called_like_the_main_file_system(keys: CasKeys, tmp_path: Path) -> None:
    world = World(keys, tmp_path)
    main = f"    fspf_path: /f\n    fspf_key: {'11' * 32}\n    fspf_tag: {THIRD}\n"
    world.put(mounting("{name: fspf}", "{name: fspf, path: /v}").replace("    image_name", f"{main}    image_name"))
    world.attest()
    world.lease("fspf", ONE)
    assert world.move("fspf", None, FIRST, holder=ONE) == FIRST
    assert world.move("fspf", THIRD, SECOND) == SECOND  # without a holder it is the main file system
    assert world.lease("fspf", ONE) == FIRST


def test_what_needs_no_lease_and_what_is_none(keys: CasKeys, tmp_path: Path) -> None:
    world = World(keys, tmp_path)
    world.put(mounting(mount="{name: v, path: /v, update_policy: ephemeral}"))
    world.attest()
    for work in (world.enclaves.take_lease, world.enclaves.release_lease):
        assert "ephemeral" in refusal(400, work, CHANNEL, "v", ONE, "one")
        assert refusal(404, work, CHANNEL, "w", ONE, "one") == "Service app has no volume of this name"
        assert "32 lower case hex digits" in refusal(400, work, CHANNEL, "v", ONE.upper().replace("1", "A"), "one")
        assert "32 lower case hex digits" in refusal(400, work, CHANNEL, "v", ONE[2:], "one")
        for name in ("", "a" * 254, "a b", "a\n", "é"):
            assert "1 to 253" in refusal(400, work, CHANNEL, "v", ONE, name)
        assert "not attested" in refusal(403, work, b"a stranger", "v", ONE, "one")
    assert "32 lower case hex digits" in refusal(400, world.move, "v", None, FIRST, holder="x")
    assert world.move("v", None, FIRST, holder=ONE) is None


def test_the_audit_log_has_who_took_a_lease_and_no_renewal(world: World) -> None:
    names = {"session": "acme", "service": "app", "volume": "v"}
    before = len(world.entries)
    world.lease("v", ONE, "pod-1")
    world.lease("v", ONE, "pod-1")
    refusal(409, world.lease, "v", TWO, "pod-2")
    world.wait(31)
    world.lease("v", TWO, "pod-2")
    world.enclaves.release_lease(CHANNEL, "v", ONE, "pod-1")
    world.enclaves.release_lease(CHANNEL, "v", TWO, "pod-2")
    assert world.entries[before:] == [
        {"event": "volume_lease_taken", **names, "instance": "pod-1"},
        {"event": "volume_lease_taken", **names, "instance": "pod-2"},
        {"event": "volume_lease_released", **names, "instance": "pod-2"},
    ]


def test_tags_of_a_holder_are_folded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that syncs all day must not fill the disk of the CAS."""
    monkeypatch.setattr(enclaves, "customer", lambda: Customer("10.1.2.3"))
    world.lease("v", ONE)
    before = len(world.entries)
    known: str | None = None
    for number in range(20):
        known, old = f"{number:032x}", known
        world.move("v", old, known, holder=ONE)
    names = {"session": "acme", "service": "app", "file_system": "v", "address": "10.1.2.3"}
    assert world.entries[before:] == [{"event": "tag_updated", **names}]
    world.folding.flush(everything=True)
    assert world.entries[before + 1]["count"] == 19


def test_an_old_tag_in_an_old_copy_is_noticed(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the audit log has nothing new."""
    monkeypatch.setattr(enclaves, "customer", lambda: Customer("10.1.2.3"))
    world.lease("v", ONE)
    world.move("v", None, FIRST, holder=ONE)
    world.move("v", FIRST, SECOND, holder=ONE)
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    length = len(world.entries)
    world.move("v", SECOND, THIRD, holder=ONE)
    assert len(world.entries) == length
    world.store.close()
    (tmp_path / "state").rename(tmp_path / "newest")
    (tmp_path / "copy").rename(tmp_path / "state")
    with pytest.raises(Refused, match="tags were moved on 1 times since"):
        world.restart()
    shutil.rmtree(tmp_path / "state")
    (tmp_path / "newest").rename(tmp_path / "state")
    world.restart()


def test_a_clock_that_is_set_back_locks_nobody_out(world: World) -> None:
    world.lease("v", ONE)
    world.wait(-24 * 3600)
    world.attest()
    refusal(409, world.lease, "v", TWO)
    world.wait(29)
    refusal(409, world.lease, "v", TWO)
    world.wait(2)
    assert world.lease("v", TWO) is None


class Instances(RuleBasedStateMachine):
    """Three instances that take, use, lose and release the lease, on a CAS that is restarted now and then."""

    keys: CasKeys

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.world = World(self.keys, Path(self.folder.name))
        self.world.put(mounting())
        self.world.attest()
        self.owner: str | None = None
        self.until = 0.0
        self.tags: list[str | None] = [None]
        self.seen: dict[str, str | None] = {}

    @property
    def now(self) -> float:
        return self.world.time.timestamp()

    def free_for(self, who: str) -> bool:
        return self.owner in (None, who) or self.now >= self.until

    @rule(who=sampled_from((ONE, TWO, THREE)))
    def take(self, who: str) -> None:
        """An instance gets the lease exactly when no other one has it: so its own it always gets back."""
        if self.free_for(who):
            self.seen[who] = self.world.lease("v", who)
            assert self.seen[who] == self.tags[-1]
            self.owner, self.until = who, self.now + 30
        else:
            refusal(409, self.world.lease, "v", who)

    @precondition(lambda self: self.seen)
    @rule(who=sampled_from((ONE, TWO, THREE)), number=integers(1, 1 << 64), old_one=integers(0, 3))
    def commit(self, who: str, number: int, old_one: int) -> None:
        """A tag moves on from the current one, by who had the lease last, and from nothing else."""
        known = self.tags[max(0, len(self.tags) - 1 - old_one)]
        new = f"{number:032x}"
        if who == self.owner and known == self.tags[-1]:
            assert self.world.move("v", known, new, holder=who) == new
            self.tags.append(new)
            self.until = self.now + 30
        else:
            refusal(409, self.world.move, "v", known, new, holder=who)

    @rule(who=sampled_from((ONE, TWO, THREE)))
    def release(self, who: str) -> None:
        self.world.enclaves.release_lease(CHANNEL, "v", who, "name")
        if self.owner == who:
            self.owner = None

    @rule(seconds=sampled_from((1, 10, 29, 30, 31)))
    def wait(self, seconds: int) -> None:
        self.world.wait(seconds)

    @rule()
    def restart_the_cas(self) -> None:
        self.world.store.close()
        self.world.restart()
        self.world.attest()

    @invariant()
    def the_tag_is_the_newest_one(self) -> None:
        (volume,) = self.world.attest()["volumes"]
        assert volume["tag"] == self.tags[-1]

    def teardown(self) -> None:
        self.world.store.close()
        self.folder.cleanup()


def test_instances(keys: CasKeys) -> None:
    """Never two holders at once; no tag that goes back."""

    class Machine(Instances):
        pass

    Machine.keys = keys
    run_state_machine_as_test(Machine, settings=settings(max_examples=25, stateful_step_count=25, deadline=None))
