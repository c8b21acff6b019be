"""What strangers cause as often as they like is in few entries, which say how often, since when, and by whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sconectl.cas.bounds.limits import DEFAULT
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.store.audit_folding import Folding
from sconectl.cas.store.store import Store

from .store_world import StoreWorld

LIMITS = replace(DEFAULT, audit_entries=3, audit_entries_per_minute=2)


class Folded:
    """A store, a clock, and what was recorded."""

    def __init__(self, store: Store) -> None:
        self.seconds = 0.0
        self.room = True
        self.store = store
        self.folding = Folding(store, LIMITS, self.now, lambda: self.room, lambda: self.seconds)

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def refuse(self, session: str = "s", reason: str = "wrong", address: str = "10.0.0.1", **by: str) -> None:
        by = {"address": address, **by}
        self.folding.refused("attestation_refused", {"session": session, "reason": reason}, by)

    def entries(self) -> list[dict[str, Any]]:
        with self.store.reading() as transaction:
            found = [json.loads(line) for line in transaction.audit_lines()]
        return [entry for entry in found if entry["event"] != "cas_started"]


@pytest.fixture
def folded(tmp_path: Path) -> Iterator[Folded]:
    with StoreWorld(tmp_path).opened() as store:
        yield Folded(store)


def test_the_first_is_recorded_at_once_and_the_others_are_counted(folded: Folded) -> None:
    for number in range(1000):
        folded.refuse(measurement=f"{number:064x}")
        folded.seconds += 0.01
    [first] = folded.entries()
    assert first["measurement"] == "0" * 64
    assert "count" not in first
    folded.seconds = 61
    folded.folding.flush()
    [_, others] = folded.entries()
    assert (others["count"], others["session"], others["reason"]) == (999, "s", "wrong")
    assert others["since"] == "2026-03-01T00:00:00.010Z"
    assert others["until"] == "2026-03-01T00:00:09.990Z"
    assert len(others["who"]) == 5
    assert others["who"][0] == {"address": "10.0.0.1", "measurement": f"{1:064x}"}
    folded.seconds = 200
    folded.folding.flush()
    assert len(folded.entries()) == 2, "nothing happened since"


def test_an_attack_that_goes_on_is_one_entry_in_a_minute(folded: Folded) -> None:
    for number in range(600):
        folded.refuse(address="10.0.0.1")
        folded.seconds += 1
        if number % 10 == 0:
            folded.folding.flush()
    folded.folding.flush(everything=True)
    counts = [entry.get("count", 1) for entry in folded.entries()]
    assert sum(counts) == 600
    assert len(counts) <= 12


def test_many_kinds_are_one_entry_that_names_the_most(folded: Folded) -> None:
    for number in range(2000):
        folded.refuse(session=f"s{number % 40}", reason=f"r{number % 3}", address=f"10.0.{number % 250}.1")
    assert len(folded.entries()) == 3
    folded.seconds = 61
    folded.folding.flush()
    rest = folded.entries()[-1]
    assert sum(rest["reasons"].values()) == sum(rest["sessions"].values()) == rest["count"]
    assert set(rest["reasons"]) == {"r0", "r1", "r2"}
    assert len(rest["sessions"]) == 17
    assert rest["sessions"]["others"] > 0
    assert len(rest["who"]) == 5
    assert sum(entry.get("count", 1) for entry in folded.entries()) == 2000


@pytest.mark.parametrize("minutes", [1, 10])
def test_the_log_grows_by_so_much_in_a_minute_whatever_comes(folded: Folded, minutes: int) -> None:
    total = 0
    for number in range(minutes * 600):
        folded.refuse(session=f"s{number}", reason="x" * (number % 5000), address=f"10.1.{number % 256}.{number % 7}")
        total += 1
        folded.seconds += 0.1
        if number % 100 == 0:
            folded.folding.flush()
    folded.folding.flush(everything=True)
    entries = folded.entries()
    assert sum(entry.get("count", 1) for entry in entries) == total
    assert len(entries) <= 3 + minutes * (2 + 1) + 2
    assert max(len(json.dumps(entry)) for entry in entries) < 10_000


def test_commands_on_the_directory_are_not_folded(folded: Folded) -> None:
    for _ in range(10):
        folded.folding.granted("session_read", {"session": "mine", "client": "me"}, {"address": "here"})
    assert len(folded.entries()) == 10


def test_events_do_not_use_up_each_others_room(folded: Folded) -> None:
    for number in range(50):
        folded.refuse(session=f"s{number}")
    folded.folding.granted("session_read", {"session": "mine", "client": "me"}, {"address": "10.0.0.9"})
    assert folded.entries()[-1]["session"] == "mine"


def test_without_room_refusals_are_counted_and_reads_are_refused(
    folded: Folded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise CasRefusal(507, "The CAS cannot store this: its disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("sconectl.cas.store.store.Transaction.record", full)
        folded.refuse()  # answered all the same
        with pytest.raises(CasRefusal, match="disk is full"):
            folded.folding.granted("session_read", {"session": "mine"}, {"address": "10.0.0.9"})
        folded.refuse(session="t")
        folded.seconds = 100
        folded.folding.flush()
    assert folded.entries() == []
    folded.folding.flush(everything=True)
    [entry] = folded.entries()
    assert entry["count"] == 2
    assert entry["sessions"] == {"s": 1, "t": 1}


def test_the_reserve_of_the_disk_is_not_for_refusals(folded: Folded) -> None:
    folded.room = False
    for number in range(10):
        folded.refuse(session=f"s{number}")
    folded.seconds = 100
    folded.folding.flush()
    assert folded.entries() == []
    folded.room = True
    folded.folding.flush()
    [entry] = folded.entries()
    assert entry["count"] == 10
