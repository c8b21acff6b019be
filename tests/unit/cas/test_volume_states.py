"""Owners see the states of their volumes, and may deliberately accept an older one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys.cas_keys import CasKeys
from sconectl.cas.sessions.access import Principal
from sconectl.cas.sessions.volume_states import VolumeStates

from .enclave_world import CHANNEL, World, causes_of, make_keys, service

OWNER, READER, STRANGER = (
    Principal(key_hash, "")
    for key_hash in (
        "3zFg87JPrC3aPboAcAvTqifRTxEWMMbkWBFxrmLkYgJ4UXh1Ug",
        "4EH51CnEQLsS3jMDKUXu2QDqo7666ppQoeg8ZXBB2VyAPorG3D",
        "4AU3r4kJ4BnDBCh5aWKseQ4XXHpQBQ5Sg5nWrE182n4aHPPbdX",
    )
)
ONE = "11" * 16
FIRST, SECOND, THIRD = "aa" * 16, "bb" * 16, "cc" * 16
SESSION = (
    service(more="    image_name: image\n")
    + "images: [{name: image, volumes: [{name: v, path: /v}]}]\n"
    + f"access_policy: {{read: [{OWNER.key_hash}, {READER.key_hash}], update: [{OWNER.key_hash}]}}\n"
    + "volumes: [{name: v}]\n"
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> CasKeys:
    return make_keys(tmp_path_factory.mktemp("keys") / "cas")


@pytest.fixture
def world(keys: CasKeys, tmp_path: Path) -> World:
    found = World(keys, tmp_path)
    found.put(SESSION)
    found.attest()
    found.lease("v", ONE, "pod-1")
    found.move("v", None, FIRST, holder=ONE)
    found.move("v", FIRST, SECOND, holder=ONE)
    return found


@pytest.fixture
def states(world: World) -> VolumeStates:
    return VolumeStates(world.store, world.sharing, lambda: world.time)


def refusal(status: int, states: VolumeStates, *arguments: str | Principal | None) -> str:
    with pytest.raises(CasRefusal) as caught:
        states.accept(*arguments)  # type: ignore[arg-type]  # what each test gives is right
    assert caught.value.status == status, caught.value.causes
    return causes_of(caught)


def test_an_older_state_is_accepted(world: World, states: VolumeStates) -> None:
    world.enclaves.release_lease(CHANNEL, "v", ONE, "pod-1")
    before = len(world.entries)
    assert states.accept("acme", "v", SECOND, FIRST, OWNER) == {"tag": FIRST}
    assert world.lease("v", ONE) == FIRST
    names = {"session": "acme", "client": OWNER.key_hash, "volume": "v"}
    assert world.entries[before] == {"event": "volume_tag_accepted", **names, "old": SECOND, "new": FIRST}


def test_what_was_accepted_is_said_until_a_program_writes(world: World, states: VolumeStates) -> None:
    world.enclaves.release_lease(CHANNEL, "v", ONE, "pod-1")
    states.accept("acme", "v", SECOND, FIRST, OWNER)
    state = {"name": "v", "tag": FIRST, "files": "encrypted", "in_use": None}
    accepted = {"tag": FIRST, "at": "2026-03-01T12:00:10Z", "by": OWNER.key_hash}
    assert states.listed("acme", READER) == [state | {"accepted": accepted}]
    world.lease("v", ONE, "pod-2")
    (found,) = states.listed("acme", READER)
    assert found["in_use"] == {"by": "pod-2", "until": "2026-03-01 12:00:40 UTC"} and found["accepted"] == accepted
    world.move("v", FIRST, THIRD, holder=ONE)
    (found,) = states.listed("acme", OWNER)
    assert (found["tag"], found["accepted"]) == (THIRD, None)


def test_a_volume_that_is_in_use_stays_as_it_is(world: World, states: VolumeStates) -> None:
    text = refusal(409, states, "acme", "v", SECOND, FIRST, OWNER)
    assert text.startswith("Volume v is in use by pod-1\n")
    world.wait(31)
    states.accept("acme", "v", SECOND, FIRST, OWNER)
    with pytest.raises(CasRefusal, match="Rollback or concurrent use"):  # a program that was cut off in between
        world.move("v", SECOND, THIRD, holder=ONE)
    assert states.listed("acme", OWNER)[0]["tag"] == FIRST


def test_who_may_accept_what(world: World, states: VolumeStates) -> None:
    world.wait(31)
    assert "does not grant update" in refusal(403, states, "acme", "v", SECOND, FIRST, READER)
    assert "does not grant update" in refusal(401, states, "acme", "v", SECOND, FIRST, None)
    assert refusal(404, states, "acme", "w", SECOND, FIRST, OWNER) == "Session acme has no volume w"
    assert "no session ghost" in refusal(404, states, "ghost", "v", SECOND, FIRST, OWNER)
    assert f"Its current tag is {SECOND}, not {THIRD}" in refusal(409, states, "acme", "v", THIRD, FIRST, OWNER)
    assert f"Its current tag is {SECOND}, not none" in refusal(409, states, "acme", "v", None, FIRST, OWNER)
    assert "32 lower case" in refusal(400, states, "acme", "v", SECOND, "x", OWNER)
    with pytest.raises(CasRefusal, match="does not grant read"):
        states.listed("acme", STRANGER)
    assert states.listed("acme", OWNER)[0]["tag"] == SECOND


def test_beginning_anew(world: World, states: VolumeStates) -> None:
    world.wait(31)
    assert states.accept("acme", "v", SECOND, None, OWNER) == {"tag": None}
    assert world.lease("v", ONE) is None
    world.wait(31)
    body = SESSION.replace("{name: v}]", f"{{name: v, fspf_key: {'5e' * 32}, fspf_tag: {THIRD}}}]")
    world.put(body)
    world.attest()
    world.lease("v", ONE)
    world.move("v", THIRD, FIRST, holder=ONE)
    world.wait(31)
    assert states.accept("acme", "v", FIRST, None, OWNER) == {"tag": THIRD}  # its beginning is in the session
    with world.store.reading() as transaction:
        transaction.open_everything()


def test_imported_volumes_belong_to_another_session(world: World, states: VolumeStates) -> None:
    access = "access_policy: {read: ANY, update: ANY}\n"
    world.put(access + "volumes: [{name: theirs, import: {session: acme, volume: v}}]\n", "importer")
    assert states.listed("importer", OWNER) == []
    text = refusal(403, states, "importer", "theirs", None, FIRST, OWNER)
    assert text == "Session importer imports volume theirs\nIts state is that of acme"
