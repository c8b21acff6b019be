"""Which states of a file system follow which, for each update policy."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sconectl.cas.attest.tags import Subject, current_tag, move_on
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.store.store import Transaction

FIRST, SECOND, THIRD = "11" * 16, "22" * 16, "33" * 16


class Tags:
    """The tags of a transaction."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], str] = {}

    def tag(self, session: str, subject: str) -> str | None:
        return self.known.get((session, subject))

    def set_tag(self, session: str, subject: str, tag: str) -> None:
        self.known[session, subject] = tag


class FileSystem:
    def __init__(self, policy: str, initial: str | None) -> None:
        self.transaction = cast(Transaction, Tags())
        self.subject = Subject("acme", "volume:v", initial, policy)

    @property
    def current(self) -> str | None:
        return current_tag(self.transaction, self.subject)

    def move(self, old: str | None, new: str) -> str | None:
        return move_on(self.transaction, self.subject, old, new)

    def refused(self, old: Any, new: Any, status: int = 409) -> str:
        before = self.current
        with pytest.raises(CasRefusal) as caught:
            self.move(old, new)
        assert caught.value.status == status and self.current == before
        return "\n".join(caught.value.causes)


@pytest.mark.parametrize("initial", [None, FIRST])
def test_protected_states_follow_each_other(initial: str | None) -> None:
    system = FileSystem("rollback_protected", initial)
    assert system.current == initial
    assert system.move(initial, SECOND) == SECOND == system.current
    assert system.move(SECOND, THIRD) == THIRD == system.current
    text = system.refused(SECOND, FIRST)
    assert text == (
        "Rollback or concurrent use of the file system\n"
        f"Its current tag is {THIRD}, but the update starts from {SECOND}"
    )
    assert f"starts from {initial or 'none'}" in system.refused(initial, SECOND)


def test_a_file_system_is_initialised_once() -> None:
    system = FileSystem("rollback_protected", None)
    assert "Its current tag is none" in system.refused(FIRST, SECOND)
    system.move(None, FIRST)
    system.refused(None, SECOND)


def test_ephemeral_states_stay_as_they_are() -> None:
    system = FileSystem("ephemeral", FIRST)
    assert system.move(FIRST, SECOND) == FIRST == system.current
    assert system.move(THIRD, SECOND) == FIRST
    assert FileSystem("ephemeral", None).move(None, SECOND) is None


def test_without_protection_any_state_follows() -> None:
    system = FileSystem("no_rollback_protection", FIRST)
    assert system.move(THIRD, SECOND) == SECOND == system.current
    assert system.move(FIRST, FIRST) == FIRST
    assert system.move(None, SECOND) == SECOND


def test_the_main_file_system_may_return_to_its_beginning() -> None:
    system = FileSystem("rollback_protected_reinitializable", FIRST)
    assert system.move(FIRST, SECOND) == SECOND
    assert system.move(SECOND, THIRD) == THIRD
    system.refused(SECOND, THIRD)
    assert system.move(FIRST, SECOND) == SECOND == system.current


@pytest.mark.parametrize("policy", ["rollback_protected", "ephemeral", "no_rollback_protection"])
@pytest.mark.parametrize("tag", ["", "11" * 15, "11" * 17, "AA" * 16, "11" * 16 + "\n", "zz" * 16])
def test_what_is_no_tag(policy: str, tag: str) -> None:
    system = FileSystem(policy, FIRST)
    assert system.refused(FIRST, tag, 400) == "A tag has 32 lower case hex digits"
    assert system.refused(tag, SECOND, 400) == "A tag has 32 lower case hex digits"


def test_file_systems_are_apart() -> None:
    system = FileSystem("rollback_protected", FIRST)
    system.move(FIRST, SECOND)
    other = Subject("other", "volume:v", FIRST, "rollback_protected")
    assert current_tag(system.transaction, other) == FIRST
