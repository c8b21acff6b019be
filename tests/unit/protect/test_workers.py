"""Work is done once and completely, or the call fails and leaves no process behind."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.protect.chunks import SealBroken
from sconectl.protect.workers import MAX_UNITS, balanced, each_unit


@pytest.fixture(autouse=True)
def no_process_and_no_file_is_left() -> Iterator[None]:
    before, children = len(list(Path("/proc/self/fd").iterdir())), own_children()
    yield
    assert own_children() <= children  # other tests in this process may have left some
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def own_children() -> set[str]:
    """Return the process ids of all children of this process, zombies included."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # gone meanwhile
            name_and_rest = status.read_text().rpartition(") ")
            if name_and_rest[2].split()[1] == str(os.getpid()):
                found.add(status.parent.name)
    return found


@pytest.mark.parametrize("processes", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 7, MAX_UNITS])
def test_results_come_in_order(processes: int, count: int) -> None:
    assert each_unit(count, lambda number: (number, b"x" * number), processes=processes) == [
        (number, b"x" * number) for number in range(count)
    ]


def test_each_process_gets_work() -> None:
    def who(_: int) -> int:
        time.sleep(0.02)
        return os.getpid()

    found = each_unit(20, who, processes=2)
    assert len(set(found)) == 2


def in_a_copy(do: Callable[[], Any]) -> Callable[[int], None]:
    parent = os.getpid()

    def work(_: int) -> None:
        if os.getpid() == parent:
            time.sleep(0.2)
        else:
            do()

    return work


def raising(error: BaseException) -> Callable[[], None]:
    def do() -> None:
        raise error

    return do


@pytest.mark.parametrize(
    ("do", "error", "text"),
    [
        (raising(OSError(errno.ENOSPC, "No space left on device", "/x")), OSError, "No space left on device: '/x'"),
        (raising(SealBroken("not as it was")), SealBroken, "not as it was"),
        (raising(ValueError("a bug")), OSError, "ended with status 1"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), OSError, "was ended by signal 9"),
        (lambda: os._exit(3), OSError, "ended with status 3"),
    ],
)
def test_what_goes_wrong_in_a_copy_is_raised_here(do: Callable[[], Any], error: type, text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        each_unit(4, in_a_copy(do), processes=2)
    if isinstance(caught.value, OSError):
        assert caught.value.errno in (errno.ENOSPC, errno.EIO)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "here"), SealBroken("here"), KeyboardInterrupt("here")])
def test_what_goes_wrong_here_ends_the_copies(error: BaseException) -> None:
    parent = os.getpid()

    def work(_: int) -> None:
        if os.getpid() == parent:
            raise error
        time.sleep(600)

    with pytest.raises(type(error), match="here"):
        each_unit(4, work, processes=3)


def test_nobody_begins_another_unit_after_an_error(tmp_path: Path) -> None:
    def work(number: int) -> None:
        (tmp_path / str(number)).touch()
        time.sleep(0.05)
        if number == 0:
            raise OSError(errno.EIO, "no")

    with pytest.raises(OSError, match="no"):
        each_unit(500, work, processes=2)
    assert len(list(tmp_path.iterdir())) < 10


def test_without_copies_all_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise OSError(errno.EAGAIN, "too many processes")

    monkeypatch.setattr(os, "fork", refuse)
    assert each_unit(50, lambda number: number, processes=2) == list(range(50))


@given(st.lists(st.integers(0, 2000), max_size=300), st.integers(1, 500), st.integers(1, 50))
def test_runs_cover_everything_once_and_begin_with_the_most_work(costs: list[int], most: int, many: int) -> None:
    runs = balanced(costs, most=most, many=many)
    assert sorted(number for run in runs for number in run) == list(range(len(costs)))
    totals = [sum(costs[number] for number in run) for run in runs]
    assert totals == sorted(totals, reverse=True)
    most = max(most, sum(costs) * 4 // MAX_UNITS)  # else there would be too many runs
    assert all((len(run) <= many and total <= most) or len(run) == 1 for run, total in zip(runs, totals, strict=True))


@given(st.integers(1, 3))
def test_there_are_never_too_many_runs(cost: int) -> None:
    for costs in ([cost] * 100_000, [cost, 10**12] * 2000, [10**9] * 5000):
        assert len(balanced(costs, most=1, many=1)) <= MAX_UNITS
