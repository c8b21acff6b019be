"""Lanes: every place comes back, turns go round, and nobody works for who has gone."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
import weakref
from collections.abc import Callable

import pytest

from sconectl.cas.bounds.lanes import Abandoned, Customer, Lane, elsewhere, leave_place
from sconectl.cas.bounds.refusal import Busy, CasRefusal

THREADS = 2


def lane(*, waiting: int = 64, per_address: int = 64, patience: float = 5.0, away: int = 0) -> Lane:
    return Lane("test", THREADS, waiting, per_address, patience=patience, away=away)


async def settled(found: Lane) -> None:
    """Wait until the threads have told the loop that they are done."""
    for _ in range(500):
        if found._free == THREADS and not found._present:
            return
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", range(6))
def test_every_place_comes_back(seed: int) -> None:
    """Clients hang up, lose patience, are cancelled and wait for other machines, all at random moments."""
    rng = random.Random(seed)

    async def main() -> Lane:
        found = lane(patience=0.02, waiting=20, per_address=12, away=8)

        def work(seconds: float, leaves: bool, fails: bool, gives_up: bool) -> None:
            time.sleep(seconds / 2)
            if gives_up:
                leave_place()
            if leaves:
                with elsewhere():
                    time.sleep(seconds)
            if fails:
                raise ValueError

        async def one() -> None:
            customer = Customer(f"10.0.0.{rng.randrange(4)}", rng.choice("ab"))
            seconds, leaves, fails = rng.choice((0, 0.001, 0.01)), rng.random() < 0.3, rng.random() < 0.2
            gives_up = rng.random() < 0.3
            task = asyncio.ensure_future(found.run(customer, lambda: work(seconds, leaves, fails, gives_up)))
            await asyncio.sleep(rng.choice((0, 0.005, 0.02)))
            match rng.randrange(4):
                case 0:
                    customer.hang_up()
                case 1:
                    task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        for _ in range(10):
            await asyncio.gather(*(one() for _ in range(40)))
        await settled(found)
        return found

    found = asyncio.run(main())
    assert found._free == THREADS
    assert not found._present
    assert len(found._line) == 0
    assert not found._line._addresses
    found.close()


def test_a_turn_that_comes_as_patience_ends_is_taken_or_passed_on() -> None:
    async def main() -> None:
        found = lane(patience=60)
        gate = threading.Event()
        busy = [asyncio.ensure_future(found.run(Customer(), lambda: gate.wait(5))) for _ in range(THREADS)]
        await asyncio.sleep(0.05)
        first = asyncio.ensure_future(found.run(Customer("a"), lambda: "first"))
        second = asyncio.ensure_future(found.run(Customer("b"), lambda: "second"))
        await asyncio.sleep(0.05)
        found._pass_on()  # the turn of the first one comes …
        first.cancel()  # … in the moment in which it is cancelled
        gate.set()
        assert await second == "second"
        await asyncio.gather(first, *busy, return_exceptions=True)
        for _ in range(500):
            if found._free == THREADS + 1:  # one was given by this test
                break
            await asyncio.sleep(0.01)
        assert found._free == THREADS + 1
        found.close()

    asyncio.run(main())


def blocked(found: Lane, work: Callable[[], object]) -> list[asyncio.Future[object]]:
    return [asyncio.ensure_future(found.run(Customer("busy"), work)) for _ in range(THREADS)]


def test_addresses_and_their_keys_take_turns() -> None:
    async def main() -> list[str]:
        found = lane(per_address=100)
        gate, order = threading.Event(), list[str]()
        busy = blocked(found, lambda: gate.wait(5))
        await asyncio.sleep(0.05)
        crowd = [("a", "x")] * 3 + [("a", "y")] * 2 + [("b", "z")] * 2
        waiting = []
        for number, (address, key) in enumerate(crowd):
            task = found.run(Customer(address, key), lambda name=f"{address}{key}{number}": order.append(name))  # type: ignore[misc]
            waiting.append(asyncio.ensure_future(task))
            await asyncio.sleep(0)
        found._free -= THREADS - 1  # one place only, so that the order shows
        gate.set()
        await asyncio.gather(*busy, *waiting)
        found.close()
        return order

    assert asyncio.run(main()) == ["ax0", "bz5", "ay3", "bz6", "ax1", "ay4", "ax2"]


def test_bounds_and_patience() -> None:
    async def main() -> None:
        found = lane(waiting=1, per_address=2, patience=0.05)
        gate = threading.Event()
        busy = blocked(found, lambda: gate.wait(5))
        await asyncio.sleep(0.02)
        with pytest.raises(Busy, match="of busy at the same time"):
            await found.run(Customer("busy"), lambda: None)
        late = asyncio.ensure_future(found.run(Customer("x"), lambda: None))
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="waiting"):
            await found.run(Customer("y"), lambda: None)
        with pytest.raises(Busy, match="waited for more than"):
            await late
        gate.set()
        await asyncio.gather(*busy)
        found.close()

    asyncio.run(main())


def test_nobody_works_for_who_hung_up() -> None:
    async def main() -> None:
        found = lane()
        gate, worked = threading.Event(), list[int]()
        busy = blocked(found, lambda: gate.wait(5))
        await asyncio.sleep(0.02)
        customer = Customer("x")
        task = asyncio.ensure_future(found.run(customer, lambda: worked.append(1)))
        await asyncio.sleep(0.02)
        customer.hang_up()
        with pytest.raises(Abandoned):
            await task
        gate.set()
        await asyncio.gather(*busy)
        assert worked == []
        found.close()

    asyncio.run(main())


def test_who_only_waits_for_the_disk_leaves_its_place_to_others() -> None:
    async def main() -> None:
        found = lane(away=2)
        gate = threading.Event()

        def writes() -> None:
            leave_place()
            gate.wait(5)

        busy = blocked(found, writes)
        await asyncio.sleep(0.05)
        assert await asyncio.wait_for(found.run(Customer("x"), lambda: "served"), 2) == "served"
        gate.set()
        await asyncio.gather(*busy)
        await settled(found)
        assert found._free == THREADS
        found.close()

    asyncio.run(main())


def test_a_refusal_lets_go_of_what_was_read() -> None:
    """Strangers fill the memory with refused documents otherwise, until the garbage collector comes by."""

    class Document:
        pass

    read: list[weakref.ref[Document]] = []

    def refuse() -> None:
        document = Document()
        read.append(weakref.ref(document))
        try:
            raise ValueError(document)
        except ValueError as error:
            raise CasRefusal(400, "no") from error

    async def main() -> None:
        found = lane()
        with pytest.raises(CasRefusal):
            await found.run(Customer(), refuse)
        await settled(found)
        found.close()

    gc.disable()
    try:
        asyncio.run(main())
        assert [found() for found in read] == [None]
    finally:
        gc.enable()
