"""What explains the versions of a session: broken chains, what may not be read, other salts, early sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from sconectl.apply.lock.lock_file import LockedSession, keyed
from sconectl.apply.lock.past_locks import LockHistory, PastLock
from sconectl.errors import CasRefused, PlanImpossible
from sconectl.policy.reading import parse_session
from sconectl.policy.serialized.canonical import session_hash
from sconectl.ports import Commit, ListedSession, Receipt, StoredSession, VolumeState
from sconectl.usecases.over_time.audit import Audit, audit

OLD, NEW = "aa" * 16, "bb" * 16


@dataclass
class Versions:
    """A CAS that has the versions that a test says; implements what of `ports.SessionStore` reads."""

    address = "fake"
    active: dict[str, StoredSession] = field(default_factory=dict)
    older: dict[str, StoredSession] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    reads: int = 0

    def add(self, name: str, *, salt: str = "", version: int = 1) -> str:
        """Let there be another version of a session; return its hash."""
        before = self.active.get(name)
        service = f'{{name: s, command: c {version}, mrenclaves: ["{"01" * 32}"]}}'
        text = f'name: {name}\nversion: "0.3.10"\nservices: [{service}]\n'
        text += f"salt: {salt}\n" if salt else ""
        text += f"predecessor: {before.hash}\n" if before else ""
        stored = StoredSession(text, session_hash(parse_session(text)))
        if before:
            self.older[before.hash] = before
        self.active[name] = stored
        return stored.hash

    def read(self, name: str, hash_: str | None = None) -> StoredSession | None:
        self.reads += 1
        if name in self.closed:
            raise CasRefused("it refused", status=403)
        active = self.active.get(name)
        return active if hash_ is None or (active and active.hash == hash_) else self.older.get(hash_)

    def list_sessions(self, namespace: str = "/") -> tuple[ListedSession, ...]:
        return tuple(ListedSession(name) for name in self.active if name.startswith(f"{namespace}/"))

    def put(self, text: str) -> str:
        raise AssertionError("an audit only reads")

    def upload(self, text: str) -> Receipt:
        raise AssertionError("an audit only reads")

    def hash_of(self, name: str) -> str | None:
        raise AssertionError("an audit only reads")

    def volumes(self, session: str) -> tuple[VolumeState, ...]:
        raise AssertionError("an audit only reads")

    def accept(self, session: str, volume: str, old: str | None, new: str | None) -> None:
        raise AssertionError("an audit only reads")

    def encryption_key(self) -> str:
        raise AssertionError("an audit only reads")


def entry(salt: str, hash_: str, before: str = "") -> LockedSession:
    return LockedSession(hash=keyed(salt, hash_), predecessor=keyed(salt, before) if before else None)


def locks(*past: Mapping[str, LockedSession], **more: Any) -> LockHistory:
    commits = tuple(
        PastLock(Commit(str(n), f"commit {n}", "Ada", "2026-01-01"), each) for n, each in enumerate(past, 1)
    )
    known = frozenset({name for each in past for name in each}) | more.pop("known", frozenset())
    return LockHistory("sconectl.lock", commits, past[-1], past[-1], known, **more)


def reasons(found: Audit, name: str) -> list[str]:
    return [each.commit.subject if each.commit else each.reason for each in found.sessions[name]]


@pytest.fixture
def cas() -> Versions:
    return Versions()


def test_a_chain_that_is_not_whole_is_an_alarm(cas: Versions) -> None:
    root = cas.add("shop", salt=OLD)
    first = cas.add("shop/web")
    second = cas.add("shop/web", version=2)
    cas.older.pop(first)
    found = audit(cas, "shop", locks({"shop": entry(OLD, root), "shop/web": entry(OLD, second, first)}))
    (remark,) = found.alarms
    assert "the history of the session shop/web in CAS fake is not whole" in remark.message
    assert "shop/web" not in found.sessions


def test_what_may_not_be_read_is_an_alarm(cas: Versions) -> None:
    root, web = cas.add("shop", salt=OLD), cas.add("shop/web")
    cas.closed.add("shop/web")
    known = locks({"shop": entry(OLD, root), "shop/web": entry(OLD, web)})
    (remark,) = audit(cas, "shop", known).alarms
    assert (remark.session, "may not read" in remark.message) == ("shop/web", True)
    cas.closed.add("shop")
    with pytest.raises(CasRefused):
        audit(cas, "shop", known)


def test_a_salt_that_was_changed_hides_nothing(cas: Versions) -> None:
    one, web = cas.add("shop", salt=OLD), cas.add("shop/web")
    two = cas.add("shop", salt=NEW, version=2)
    three = cas.add("shop", version=3)  # without any salt
    web_2 = cas.add("shop/web", version=2)
    known = locks(
        {"shop": entry(OLD, one), "shop/web": entry(OLD, web)},
        {"shop": entry(NEW, two, one), "shop/web": entry(NEW, web_2, web)},
        {"shop": entry(NEW, three, two), "shop/web": entry(NEW, web_2, web)},
    )
    found = audit(cas, "shop", known)
    assert reasons(found, "shop") == ["commit 3", "commit 2", "commit 1"]
    assert reasons(found, "shop/web") == ["commit 2", "commit 1"]
    assert not found.alarms


def test_a_session_that_waited_for_its_service_is_not_excused(cas: Versions) -> None:
    root, early = cas.add("shop", salt=OLD), cas.add("shop/web")
    begun = {"shop": entry(OLD, root)}
    applied = cas.add("shop/web", version=2)
    later = {**begun, "shop/web": entry(OLD, applied, early)}
    assert reasons(audit(cas, "shop", locks(begun, later)), "shop/web") == ["commit 2", "nothing"]
    assert reasons(audit(cas, "shop", locks(later)), "shop/web") == ["commit 1", "before"]
    assert reasons(audit(cas, "shop", locks(later, cut=True)), "shop/web") == ["commit 1", "nothing"]
    assert reasons(audit(cas, "shop", locks(later, cut=True, since="REV")), "shop/web") == ["commit 1", "before"]
    other = {**begun, "shop/web": entry(OLD, applied, "00" * 32)}
    assert reasons(audit(cas, "shop", locks(other)), "shop/web") == ["commit 1", "nothing"]


def test_a_mesh_that_moved_to_another_cas_begins_there(cas: Versions) -> None:
    root, early = cas.add("shop", salt=OLD), cas.add("shop/web")
    web = cas.add("shop/web", version=2)
    elsewhere = {"shop": entry(NEW, "11" * 32), "shop/web": entry(NEW, "22" * 32)}
    here = {"shop": entry(OLD, root), "shop/web": entry(OLD, web, early)}
    found = audit(cas, "shop", locks(elsewhere, here))
    assert reasons(found, "shop/web") == ["commit 2", "before"]
    assert not found.alarms


def test_the_namespace_of_another_mesh_is_not_part_of_this_one(cas: Versions) -> None:
    root = cas.add("shop", salt=OLD)
    cas.add("shop/team")
    begun = {"shop": entry(OLD, root)}
    assert [each.session for each in audit(cas, "shop", locks(begun)).alarms] == ["shop/team"]
    found = audit(cas, "shop", locks(begun, known=frozenset({"shop/team"})))
    assert (list(found.sessions), found.alarms) == (["shop"], [])


def test_without_a_salt_nothing_is_shown_that_can_be_tried(cas: Versions) -> None:
    cas.add("shop")
    web = cas.add("shop/web")
    found = audit(cas, "shop", locks({"shop/web": entry("", web)}))
    assert [each.hash for versions in found.sessions.values() for each in versions] == ["", ""]
    assert {reason for name in found.sessions for reason in reasons(found, name)} == {"nothing"}


def test_no_lock_knows_the_mesh(cas: Versions) -> None:
    with pytest.raises(PlanImpossible, match="has never known sessions of the mesh shop"):
        audit(cas, "shop", locks({}))


def test_each_version_is_read_once(cas: Versions) -> None:
    def grow(count: int) -> Iterator[dict[str, LockedSession]]:
        root, before = cas.add("shop", salt=OLD), ""
        for number in range(count):
            hash_ = cas.add("shop/web", version=number)
            yield {"shop": entry(OLD, root), "shop/web": entry(OLD, hash_, before)}
            before = hash_

    past = list(grow(200))
    found = audit(cas, "shop", locks(*past))
    assert cas.reads == 201
    assert reasons(found, "shop/web") == [f"commit {number}" for number in range(200, 0, -1)]
