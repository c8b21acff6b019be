"""`sconectl identity`: who one is, and that nobody loses an identity by mistake."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Outcome, Run


def ok(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.err
    return outcome.out


def test_an_identity_is_made_once(run: Run, project: Path) -> None:
    home = project.parent / "home" / ".cas"
    none = run("identity", "show")
    assert (none.code, none.out) == (2, "") and "sconectl identity new" in none.err
    assert not home.exists()
    made = ok(run("identity", "new"))
    assert ok(run("identity", "show")) == made
    shown = dict(line.split(":", 1) for line in made.splitlines())
    assert shown["key hash"].strip() == ok(run("self", "show-key-hash")).strip()
    assert Path(shown["file"].strip()) == home / "identity.pem"
    assert json.loads(ok(run("identity", "show", "--output", "json"))) == {
        name.replace(" ", "_"): value.strip() for name, value in shown.items()
    }
    before = (home / "config.json").read_bytes()
    again = run("identity", "new")
    assert (again.code, again.out) == (7, "") and shown["key hash"].strip() in again.err
    assert (home / "config.json").read_bytes() == before


def test_identities_elsewhere(run: Run, project: Path) -> None:
    made = ok(run("identity", "new", "--cas-config", project / "ci"))
    by_file = ok(run("identity", "show", "--identity", project / "ci" / "identity.pem"))
    assert by_file == made == ok(run("identity", "show", "--cas-config", project / "ci"))
    (project / "ci" / "config.json").unlink()
    assert ok(run("identity", "show", "--cas-config", project / "ci")) == made
    assert run("identity", "new", "--cas-config", project / "ci").code == 7
