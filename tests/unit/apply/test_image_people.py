"""People of a mesh and the sessions of its images: who may read and update them, whoever built the image."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.builders import facts
from fakes.stores import MemorySessionStore
from fakes.workspace import FakeKeys

from sconectl.apply.image_sessions import publish_facts, read_facts, share_image
from sconectl.cas.client.identity import CasConfig
from sconectl.errors import CasRefused
from sconectl.plan.mesh.mesh import ImageShare
from sconectl.policy.reading import AccessPolicy, parse_session

PLAIN, SEALED = facts("web"), facts("web", dirs=["/app"])
KEY = FakeKeys().image_key("registry.example.org/web")


class Team:
    """One CAS, and stores on it for each of several people."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def store(self, who: str) -> MemorySessionStore:
        return MemorySessionStore(self.folder, who)

    def key(self, who: str) -> str:
        return CasConfig(self.folder / "identities" / who).identity().key_hash

    def policy(self) -> AccessPolicy:
        stored = self.store("me").read(PLAIN.image_session)
        assert stored is not None
        policy = parse_session(stored.text).access_policy
        assert isinstance(policy, AccessPolicy)
        return policy


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


@pytest.mark.parametrize("image", [PLAIN, SEALED], ids=["plain", "with encrypted files"])
def test_a_colleague_works_with_the_image_after_the_owner_shared_it(team: Team, image: object) -> None:
    found = SEALED if image is SEALED else PLAIN
    sealed = KEY if found is SEALED else None
    publish_facts(team.store("me"), found, sealed)
    share = ImageShare(found, ("shop/web",) if sealed else (), (team.key("ci"),))
    with pytest.raises(CasRefused):
        read_facts(team.store("ci"), found.image_session)
    done = share_image(team.store("me"), share, FakeKeys())
    assert done is not None and done.outcome == "updated"
    assert read_facts(team.store("ci"), found.image_session) == found
    again = share_image(team.store("ci"), share, FakeKeys("elsewhere"))
    assert again is not None and again.outcome == "unchanged"
    newer = found.model_copy(update={"measurement": "cd" * 32})
    assert publish_facts(team.store("ci"), newer, sealed).outcome == "updated"
    assert read_facts(team.store("me"), found.image_session) == newer
    assert team.policy().read == team.policy().update == ("CREATOR", team.key("ci"))
    with pytest.raises(CasRefused):
        read_facts(team.store("stranger"), found.image_session)


def test_people_are_added_and_facts_stay(team: Team) -> None:
    publish_facts(team.store("me"), PLAIN, None)
    older = PLAIN.model_copy(update={"measurement": "cd" * 32})
    for people in (("ci",), ("colleague", "ci")):
        share_image(team.store("me"), ImageShare(older, (), tuple(map(team.key, people))), FakeKeys())
    assert team.policy().read == ("CREATOR", team.key("ci"), team.key("colleague"))
    assert read_facts(team.store("me"), PLAIN.image_session) == PLAIN


def test_a_policy_that_somebody_gave_it_stays(team: Team) -> None:
    store = team.store("me")
    publish_facts(store, PLAIN, None)
    stored = store.read(PLAIN.image_session)
    assert stored is not None
    given = stored.text.replace("  read:\n    - CREATOR\n", '  read:\n    - ANY\n  list_sessions:\n    - "NONE"\n')
    store.put(given.replace("predecessor: null", f"predecessor: {stored.hash}"))
    publish_facts(store, PLAIN.model_copy(update={"measurement": "cd" * 32}), None)
    share_image(store, ImageShare(PLAIN, (), (team.key("ci"),)), FakeKeys())
    policy = team.policy()
    assert (policy.read, policy.update) == (("ANY",), ("CREATOR", team.key("ci")))
    assert policy.list_sessions == ("NONE",)


def test_sessions_that_are_not_there_or_not_ours_are_left_alone(team: Team) -> None:
    share = ImageShare(PLAIN, (), (team.key("ci"),))
    assert share_image(team.store("me"), share, FakeKeys()) is None
    publish_facts(team.store("me"), PLAIN, None)
    assert share_image(team.store("ci"), share, FakeKeys()) is None
    assert team.policy().update == ("CREATOR",)
