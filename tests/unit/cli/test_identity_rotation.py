"""`sconectl identity rotate`: the new key has what the old one had, at every moment, and in the end alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sconectl.cas.client import identity as identity_module
from sconectl.cas.client import key_rotation
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.disk import private_files
from sconectl.errors import CasUnreachable
from sconectl.policy.diff.diff import differences
from sconectl.policy.reading import Session, parse_session
from sconectl.policy.serialized import canonical

from .conftest import Outcome, Run

H = "0a" * 32


def ok(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.err
    return outcome.out


def create(run: Run, text: str, *words: str) -> None:
    Path("session.yaml").write_text(text)
    ok(run("session", "create", "session.yaml", *words))


class World:
    """A person with sessions, an older copy of the person's identity, and a colleague."""

    def __init__(self, run: Run, project: Path) -> None:
        self.run, self.home, self.project = run, project.parent / "home" / ".cas", project
        self.old = ok(run("identity", "new")).split()[2]
        self.colleague = ok(run("identity", "new", "--cas-config", project / "colleague")).split()[2]
        (project / "copy.pem").write_bytes((self.home / "identity.pem").read_bytes())
        create(run, f'name: shop\nversion: "0.3.10"\naccess_policy: {{update: [CREATOR, {self.colleague}]}}\n')
        create(run, 'name: shop/web\nversion: "0.3.10"\nsecrets: [{name: s, kind: ascii}]\n')
        both = f"read: [CREATOR, {self.old}], update: [CREATOR, {self.old}]"
        theirs = ("--cas-config", str(project / "colleague"))
        create(run, f'name: shop/theirs\nversion: "0.3.10"\naccess_policy: {{{both}}}\n', *theirs)
        self.before = {name: self.session(name) for name in ("shop", "shop/web", "shop/theirs")}

    def session(self, name: str, *words: str) -> Session:
        return parse_session(ok(self.run("session", "read", name, *words)))

    def may(self, *words: str) -> list[int]:
        """Return how reading each session ends."""
        return [self.run("session", "read", name, *words).code for name in self.before]

    @property
    def as_old(self) -> tuple[str, str]:
        return ("--identity", str(self.project / "copy.pem"))


@pytest.fixture
def world(run: Run, project: Path) -> World:
    return World(run, project)


def test_a_rotation_from_end_to_end(world: World, run: Run) -> None:
    begun = run("identity", "rotate")
    new = ok(begun).strip()
    assert new != world.old and f"session shop/web: {new} may do what {world.old} may" in begun.err
    shown = ok(run("identity", "show"))
    assert shown.split()[2] == new == ok(run("self", "show-key-hash")).strip()
    assert shown.splitlines()[-1].split() == ["old", "key:", world.old]
    assert world.may() == world.may(*world.as_old) == [0, 0, 0]
    assert (world.home / "old-identity.pem").stat().st_mode & 0o777 == 0o600
    done = run("identity", "rotate", "--finish")
    assert ok(done).strip() == new
    assert world.may() == [0, 0, 0] and world.may(*world.as_old) == [6, 6, 6]
    after = {name: world.session(name) for name in world.before}
    for name in ("shop", "shop/web"):
        assert differences(world.before[name], after[name]) == []
    assert (
        after["shop/theirs"].access_policy
        == parse_session(
            f'name: x\nversion: "0.3"\naccess_policy: {{read: [CREATOR, {new}], update: [CREATOR, {new}]}}'
        ).access_policy
    )
    assert world.old not in ok(run("identity", "show"))
    assert sorted(path.name for path in world.home.glob("*.pem")) == ["identity.pem"]
    assert "sconectl_rotated_in" not in json.loads((world.home / "config.json").read_text())
    create(run, 'name: shop/new\nversion: "0.3.10"\n')
    again = run("identity", "rotate", "--finish")
    assert again.code == 2 and "no identity is being rotated" in again.err


def test_a_new_identity_that_was_taken_out_meanwhile_is_let_in_again(world: World, run: Run) -> None:
    ok(run("identity", "rotate"))
    text = 'name: shop/web\nversion: "0.3.10"\nsecrets: [{name: s, kind: ascii}]\n'
    Path("as-applied.yaml").write_text(text)
    ok(run("session", "update", "as-applied.yaml"))  # CREATOR is still the old key
    assert world.may() == [0, 6, 0]
    ok(run("identity", "rotate", "--finish"))
    assert world.may() == [0, 0, 0] and world.may(*world.as_old) == [6, 6, 6]


STEPS = ("create_private", "config.json", "identity.pem", "unlink")


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_switch_is_done_again(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    config = CasConfig(world.home)
    new = config.next_identity().key_hash

    def fails(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def writes(path: Path, content: bytes) -> None:
        if path.name == step:
            raise KeyboardInterrupt
        private_files.write_private(path, content)

    with monkeypatch.context() as patch:
        if step == "unlink":
            patch.setattr(Path, step, fails)
        elif step == "create_private":
            patch.setattr(identity_module, step, fails)
        else:
            patch.setattr(identity_module, "write_private", writes)
        with pytest.raises(KeyboardInterrupt):
            config.switch()
    kept = {run("identity", "show", "--identity", file).out.split()[2] for file in world.home.glob("*identity.pem")}
    assert {world.old, new} <= kept
    assert ok(run("identity", "rotate")).strip() == new
    assert world.may() == [0, 0, 0]
    ok(run("identity", "rotate", "--finish"))
    assert world.may() == [0, 0, 0] and world.may(*world.as_old) == [6, 6, 6]


@pytest.mark.parametrize("finish", [False, True])
@pytest.mark.parametrize("taken", [0, 1, 2])
def test_an_interrupted_rotation_is_done_again(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch, taken: int, finish: bool
) -> None:
    if finish:
        ok(run("identity", "rotate"))
    left = [taken]

    def read_back(session: Session) -> str:
        left[0] -= 1
        if left[0] < 0:
            raise CasUnreachable("no CAS answers", hint="start one")
        return canonical.read_back(session)

    words = ("--finish",) if finish else ()
    with monkeypatch.context() as patch:
        patch.setattr(key_rotation, "read_back", read_back)
        assert run("identity", "rotate", *words).code == 6
    assert world.may() == [0, 0, 0], "the identity that is used may do what it could"
    new = ok(run("identity", "rotate", *words)).strip()
    assert new != world.old and world.may() == [0, 0, 0]
    if not finish:
        ok(run("identity", "rotate", "--finish"))
    assert world.may() == [0, 0, 0] and world.may(*world.as_old) == [6, 6, 6]


def test_values_are_not_drawn_anew_unasked(world: World, run: Run) -> None:
    create(run, 'name: shop/key\nversion: "0.3.10"\nsecrets: [{name: k, kind: private-key}]\n')
    before = ok(run("session", "history", "shop/web"))
    refused = run("identity", "rotate")
    assert (refused.code, refused.out) == (7, "") and "k of shop/key" in refused.err
    assert ok(run("session", "history", "shop/web")) == before
    assert ok(run("identity", "show")).split()[2] == world.old
    ok(run("identity", "rotate", "--namespace", "shop/web"))
    assert world.may() == [6, 0, 6]


def test_nothing_is_forgotten_that_was_begun_elsewhere(world: World, run: Run) -> None:
    for namespace in ("shop/web", "shop/theirs", "shop"):
        ok(run("identity", "rotate", "--namespace", namespace))
    assert world.may() == [0, 0, 0]
    ok(run("identity", "rotate", "--finish", "--namespace", "shop/web"))
    assert world.may() == [0, 0, 0] and world.may(*world.as_old) == [6, 6, 6]


def test_what_only_others_can_change_is_said_and_not_lost_unasked(world: World, run: Run) -> None:
    theirs = ("--cas-config", str(world.project / "colleague"))
    policy = f"{{read: [CREATOR, {world.old}], update: [CREATOR]}}"
    create(run, f'name: their-own\nversion: "0.3.10"\naccess_policy: {policy}\n', *theirs)
    begun = run("identity", "rotate")
    assert begun.code == 0 and "only others can change their-own" in begun.err
    refused = run("identity", "rotate", "--finish")
    assert (refused.code, refused.out) == (7, "") and "their-own" in refused.err
    assert (world.home / "old-identity.pem").exists()
    ok(run("identity", "rotate", "--finish", "--yes"))
    assert not (world.home / "old-identity.pem").exists() and world.may() == [0, 0, 0]


def test_namespaces_that_cannot_be_listed(world: World, run: Run) -> None:
    theirs = ("--cas-config", str(world.project / "colleague"))
    create(run, 'name: closed\nversion: "0.3.10"\n', *theirs)
    done = run("identity", "rotate", "--namespace", "closed")
    assert done.code == 6 and "you may not list the sessions in closed" in done.err
    assert ok(run("identity", "show")).split()[2] == world.old


def test_nobody_to_rotate(run: Run, project: Path) -> None:
    done = run("identity", "rotate", "--cas-config", project / "empty")
    assert done.code == 2 and "sconectl identity new" in done.err
    assert not (project / "empty").exists()
