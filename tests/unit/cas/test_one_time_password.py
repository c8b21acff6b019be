"""One-time passwords: the numbers of the standards, each good once."""

from __future__ import annotations

from typing import cast

import pytest

from sconectl.cas.attest.one_time_password import MAX_WRONG, STEP, WRONG_SECONDS, Guessing, code_at, use_code
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.store.store import Transaction

SECRET = b"12345678901234567890"
"""Of the examples in RFC 4226 and RFC 6238."""
NOW = 1_700_000_010.0
STEP_NOW = int(NOW // STEP)


class Memory:
    def __init__(self) -> None:
        self.metas: dict[str, str] = {}

    def meta(self, key: str) -> str | None:
        return self.metas.get(key)

    def set_meta(self, key: str, value: str) -> None:
        self.metas[key] = value


class Door:
    """One scope of codes; a restart keeps the memory and forgives wrong codes."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.guessing = Guessing()

    def use(self, code: str | None, now: float = NOW, scope: str = "s") -> None:
        use_code(cast(Transaction, self.memory), self.guessing, scope, SECRET, code, now)

    def refused(self, code: str | None, now: float = NOW, scope: str = "s") -> str:
        with pytest.raises(CasRefusal) as caught:
            self.use(code, now, scope)
        assert caught.value.status == 403
        return caught.value.causes[0]


VALID = "The one-time password is not valid"
USED = "The one-time password was already used in this time step"
CLOSED = "Too many wrong one-time passwords"


def code(offset: int = 0, now: float = NOW) -> str:
    return code_at(SECRET, int(now // STEP) + offset)


@pytest.fixture
def door() -> Door:
    return Door()


def test_the_numbers_of_rfc_4226_appendix_d() -> None:
    expected = "755224 287082 359152 969429 338314 254676 287922 162583 399871 520489".split()
    assert [code_at(SECRET, counter) for counter in range(10)] == expected


@pytest.mark.parametrize(
    ("time", "digits"),
    [
        (59, "94287082"), (1111111109, "07081804"), (1111111111, "14050471"), (1234567890, "89005924"),
        (2000000000, "69279037"), (20000000000, "65353130"),
    ],
)  # fmt: skip
def test_the_numbers_of_rfc_6238_appendix_b(door: Door, time: int, digits: str) -> None:
    """They have eight digits there; six are the last six of them."""
    assert code_at(SECRET, time // STEP) == digits[-6:]
    door.use(digits[-6:], time)


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_the_clocks_may_differ_by_one_step(door: Door, offset: int) -> None:
    door.use(code(offset))


@pytest.mark.parametrize("offset", [-20, -2, 2, 20])
def test_the_clocks_may_not_differ_by_more(door: Door, offset: int) -> None:
    assert door.refused(code(offset)) == VALID


def test_the_first_steps_of_time(door: Door) -> None:
    door.use(code_at(SECRET, 0), 0.0)


def test_each_code_is_good_once(door: Door) -> None:
    door.use(code())
    assert door.refused(code()) == USED
    assert door.refused(code(), NOW + STEP) == USED
    assert door.refused(code(), NOW + 2 * STEP) == VALID


def test_nothing_before_the_last_accepted_step_is_good(door: Door) -> None:
    door.use(code(1))
    assert door.refused(code(0)) == USED
    assert door.refused(code(-1)) == USED
    door.use(code(2), NOW + STEP)


def test_a_clock_that_is_set_back_opens_nothing(door: Door) -> None:
    door.use(code())
    earlier = NOW - 20 * STEP
    assert door.refused(code(0, earlier), earlier) == USED
    assert door.refused(code(), NOW) == USED


def test_a_restart_opens_nothing(door: Door) -> None:
    door.use(code())
    door.guessing = Guessing()
    assert door.refused(code()) == USED


def test_scopes_are_apart(door: Door) -> None:
    door.use(code(), scope="a")
    door.use(code(), scope="b")
    assert door.refused(code(), scope="a") == USED


def test_a_missing_code(door: Door) -> None:
    for _ in range(MAX_WRONG + 1):
        assert door.refused(None) == "The one-time password is missing"
    door.use(code())


@pytest.mark.parametrize("text", ["", "1", "00000000", " 755224", "７５５２２４", "\udc80", "abcdef", "x" * 10_000])
def test_what_is_no_code(door: Door, text: str) -> None:
    assert door.refused(text) == VALID


def test_a_code_has_exactly_six_digits(door: Door) -> None:
    assert door.refused(code() + "0") == VALID and door.refused(code()[:5]) == VALID
    door.use(code())


def wrong() -> str:
    good = {code(offset) for offset in range(-2, 12)}
    return next(text for text in map("{:06}".format, range(100)) if text not in good)


def test_guessing_closes_the_door_for_a_while(door: Door) -> None:
    for number in range(MAX_WRONG):
        assert door.refused(wrong(), NOW + number) == VALID
    assert door.refused(code(), NOW + MAX_WRONG) == CLOSED
    door.use(code(), NOW + 1, scope="another")
    later = NOW + WRONG_SECONDS - 1
    assert door.refused(code(0, later), later) == CLOSED
    door.use(code(0, NOW + WRONG_SECONDS + 1), NOW + WRONG_SECONDS + 1)


def test_codes_that_were_used_are_no_guesses(door: Door) -> None:
    door.use(code())
    for _ in range(MAX_WRONG + 1):
        assert door.refused(code()) == USED


def test_guesses_are_not_remembered_without_bound(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sconectl.cas.attest.one_time_password._MAX_SCOPES", 2)
    for scope in "abcd":
        for _ in range(MAX_WRONG):
            door.refused(wrong(), scope=scope)
    assert door.refused(code(), scope="d") == CLOSED
    door.use(code(), scope="a")
