"""An anchor is used for one directory at a time: a copy of a CAS beside it is refused, and told why."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sconectl.cas.audit.anchor import Anchor
from sconectl.cas.store.store import Store
from sconectl.errors import CasError

from .store_world import StoreWorld, put


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


def copied(world: StoreWorld) -> StoreWorld:
    other = StoreWorld(world.directory.parent)
    other.directory = world.directory.with_name("copy")
    shutil.copytree(world.directory, other.directory)
    return other


def test_a_copy_in_use_at_the_same_time_is_refused(world: StoreWorld) -> None:
    with world.opened() as store:
        put(store)
    copy = copied(world)
    with world.opened() as store:
        put(store, hash_="h2")
        with pytest.raises(CasError, match="in use for another directory") as refusal, copy.opened():
            pass
        for named in (world.anchor_path, world.directory):
            assert str(named) in refusal.value.message
        put(store, hash_="h3")
    with world.opened() as store, store.reading() as transaction:
        assert transaction.active_hash("acme") == "h3"


def test_the_same_directory_is_shared_and_stays_claimed_until_the_last_one_leaves(world: StoreWorld) -> None:
    with world.opened() as store:
        put(store)
    copy = copied(world)
    with contextlib.ExitStack() as second:
        with world.opened():
            second.enter_context(world.opened())  # as a backup does beside the server
        with pytest.raises(CasError, match="another directory"), copy.opened():
            pass


def test_a_claim_ends_with_its_process(world: StoreWorld) -> None:
    with world.opened() as store:
        put(store)
    copy = copied(world)
    code = (
        "import os, sys; from pathlib import Path; from sconectl.cas.audit.anchor import Anchor;"
        " Anchor(Path(sys.argv[1]), bytes(32)).claim(Path(sys.argv[2])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, world.anchor_path, world.directory], check=False)
    with copy.opened() as store:
        put(store, hash_="h2")


def test_an_open_that_fails_lets_go(world: StoreWorld, tmp_path: Path) -> None:
    with world.opened() as store:
        put(store)
    keys = world.keys
    (world.directory / "cas.db").write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(CasError, match="cannot be used"):
            Store(world.directory, keys.sealing, audit_key=keys.audit, anchor=Anchor(world.anchor_path, keys.sealing))
    other = tmp_path / "other"
    other.mkdir()
    anchor = Anchor(world.anchor_path, keys.sealing)
    anchor.claim(other)
    anchor.release()


def test_a_place_where_nothing_can_be_locked(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CasError, match="cannot be used"):
        Anchor(tmp_path / "file" / "anchor", bytes(32)).claim(tmp_path)
