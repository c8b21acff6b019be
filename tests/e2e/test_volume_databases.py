"""Databases keep on a volume what they have acknowledged, whatever is killed, and nobody else can read it.

SCONECTL_TEST_KILLS is how often each of the three is killed; in `make nightly` that is 200 times.
"""

from __future__ import annotations

import os
import random

import pytest

from .confidential import Confidential, converted
from .databases.clients import MARIADB, REDIS, SQLITE, Database
from .databases.kills import Campaign, nowhere_in_plain
from .databases.ledger import CANARY
from .world import World

KILLS = int(os.environ.get("SCONECTL_TEST_KILLS", "8"))
pytestmark = pytest.mark.timeout(300 + 10 * KILLS)


def campaign(database: Database, image: Confidential, kills: int) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"{database.name}, seed {seed}")  # noqa: T201
    try:
        acknowledged = Campaign(database, image, random.Random(seed)).run(kills)
        print(f"{acknowledged} rows acknowledged")  # noqa: T201
        assert acknowledged > 5 * kills
        nowhere_in_plain(image, [CANARY])
    finally:
        image.remove()


@pytest.mark.parametrize("tags", ["strict", "bounded"])
@pytest.mark.parametrize("database", [MARIADB, REDIS], ids=lambda database: database.name)
def test_killed_under_load(module_world: World, database: Database, tags: str) -> None:
    image = converted(
        module_world, database.native, {"data": database.path}, name=f"{database.name}-{tags}",
        bounded=["data"] if tags == "bounded" else [], command=database.command,
    )  # fmt: skip
    campaign(database, image, max(1, KILLS // 2))


def test_sqlite_killed_under_load(module_world: World) -> None:
    """Four files at once: in a volume with strict and in one with bounded tags, each kind of journal."""
    volumes = {"data": "/data", "other": "/bounded"}
    image = converted(module_world, SQLITE.native, volumes, name="sqlite", bounded=["other"])
    campaign(SQLITE, image, KILLS)
