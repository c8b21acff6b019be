"""What is known to have changed is never less than what has changed."""

from __future__ import annotations

import random

import pytest

from sconectl.protect.volume.hints import MOST_RANGES, Hints


def covered(hints: Hints, inode: int) -> set[int]:
    return {byte for offset, length in hints.written[inode] for byte in range(offset, offset + length)}


def test_writes_that_go_on_where_the_last_one_ended_are_one_range() -> None:
    hints = Hints()
    for offset in range(0, 1000, 10):
        hints.add_write(7, offset, 10)
    hints.add_write(7, 995, 5)
    assert hints.written == {7: [(0, 1000)]}
    hints.add_write(7, 2000, 10)
    hints.add_write(8, 2010, 10)
    assert hints.written == {7: [(0, 1000), (2000, 10)], 8: [(2010, 10)]}


def test_every_byte_that_was_written_stays_known() -> None:
    chance = random.Random(3)
    for _ in range(20):
        hints = Hints()
        written: set[int] = set()
        for _ in range(chance.choice([3, 50, MOST_RANGES + 30])):
            offset, length = chance.randrange(60000), chance.randrange(1, 9)
            hints.add_write(1, offset, length)
            written |= set(range(offset, offset + length))
        assert written <= covered(hints, 1)
        assert len(hints.written[1]) <= MOST_RANGES


@pytest.mark.parametrize(
    "hints",
    [
        Hints(names={(1, b"a")}),
        Hints(written={1: [(0, 1)]}),
        Hints(modified={1}),
        Hints(attributes={1}),
        Hints(everything=True),
    ],
)
def test_a_commit_forgets_what_it_has_written_down(hints: Hints) -> None:
    assert not hints.is_empty
    hints.explained.add(1)
    hints.clear()
    assert hints == Hints() and hints.is_empty


def test_a_mapped_file_may_change_again_after_every_commit() -> None:
    hints = Hints(mapped={4})
    hints.clear()
    assert hints.mapped == {4} and not hints.is_empty
