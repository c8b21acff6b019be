"""Taking back what was applied last, on the embedded CAS."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import Outcome, Run
from .test_rolling import ONE, PASSWORD, THREE, TWO, Shop

TOKEN = {"name": "token", "kind": "ascii"}


@pytest.fixture
def shop(project: Path, run: Run) -> Shop:
    made = Shop(project, run)
    made.write()
    made.apply()
    return made


def rollback(shop: Shop, *words: str, code: int = 0) -> Outcome:
    done = shop.run("rollback", "-f", "mesh.yaml", *words)
    assert done.code == code, done.err
    return done


def test_a_rollout_is_taken_back_and_forth_without_a_gap(shop: Shop) -> None:
    old, chart = shop.pod(), shop.chart()
    before = shop.start(old)
    shop.write(TWO)
    shop.apply("--rolling")
    new, after = shop.pod(), shop.start(shop.pod())
    done = rollback(shop)
    assert re.fullmatch("session shop/web: taken back to [0-9a-f]{64}, from v2 to v1", done.out.splitlines()[0])
    assert "shop/db" not in done.out
    assert "`helm rollback`" in done.err
    assert (shop.start(old), shop.start(new)) == (before, after)
    shop.write()
    again = shop.apply()
    assert again.out.count(": unchanged (CAS local)") == 3
    assert "the rollout of shop/web from v2 to v1 is not finished" in again.err
    assert {path: text for path, text in shop.chart().items() if "values" in path} == {
        path: text for path, text in chart.items() if "values" in path
    }
    rollback(shop)  # what is taken back is the way back
    assert (shop.start(old), shop.start(new)) == (before, after)
    shop.write(TWO)
    assert shop.apply().out.count(": unchanged (CAS local)") == 3
    assert shop.pod() == new


def test_after_the_end_of_a_rollout_the_old_version_comes_back(shop: Shop) -> None:
    old = shop.pod()
    before = shop.start(old)
    shop.write(TWO)
    shop.apply("--rolling")
    shop.apply("--finish")
    assert "Service not found" in shop.refusal(old)
    shown = rollback(shop, "--dry-run")
    assert "session shop/web: would be taken back to " in shown.out
    assert "service python3" in shown.out
    assert "Service not found" in shop.refusal(old)
    rollback(shop)
    assert shop.start(old) == before
    shop.write()
    shop.apply("--finish")
    assert shop.pod() == old
    assert shop.start(old) == before
    assert "Service not found" in shop.refusal(("shop/web/python3-v2", TWO))


def test_what_is_taken_back_can_be_refused_at_once(shop: Shop) -> None:
    old = shop.pod()
    shop.write(TWO)
    shop.apply("--rolling")
    new = shop.pod()
    rollback(shop, "--finish")
    assert shop.start(old)["argv"][-1] == "01"
    assert "Service not found" in shop.refusal(new)


def test_only_what_the_last_rollout_changed_goes_back(shop: Shop) -> None:
    shop.write(ONE, db="0e" * 32)
    shop.apply("--rolling")
    shop.apply("--finish")
    db = shop.pod("db")
    shop.write(TWO, db="0e" * 32)
    shop.apply("--rolling")
    assert (shop.pod()[0], shop.pod("db")) == ("shop/web/python3-v3", db)
    done = rollback(shop)
    assert "shop/db" not in done.out
    assert shop.start(db)
    assert shop.start(("shop/web/python3", ONE))["argv"][-1] == "01"


def test_without_a_rollout_the_services_are_named(shop: Shop) -> None:
    assert "no session of the mesh has an earlier version" in rollback(shop, code=4).err
    old = shop.pod()
    before = shop.start(old)
    shop.write(TWO)
    shop.apply()
    rollback(shop)  # one only has an earlier version
    assert shop.start(old) == before
    shop.write(TWO, db="0e" * 32)
    shop.apply()
    refused = rollback(shop, code=7)
    assert "--service web --service db" in refused.err
    rollback(shop, "--service", "web", "--service", "db")
    assert shop.start(old) == before
    assert "did you mean web" in rollback(shop, "--service", "wbe", code=2).err


def test_a_version_is_named_by_its_hash(shop: Shop) -> None:
    old, before = shop.pod(), shop.start(shop.pod())
    for measurement in (TWO, THREE):
        shop.write(measurement)
        shop.apply()
    history = shop.run("session", "history", "shop/web", "--cas", "local", "--output", "json")
    first = json.loads(history.out)["versions"][-1]["hash"]
    rollback(shop, "--to", first)
    assert shop.start(old) == before
    assert rollback(shop, "--to", "0" * 64, code=4)
    assert rollback(shop, "--to", "0", code=2)
    assert rollback(shop, "--to", first, "--service", "web", code=2)


def test_no_value_is_lost_on_the_way_back(shop: Shop) -> None:
    shop.write(TWO, secret=TOKEN, imports=False)
    shop.apply("--rolling")
    token = shop.start(shop.pod())
    new = shop.pod()
    refused = rollback(shop, "--finish", code=7)
    assert "secret token of session shop/web is in use, and would be lost" in refused.err
    rollback(shop)
    assert shop.start(new) == token
    rollback(shop, "--finish", "--allow-secret-loss", "password")
    assert shop.start(new) == token


def test_what_others_import_from_it_is_not_taken_away(shop: Shop) -> None:
    shop.write(TWO, imports=False, db="0e" * 32)
    shop.apply("--rolling")
    shop.apply("--finish")
    shop.write(THREE, db="0f" * 32)  # db imports the secret again
    shop.apply()
    db = shop.pod("db")
    before = shop.start(db)
    rollback(shop, "--service", "web")
    assert shop.start(db) == before


def test_what_is_not_exported_any_more_is_said(shop: Shop) -> None:
    shop.write(TWO, secret=PASSWORD, imports=False, db="0e" * 32)
    shop.apply()
    refused = rollback(shop, "--service", "db", code=4)
    assert "imports secret password of shop/web, which does not export it any more" in refused.err
    assert "--service web" in refused.err
    rollback(shop, "--service", "db", "--service", "web")


def test_one_mesh_whose_sessions_are_uploaded(shop: Shop) -> None:
    assert shop.run("rollback", "-f", "facts").code == 2
    text = Path("mesh.yaml").read_text()
    Path("mesh.yaml").write_text(text.replace("cas_url: local", "cas_url: local\n    mode: SignedManifest"))
    assert "in mode SignedManifest the sessions are not uploaded here" in rollback(shop, code=4).err


def test_the_lock_gets_the_versions_that_are_active_now(shop: Shop) -> None:
    def locked() -> Any:
        return json.loads(Path("sconectl.lock").read_text())

    shop.write(TWO)
    shop.apply("--rolling")
    before = locked()
    assert "sconectl.lock" not in rollback(shop, "--dry-run").out
    assert locked() == before
    assert "sconectl.lock: written" in rollback(shop).out
    after = locked()
    sessions, earlier = after["meshes"]["shop"].pop("sessions"), before["meshes"]["shop"].pop("sessions")
    assert after == before
    assert sessions["shop/web"]["predecessor"] == earlier["shop/web"]["hash"]
    assert {name: entry for name, entry in sessions.items() if name != "shop/web"} == {
        name: entry for name, entry in earlier.items() if name != "shop/web"
    }
    shop.write()
    shop.apply()  # which changes no session
    assert locked()["meshes"]["shop"]["sessions"] == sessions


def test_a_damaged_lock_is_refused_before_anything_is_taken_back(shop: Shop) -> None:
    shop.write(TWO)
    shop.apply("--rolling")
    history = shop.run("session", "history", "shop/web").out
    Path("sconectl.lock").write_text("{")
    assert "is no lock of this version" in rollback(shop, code=7).err
    assert shop.run("session", "history", "shop/web").out == history
    Path("sconectl.lock").unlink()
    rollback(shop)  # there is no lock that would have to be written
    assert not Path("sconectl.lock").exists()
