"""The launcher's side of leases and tags, against a real CAS that is away, restarted, or changes its mind."""

from __future__ import annotations

import os
import re
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sconectl.runtime.configuration import VolumeKey
from sconectl.runtime.link import CasLink, CasNotReady
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.volumes import mounting
from sconectl.runtime.volumes import tags as tags_module
from sconectl.runtime.volumes.attested_cas import VolumeLost
from sconectl.runtime.volumes.lease import Lease, this_holder
from sconectl.runtime.volumes.tags import DEFAULT_PATIENCE, CasTags

from .cas_world import MEASUREMENT, ONE, SESSION, TWO, CasWorld

pytestmark = pytest.mark.sockets
FIRST, SECOND, THIRD = b"\x01" * 16, b"\x02" * 16, b"\x03" * 16


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CasWorld]:
    found = CasWorld(tmp_path)
    with found.served():
        yield found


@pytest.fixture
def keeping(world: CasWorld) -> Iterator[Callable[..., CasTags]]:
    """Return a function that takes the lease and keeps it till the end of the test."""
    made: list[CasTags] = []

    def keep(patience: float = 20.0, seconds: float | None = None) -> CasTags:
        lease = world.lease()
        lease.take(0)
        lease.seconds = seconds or lease.seconds
        made.append(CasTags("V1", lease, patience))
        made[-1].start()
        return made[-1]

    yield keep
    for tags in made:
        tags.pause()


def is_news(tags: CasTags, seconds: float = 10.0) -> bool:
    return bool(select.select([tags.fileno()], [], [], seconds)[0])


def confirmed(tags: CasTags, state: bytes) -> None:
    deadline = time.monotonic() + 15
    while tags.progress().confirmed != state:
        assert time.monotonic() < deadline, tags.progress()
        is_news(tags, 0.2)


def lost(tags: CasTags) -> str:
    assert is_news(tags)
    found = tags.progress()
    assert found.lost.startswith("volume V1 is lost: "), found
    return found.lost


# At the start.


def test_the_lease_comes_with_the_tag(world: CasWorld) -> None:
    lease = world.lease()
    assert lease.take(0) is None
    lease.move(FIRST)
    assert (world.tag, lease.tag) == (FIRST, FIRST)
    assert world.lease().take(0) == FIRST  # a restart of the same instance
    with pytest.raises(LaunchRefused) as caught:
        world.lease(TWO).take(0)
    assert caught.value.message == "volume V1 was not to be had within 0 seconds"
    assert caught.value.causes[0] == "Volume V1 is in use by pod-1"
    assert caught.value.causes[1].startswith("Its lease ends at ")
    assert "SCONE_VOLUME_TIMEOUT" in caught.value.causes[2]


def test_another_instance_waits_for_the_end_of_the_lease(
    world: CasWorld, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = time.monotonic
    monkeypatch.setattr(time, "sleep", world.wait)
    monkeypatch.setattr(time, "monotonic", lambda: clock() + world.ahead.total_seconds())
    world.lease().take(0)
    started = world.now()
    world.lease(TWO).take(DEFAULT_PATIENCE)
    assert 29 <= (world.now() - started).total_seconds() < 33
    assert capfd.readouterr().err.count("waiting for volume V1: Volume V1 is in use by pod-1") == 1


def test_a_cas_that_is_away_at_the_start(world: CasWorld) -> None:
    lease = world.lease()
    world.network.cut()
    started = time.monotonic()
    with pytest.raises(LaunchRefused) as caught:
        lease.take(2.5)
    assert 1.5 < time.monotonic() - started < 5
    assert caught.value.causes[0].startswith("the CAS does not answer: ")


def test_a_volume_that_is_not_there(world: CasWorld) -> None:
    with pytest.raises(LaunchRefused, match="volume W cannot be used: the CAS gives no lease on it") as caught:
        world.lease(volume="W").take(30)
    assert caught.value.causes == ("Service app has no volume of this name",)


def test_who_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    here = this_holder()
    assert here == this_holder() and len(bytes.fromhex(here.id)) == 16
    monkeypatch.setattr("socket.gethostname", lambda: "other")
    assert this_holder().id != here.id and this_holder().name == "other"
    monkeypatch.setattr("socket.gethostname", lambda: "ö\udc80 " + "x" * 300)
    assert this_holder().name == "---" + "x" * 250
    monkeypatch.setattr("sconectl.runtime.volumes.lease._BOOT_ID", Path("/nowhere"))
    with pytest.raises(LaunchRefused, match="/nowhere cannot be read"):
        this_holder()


# While the program runs.


def test_states_arrive(world: CasWorld, keeping: Callable[..., CasTags]) -> None:
    tags = keeping()
    for state in (FIRST, SECOND, FIRST):
        tags.send(state)
        confirmed(tags, state)
        assert world.tag == state
        assert not is_news(tags, 0.05)
    assert world.network.connections == 2  # one to pin the CAS's key, and one that stays


def test_only_the_newest_state_is_sent(
    world: CasWorld, keeping: Callable[..., CasTags], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    update_tag = world.cas.enclaves.update_tag

    def counted(*arguments: Any) -> dict[str, Any]:
        asked.append(arguments)
        return update_tag(*arguments)

    monkeypatch.setattr(world.cas.enclaves, "update_tag", counted)
    tags = keeping()
    world.network.cut()
    for number in range(50):
        tags.send(bytes([number]) * 16)
        time.sleep(0.005)
    world.network.mend()
    confirmed(tags, b"\x31" * 16)
    assert [arguments[3] for arguments in asked] == ["31" * 16]


def test_patience_ends_and_the_attempts_go_on(
    world: CasWorld, keeping: Callable[..., CasTags], capfd: pytest.CaptureFixture[str]
) -> None:
    tags = keeping(patience=0.6)
    tags.send(FIRST)
    confirmed(tags, FIRST)
    world.network.cut()
    started = time.monotonic()
    tags.send(SECOND)
    assert not tags.progress().failure
    for _ in range(4):
        time.sleep(0.1)
        tags.send(THIRD)  # which does not give the first one more time
    assert is_news(tags)
    assert 0.55 < time.monotonic() - started < 1.5
    assert tags.progress().failure and tags.progress().confirmed == FIRST and not tags.progress().lost
    tags.send(SECOND)
    assert not tags.progress().failure  # with new patience
    world.network.mend()
    confirmed(tags, SECOND)
    assert not tags.progress().failure
    text = capfd.readouterr().err
    assert text.count("the CAS does not answer for volume V1") == 1
    assert text.count("the CAS answers for volume V1 again") == 1


def test_a_lost_answer(world: CasWorld, keeping: Callable[..., CasTags]) -> None:
    """The tag has moved, and nobody knows: this is no rollback."""
    tags = keeping()
    tags.send(FIRST)
    confirmed(tags, FIRST)
    world.network.lose_answers()
    tags.send(SECOND)
    deadline = time.monotonic() + 10
    while world.tag != SECOND:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    tags.send(THIRD)
    assert tags.progress().confirmed == FIRST
    world.network.mend()
    confirmed(tags, THIRD)
    assert world.tag == THIRD


def test_the_lease_is_kept_although_nothing_changes(world: CasWorld, keeping: Callable[..., CasTags]) -> None:
    keeping(seconds=3.0)
    world.wait(25)
    time.sleep(1.5)  # it is renewed after one second
    world.wait(10)
    with pytest.raises(LaunchRefused, match="not to be had"):
        world.lease(TWO).take(0)


@pytest.mark.parametrize("event", ["restart", "update", "a day"])
def test_the_channel_is_forgotten(world: CasWorld, keeping: Callable[..., CasTags], event: str) -> None:
    tags = keeping()
    tags.send(FIRST)
    confirmed(tags, FIRST)
    if event == "restart":
        world.forget()
    elif event == "update":
        world.put(more="salt: 04b1dfc79f9c3ba96cb009b9e7914497\n")
    else:
        world.wait(24 * 3600 + 1)
    before = world.events("service_attested")
    tags.send(SECOND)
    confirmed(tags, SECOND)
    tags.send(THIRD)
    confirmed(tags, THIRD)
    assert world.events("service_attested") - before == 1


OTHER_KEY = f"{{name: V1, fspf_key: {'11' * 32}, fspf_tag: {'22' * 16}}}]"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (MEASUREMENT, "cd" * 32, "the CAS does not accept this program any more: CAS refused to attest"),
        ("{name: V1}]", OTHER_KEY, "not give this program the same"),
        ("path: /data", "path: /elsewhere", "not give this program the same"),
        ("path: /data", "path: /data, update_policy: ephemeral", "not give this program the same"),
        ("volumes: [{name: V1, path: /data}]", "volumes: []", "not give this program the same"),
    ],
)  # fmt: skip
def test_a_policy_that_changed(
    world: CasWorld, keeping: Callable[..., CasTags], old: str, new: str, reason: str
) -> None:
    tags = keeping()
    tags.send(FIRST)
    confirmed(tags, FIRST)
    assert old in SESSION
    world.put(SESSION.replace(old, new))
    tags.send(SECOND)
    assert reason in lost(tags)
    assert tags.progress().confirmed == FIRST
    tags.send(THIRD)  # nothing can be promised any more
    assert tags.progress().lost and tags.progress().confirmed == FIRST


def test_another_instance_came_while_the_cas_was_away(world: CasWorld, keeping: Callable[..., CasTags]) -> None:
    tags = keeping()
    tags.send(FIRST)
    confirmed(tags, FIRST)
    world.wait(31)
    assert world.lease(TWO).take(0) == FIRST
    tags.send(SECOND)
    assert "another instance has taken it: Volume V1 is in use by pod-2" in lost(tags)
    assert world.tag == FIRST


def test_a_state_that_is_not_of_this_instance(world: CasWorld, keeping: Callable[..., CasTags]) -> None:
    tags = keeping()
    tags.send(FIRST)
    confirmed(tags, FIRST)
    world.set_tag(THIRD)
    tags.send(SECOND)
    assert "a state of it that is not of this instance" in lost(tags)
    assert world.tag == THIRD


def test_somebody_else_answers(world: CasWorld, keeping: Callable[..., CasTags], tmp_path: Path) -> None:
    """Who is in the way on the network can delay, and nothing else."""
    tags = keeping(patience=0.5)
    tags.send(FIRST)
    confirmed(tags, FIRST)
    other = CasWorld(tmp_path / "other")
    true_port = world.network.target
    with other.served():
        world.network.target = other.network.target
        world.network.cut()
        world.network.mend()
        tags.send(SECOND)
        assert is_news(tags)
        assert "the CAS does not prove its key" in tags.progress().failure
        assert not tags.progress().lost
    world.network.target = true_port
    confirmed(tags, SECOND)


def test_a_bug_is_no_silence(world: CasWorld, keeping: Callable[..., CasTags], monkeypatch: pytest.MonkeyPatch) -> None:
    tags = keeping()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("TOPSECRET")

    monkeypatch.setattr(Lease, "move", broken)
    tags.send(FIRST)
    text = lost(tags)
    assert "ZeroDivisionError" in text and "TOPSECRET" not in text


def test_too_many_requests_are_a_reason_to_wait(world: CasWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = world.lease()
    lease.take(0)
    monkeypatch.setattr(CasLink, "call", lambda *_, **__: (429, b'{"msg": ["too much", "wait"]}'))
    with pytest.raises(CasNotReady, match="too much: wait"):
        lease.move(FIRST)
    monkeypatch.setattr(CasLink, "call", lambda *_, **__: (200, b'{"tag": 7}'))
    with pytest.raises(CasNotReady, match="not understood"):
        lease.renew()
    monkeypatch.setattr(CasLink, "call", lambda *_, **__: (413, b"?"))
    with pytest.raises(VolumeLost, match="HTTP status 413"):
        lease.renew()


# At the end.


def test_the_end(world: CasWorld, keeping: Callable[..., CasTags]) -> None:
    tags = keeping()
    tags.send(FIRST)
    found = tags.finish(10)
    assert (found.confirmed, found.failure, found.lost) == (FIRST, "", "")
    assert world.lease(TWO).take(0) == FIRST
    assert world.events("volume_lease_released") == 1


def test_the_end_without_a_cas(
    world: CasWorld, keeping: Callable[..., CasTags], capfd: pytest.CaptureFixture[str]
) -> None:
    tags = keeping()
    tags.send(FIRST)
    confirmed(tags, FIRST)
    world.network.cut()
    tags.send(SECOND)
    started = time.monotonic()
    found = tags.finish(0.5)
    assert time.monotonic() - started < 5
    assert found.confirmed == FIRST
    assert "the lease on volume V1 ends by itself" in capfd.readouterr().err


def test_a_pause(world: CasWorld, keeping: Callable[..., CasTags]) -> None:
    tags = keeping()
    tags.pause()
    tags.pause()
    assert tags._thread is None
    tags.send(FIRST)
    confirmed(tags, FIRST)
    assert world.tag == FIRST


def test_the_thread_takes_no_signals(world: CasWorld, keeping: Callable[..., CasTags]) -> None:
    """A signal for the program would end in it, and the supervisor, which awaits it, would never know."""
    tags = keeping()
    tags.send(FIRST)
    confirmed(tags, FIRST)
    assert tags._thread is not None
    status = Path(f"/proc/self/task/{tags._thread.native_id}/status").read_text()
    blocked = int(re.findall("^SigBlk:\t([0-9a-f]+)$", status, re.M)[0], 16)
    assert all(blocked >> (number - 1) & 1 for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1))
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_two_volumes_share_a_connection(tmp_path: Path) -> None:
    world = CasWorld(tmp_path)
    two = SESSION.replace("[{name: V1, path: /data}]", "[{name: V1, path: /data}, {name: V2, path: /more}]")
    world.put(two.replace("[{name: V1}]", "[{name: V1}, {name: V2}]"))
    with world.served():
        attested = world.attested()
        both = []
        for name in ("V1", "V2"):
            lease = Lease(attested, name, ONE)
            lease.take(0)
            both.append(CasTags(name, lease))
        world.forget()
        for number in range(1, 20):
            for tags in both:
                tags.send(bytes([number]) * 16)
        for tags in both:
            confirmed(tags, b"\x13" * 16)
            tags.finish(5)


def test_a_fork_waits_for_a_request(
    world: CasWorld, keeping: Callable[..., CasTags], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that begins while a library holds a lock of its own might wait for it for ever."""
    tags = keeping()
    began, go_on = threading.Event(), threading.Event()
    move = Lease.move

    def slow(lease: Lease, state: bytes) -> None:
        began.set()
        assert go_on.wait(10)
        move(lease, state)

    monkeypatch.setattr(Lease, "move", slow)
    tags.send(FIRST)
    assert began.wait(10)
    threading.Timer(0.3, go_on.set).start()
    started = time.monotonic()
    copy = os.fork()
    if copy == 0:
        os._exit(0 if go_on.is_set() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 0
    assert time.monotonic() - started > 0.25
    confirmed(tags, FIRST)


def test_the_lease_is_kept_while_a_volume_is_opened(world: CasWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large ones take longer than a lease lasts, and another instance would come in between."""
    made: list[CasTags] = []

    def kept(volume: str, lease: Lease, patience: float) -> CasTags:
        made.append(CasTags(volume, lease, patience))
        return made[-1]

    def slow(*_: object) -> NoReturn:
        world.wait(29)
        time.sleep(1.5)
        world.wait(29)
        with pytest.raises(LaunchRefused, match="not to be had"):
            world.lease(TWO).take(0)
        raise LaunchRefused("that is enough")

    monkeypatch.setattr(tags_module, "_RENEWALS", 60)
    for name in ("_prepare_memory", "_require_link", "_require_mount"):
        monkeypatch.setattr(mounting, name, lambda *_: None)
    monkeypatch.setattr(mounting, "_open", slow)
    monkeypatch.setattr(mounting, "CasTags", kept)
    volume = VolumeKey("V1", "/data", bytes(32), None, "encrypted", "rollback_protected")
    with pytest.raises(LaunchRefused, match="that is enough"):
        mounting.open_volumes((volume,), {}, world.attested(), 5)
    for tags in made:
        tags.pause()
    assert len(made) == 1
