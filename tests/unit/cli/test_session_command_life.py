"""`sconectl session list`, `history` and `retire`: what there is, how it came about, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sconectl.policy.reading import parse_session

from .conftest import Outcome, Run

H = "0a" * 32
SALT = "ab" * 16
SHARED, MORE = "export: [{session: shop/web}]", "export: [{session: shop/web}, {session: shop/new}]"
DB = f"""\
name: shop/db
version: "0.3.12"
salt: {SALT}
security: {{attestation: {{mode: simulation}}}}
services:
- {{name: db, command: db $$SCONE::password$$, attestation: {{mrenclave: {H}}}}}
secrets:
- {{name: password, kind: ascii, {SHARED}}}
- {{name: key, kind: private-key}}
"""


def ok(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.err
    return outcome.out


def create(run: Run, text: str, *words: str, command: str = "create") -> str:
    Path("session.yaml").write_text(text)
    return ok(run("session", command, "session.yaml", *words)).strip()


@pytest.fixture
def shop(run: Run, project: Path) -> dict[str, str]:
    """Return the hashes of the sessions of a shop, and of one that belongs to somebody else."""
    mine = {
        "shop": create(run, 'name: shop\nversion: "0.3.10"\n'),
        "shop/db": create(run, DB),
        "shop/web": create(run, 'name: shop/web\nversion: "0.3.10"\n'),
        "shop/web/sub": create(run, 'name: shop/web/sub\nversion: "0.3.10"\n'),
    }
    policy = "access_policy: {create_sessions: ANY}\n"
    create(run, f'name: open\nversion: "0.3.10"\n{policy}')
    theirs = ("--cas-config", str(project / "other"))
    salted = f'name: open/salted\nversion: "0.3.12"\nsalt: {SALT}\n'
    create(run, 'name: open/hidden\nversion: "0.3.10"\n', *theirs)
    return {**mine, "open/salted": create(run, salted, *theirs)}


def listed(run: Run, *words: str) -> list[list[str]]:
    return [line.split() for line in ok(run("session", "list", *words)).splitlines()]


def test_sessions_are_listed_as_far_as_one_may_know(run: Run, shop: dict[str, str]) -> None:
    assert [line[0] for line in listed(run)] == ["open", "shop"]
    assert listed(run, "shop") == [[name, shop[name], "active"] for name in ("shop/db", "shop/web")]
    assert [line[0] for line in listed(run, "shop", "--recursive")] == ["shop/db", "shop/web", "shop/web/sub"]
    hidden, salted = ["open/hidden", "-", "unreadable"], ["open/salted", shop["open/salted"], "unreadable"]
    assert listed(run, "open") == [hidden, salted]
    deep = run("session", "list", "-r", "open")
    assert deep.code == 0 and deep.err == "what is in 2 of them is not listed, because you may not list it\n"
    assert listed(run, "shop/db") == []


def test_a_list_for_programs(run: Run, shop: dict[str, str]) -> None:
    found = json.loads(ok(run("session", "list", "open", "--output", "json")))
    assert found == {
        "sessions": [
            {"name": "open/hidden", "hash": None, "state": "unreadable"},
            {"name": "open/salted", "hash": shop["open/salted"], "state": "unreadable"},
        ]
    }
    assert json.loads(ok(run("session", "list", "shop/db", "--output", "json"))) == {"sessions": []}


def test_what_cannot_be_listed(run: Run, shop: dict[str, str], project: Path) -> None:
    refused = run("session", "list", "shop", "--cas-config", project / "other")
    assert (refused.code, refused.out) == (6, "") and "Listing the sessions in shop failed" in refused.err
    assert "hint:" in refused.err
    gone = run("session", "list", "nothing")
    assert gone.code == 6 and "there is no session nothing" in gone.err
    assert run("session", "list", "--output", "yaml").code == 2


def test_the_history_of_a_session(run: Run, shop: dict[str, str]) -> None:
    second = create(run, DB.replace(SHARED, MORE), command="update")
    third = create(run, DB.replace(SHARED, "size: 20"), command="update")
    lines = ok(run("session", "history", "shop/db")).splitlines()
    assert lines == [
        f"3  {third}  0 weaken, 2 strengthen; drawn anew: key",
        f"2  {second}  1 weaken, 0 strengthen; drawn anew: key",
        f"1  {shop['shop/db']}  created",
    ]


def test_a_history_for_programs(run: Run, shop: dict[str, str]) -> None:
    second = create(run, DB.replace(SHARED, MORE), command="update")
    found = json.loads(ok(run("session", "history", "shop/db", "--output", "json")))
    first: dict[str, Any] = {"number": 1, "hash": shop["shop/db"], "predecessor": None, "retired": False}
    changes = {"weakens": 1, "strengthens": 0, "drawn_anew": ["key"]}
    none = {"weakens": 0, "strengthens": 0, "drawn_anew": []}
    assert found == {
        "session": "shop/db",
        "versions": [
            {"number": 2, "hash": second, "predecessor": shop["shop/db"], "retired": False, **changes},
            {**first, **none},
        ],
    }
    for words in (("history", "nothing"), ("read", "nothing"), ("read", "shop/db", "--hash", H)):
        done = run("session", *words)
        assert (done.code, done.out) == (6, "") and "error: CAS local has no " in done.err


def test_older_versions_are_read_and_compared(run: Run, shop: dict[str, str]) -> None:
    create(run, DB.replace(SHARED, MORE), command="update")
    first = shop["shop/db"]
    assert parse_session(ok(run("session", "read", "shop/db", "--hash", first))).predecessor is None
    assert parse_session(ok(run("session", "read", "shop/db"))).predecessor == first
    assert "session shop/new may import it" in ok(run("session", "diff", f"cas:shop/db@{first}", "cas:shop/db"))
    wrong = run("session", "read", "shop/db", "--hash", "Zz")
    assert (wrong.code, wrong.out) == (2, "") and "session history shop/db" in wrong.err
    assert run("session", "diff", f"cas:shop/db@{H}", "cas:shop/db").code == 6


def test_a_session_is_retired_and_put_back(run: Run, shop: dict[str, str]) -> None:
    kept = create(run, DB.replace("private-key", "private-key, migrate: true"), command="update")
    dry = run("session", "retire", "shop/db", "--dry-run")
    assert (dry.code, dry.out) == (0, "")
    for loses in ("service db", "session shop/web may no longer import it"):
        assert loses in dry.err
    assert ok(run("session", "read", "shop/db")) == ok(run("session", "read", "shop/db", "--hash", kept))
    done = run("session", "retire", "shop/db")
    assert done.code == 0 and done.err.startswith(dry.err)
    assert f"session shop/db is retired; to put back what it was: version {kept}\n" in done.err
    assert listed(run, "shop")[0] == ["shop/db", done.out.strip(), "retired"]
    assert ok(run("session", "history", "shop/db")).splitlines()[0].endswith("; retired")
    again = run("session", "retire", "shop/db")
    assert (again.out, again.err) == (done.out, "session shop/db is retired already; it is unchanged\n")
    earlier = ok(run("session", "read", "shop/db", "--hash", kept))
    without = "".join(line for line in earlier.splitlines(keepends=True) if not line.startswith("predecessor:"))
    create(run, without, command="update")
    assert "drawn anew" not in "".join(ok(run("session", "history", "shop/db")).splitlines(keepends=True)[:2])
    assert ok(run("session", "diff", f"cas:shop/db@{kept}", "cas:shop/db")) == ""


def test_values_are_destroyed_on_demand_only(run: Run, shop: dict[str, str]) -> None:
    for words, lost in (((), ["key"]), (("--destroy-secrets",), ["password", "key"])):
        refused = run("session", "retire", "shop/web", "shop/db", *words)
        assert (refused.code, refused.out) == (7, "")
        said = [line.split()[3] for line in refused.err.splitlines() if line.startswith("lost for good: ")]
        assert sorted(said) == sorted(lost) and "hint: give --yes" in refused.err
    assert [state for *_, state in listed(run, "shop")] == ["active", "active"]
    done = run("session", "retire", "shop/web", "shop/db", "--destroy-secrets", "--yes")
    assert done.code == 0 and len(done.out.split()) == 2
    assert [state for *_, state in listed(run, "shop")] == ["retired", "retired"]
    assert parse_session(ok(run("session", "read", "shop/db"))).secrets == ()


def test_nothing_is_retired_if_one_of_them_cannot_be(run: Run, shop: dict[str, str], project: Path) -> None:
    done = run("session", "retire", "shop/web", "shop/nothing")
    assert (done.code, done.out) == (6, "") and "no session shop/nothing" in done.err
    assert [state for *_, state in listed(run, "shop")] == ["active", "active"]
    theirs = run("session", "retire", "shop/web", "--cas-config", project / "other")
    assert theirs.code == 6 and "does not grant read" in theirs.err
