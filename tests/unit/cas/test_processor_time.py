"""Whoever used least processor time lately goes first, whatever others have in the line."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from sconectl.cas.bounds.lanes import Customer, Lane
from sconectl.cas.bounds.processor_time import ProcessorTime


def test_what_was_used_is_forgotten_by_half() -> None:
    now = 0.0
    spent = ProcessorTime(lambda: now)
    spent.add("a", 4.0)
    assert (spent.lately("a"), spent.lately("b")) == (4.0, 0.0)
    now = 10.0
    assert spent.lately("a") == pytest.approx(2.0)
    spent.add("a", 1.0)
    assert spent.lately("a") == pytest.approx(3.0)


def test_addresses_are_not_remembered_for_ever() -> None:
    spent = ProcessorTime()
    for number in range(5000):
        spent.add(f"{number}", 1.0)
    assert spent.lately("0") == 0.0
    assert spent.lately("4999") > 0.9


def test_who_used_little_comes_before_all_that_used_much() -> None:
    served: list[str] = []
    opened = threading.Event()

    def burn(who: str) -> None:
        served.append(who)
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass

    async def attack() -> None:
        lane = Lane("attest", 1, 64, 8, patience=60)
        hostile = [Customer(f"hostile {number}") for number in range(5)]
        for customer in hostile:
            await lane.run(customer, lambda: burn("before"))
        first = asyncio.create_task(lane.run(Customer("first"), opened.wait))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(lane.run(one, lambda: burn("hostile"))) for one in hostile for _ in range(3)]
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(lane.run(Customer("honest"), lambda: served.append("honest"))))
        await asyncio.sleep(0)
        opened.set()
        await asyncio.gather(first, *waiting)
        lane.close()

    asyncio.run(attack())
    assert served == ["before"] * 5 + ["honest"] + ["hostile"] * 15
