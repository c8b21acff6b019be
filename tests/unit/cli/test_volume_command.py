"""`sconectl volume …`, run as an owner runs it, on a CAS of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Outcome, Run

FIRST, SECOND = "11" * 16, "22" * 16
SESSION = """\
name: shop
version: "0.3.11"
security: {attestation: {mode: simulation}}
services:
- {name: app, command: app, image_name: i, attestation: {mrenclave: "%s"}}
images: [{name: i, volumes: [{name: data, path: /data}]}]
volumes: [{name: data}, {name: theirs, import: {session: other, volume: v}}]
""" % ("0a" * 32)


def ok(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.err
    return outcome.out


@pytest.fixture
def shop(run: Run, project: Path) -> None:
    del project
    Path("session.yaml").write_text(SESSION)
    ok(run("session", "create", "session.yaml"))


@pytest.mark.usefixtures("shop")
def test_a_state_is_accepted_and_listed(run: Run) -> None:
    assert ok(run("volume", "list", "shop")) == f"data  {'-':32}\n"
    done = run("volume", "accept", "shop", "data", FIRST)
    assert (done.code, done.out) == (0, "")
    assert done.err == f"volume data of session shop: the state was none, and is {FIRST}\n"
    line = ok(run("volume", "list", "shop"))
    me = ok(run("identity", "show")).split()[0]
    assert line.startswith(f"data  {FIRST}  accepted by ") and me in line + ok(run("identity", "show"))
    found = json.loads(ok(run("volume", "list", "shop", "--output", "json")))
    (volume,) = found["volumes"]
    assert (found["session"], volume["name"], volume["state"], volume["in_use"]) == ("shop", "data", FIRST, None)
    assert set(volume["accepted"]) == {"by", "at"}
    again = run("volume", "accept", "shop", "data", FIRST)
    assert again.code == 0 and "already; nothing was changed" in again.err
    assert "and is none" in run("volume", "accept", "shop", "data", "--empty").err
    log = ok(run("cas", "audit-log"))
    assert log.count('"volume_tag_accepted"') == 2


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("accept", "shop", "data"), 2, "give the STATE to accept, or --empty"),
        (("accept", "shop", "data", FIRST, "--empty"), 2, "give the STATE to accept, or --empty"),
        (("accept", "shop", "data", "11"), 2, "11 is no state of a volume"),
        (("accept", "shop", "nothing", FIRST), 6, "owns no volume nothing"),
        (("accept", "shop", "theirs", FIRST), 6, "imported ones belong to another session"),
        (("accept", "gone", "data", FIRST), 6, "no session gone"),
        (("list", "gone"), 6, "no session gone"),
        (("list", "shop", "--output", "yaml"), 2, "--output yaml is not known"),
    ],
)
def test_what_cannot_be_done(run: Run, words: tuple[str, ...], code: int, text: str) -> None:
    done = run("volume", *words)
    assert (done.code, done.out) == (code, "") and text in done.err and "Traceback" not in done.err


@pytest.mark.usefixtures("shop")
def test_only_who_may_update_the_session_accepts(run: Run, project: Path) -> None:
    shared = SESSION + "access_policy: {read: ANY}\n"
    Path("session.yaml").write_text(shared)
    ok(run("session", "update", "session.yaml"))
    theirs = ("--cas-config", str(project / "other"))
    assert ok(run("volume", "list", "shop", *theirs)) == f"data  {'-':32}\n"
    refused = run("volume", "accept", "shop", "data", FIRST, *theirs)
    assert refused.code == 6 and "does not grant update" in refused.err and "hint:" in refused.err
    assert FIRST not in ok(run("volume", "list", "shop"))
