"""Two identities, a person and a CI, apply the same mesh; others are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.builders import facts, mesh_text, record

from sconectl.apply.image_sessions import publish_facts, read_facts
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.local import LocalCas
from sconectl.cli.wiring import cas_directory
from sconectl.policy.reading import parse_session

from .conftest import Outcome, Run

IMAGES = [facts(name, environment={"global": [{"name": "X", "value": "1"}]}) for name in ("web", "db")]


def ok(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.err
    return outcome.out


class Team:
    """People who apply a mesh, each from a directory of identity and target of their own."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run, self.folder = run, folder
        self.keys: dict[str, str] = {}
        for name in ("me", "ci", "updater", "reader", "stranger"):
            self.keys[name] = ok(run("identity", "new", "--cas-config", folder / name)).split()[2]

    def mesh(self, value: str, services: tuple[str, ...] = ("web",), *, shared: bool = True) -> None:
        access = f"owners: [{self.keys['me']}, {self.keys['ci']}]\n    updaters: [{self.keys['updater']}]"
        access = f"\n  access:\n    {access}\n    readers: [{self.keys['reader']}]" if shared else ""
        text = mesh_text(services, env={"global": {"X": value}})
        text = text.replace("cas.example.org", "local").replace("namespace: shop", f"namespace: shop{access}")
        (self.folder / "mesh.yaml").write_text(text)

    def apply(self, who: str) -> Outcome:
        (self.folder / "facts").mkdir(exist_ok=True)
        for image in IMAGES:
            (self.folder / "facts" / f"{image.name}.json").write_text(record(image).to_text())
        given = ("--facts", "facts", "--cas-config", self.folder / who, "-t", f"out-{who}")
        return self.run("apply", "-f", "mesh.yaml", "-q", *given)

    def as_(self, who: str, *words: str) -> Outcome:
        return self.run("session", *words, "--cas-config", self.folder / who)


@pytest.fixture
def team(run: Run, project: Path) -> Team:
    return Team(run, project)


def test_owners_apply_the_same_mesh_and_each_others_changes(team: Team) -> None:
    team.mesh("1")
    assert "session shop/web: created" in ok(team.apply("me"))
    assert ok(team.apply("ci")).count("unchanged (CAS") == 2
    team.mesh("2", ("web", "db"))
    done = ok(team.apply("ci"))
    assert "session shop/web: updated" in done and "session shop/db: created" in done
    for name, owner in (("shop/web", "me"), ("shop/db", "ci")):
        session = parse_session(ok(team.as_("me", "read", name)))
        mine = ok(team.run("self", "show-certificate", "--cas-config", team.folder / owner))
        assert str(session.creator).strip() == mine.strip(), "who uploads first stays the creator"
    team.mesh("3", ("web", "db"))
    assert ok(team.apply("me")).count("updated") == 2
    team.mesh("4", ("web", "db"), shared=False)
    assert "session shop/web: updated" in ok(team.apply("me"))
    assert team.as_("me", "read", "shop/web").code == 0
    assert team.as_("ci", "read", "shop/web").code == 6


def test_updaters_and_readers_do_what_they_may(team: Team) -> None:
    team.mesh("1")
    ok(team.apply("me"))
    assert team.as_("reader", "read", "shop/web").code == team.as_("reader", "list", "shop").code == 0
    assert ok(team.apply("reader")).count("unchanged (CAS") == 2
    team.mesh("2")
    assert team.apply("reader").code == 6
    assert "session shop/web: updated" in ok(team.apply("updater"))
    team.mesh("2", ("web", "db"))
    refused = team.apply("updater")
    assert refused.code == 6 and "create_sessions" in refused.err


def test_who_is_not_named_is_refused(team: Team) -> None:
    team.mesh("1")
    ok(team.apply("me"))
    done = team.apply("stranger")
    assert done.code == 6 and team.keys["stranger"] in done.err
    for words in (("read", "shop/web"), ("list", "shop")):
        assert team.as_("stranger", *words).code == 6


def test_owners_have_the_sessions_of_the_images_too(team: Team) -> None:
    (image,) = (given for given in IMAGES if given.name == "web")
    mine = LocalCas(cas_directory(), CasConfig(team.folder / "me"))
    publish_facts(mine, image, None)
    assert team.as_("ci", "read", image.image_session).code == 6
    team.mesh("1")
    assert f"session {image.image_session}: updated" in ok(team.apply("me"))
    assert f"session {image.image_session}: unchanged" in ok(team.apply("updater"))
    theirs = LocalCas(cas_directory(), CasConfig(team.folder / "ci"))
    newer = image.model_copy(update={"measurement": "cd" * 32})
    assert publish_facts(theirs, newer, None).outcome == "updated"
    assert read_facts(mine, image.image_session) == newer
    for who in ("reader", "stranger"):
        assert team.as_(who, "read", image.image_session).code == 6, "it may hold the key of encrypted files"


def test_what_is_no_key_hash_is_a_fault_with_its_place(team: Team) -> None:
    team.keys["me"] = "somebody"
    team.mesh("1")
    done = team.apply("me")
    assert done.code == 3 and "policy.access.owners[0]: expected a key hash" in done.err
    assert "sconectl identity show" in done.err
