"""Learning facts: from files without asking anybody, else checked against the label of the image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from fakes.builders import facts, mesh_text, read_mesh, record
from fakes.engine import FakeEngine, FakeRegistry, Image, image
from fakes.stores import MemorySessionStore
from fakes.workspace import FakeKeys

from sconectl.apply.gather import FactSources, gather_facts
from sconectl.apply.image_sessions import publish_facts
from sconectl.apply.records import read_records
from sconectl.errors import BuildFailed, EngineUnreachable, PlanImpossible, UsageError
from sconectl.plan.facts.declaration import DECLARATION, declare
from sconectl.plan.facts.image_facts import BuildRecord, ImageFacts, Signer
from sconectl.plan.facts.image_label import LABEL, ImageLabel
from sconectl.protect.signature import mrsigner_of
from sconectl.text.findings import Finding

WEB = facts("web", environment={"local": [{"name": "A", "value": "hunter2"}]})
REFERENCE = "registry.example.org/web:1"


def unexpected() -> NoReturn:
    pytest.fail("nobody had to be asked")


def built(label: str | ImageFacts) -> Image:
    return image(
        {}, Labels={LABEL: ImageLabel.of(label, simulated=True).text() if isinstance(label, ImageFacts) else label}
    )


class World:
    def __init__(self, store: MemorySessionStore) -> None:
        self.engine = FakeEngine()
        self.remote: dict[str, Image] = {}
        self.registry = FakeRegistry(self.remote)
        self.store = store
        self.given: tuple[BuildRecord, ...] = ()
        self.built: tuple[BuildRecord, ...] = ()

    def gather(self, services: tuple[str, ...] = ("web",), **changes: Any) -> dict[str, ImageFacts]:
        mesh, manifest = read_mesh(mesh_text(services))
        given = {one.facts.image: one.facts for one in reversed(self.given)}
        sources = FactSources(given, self.built, lambda: self.engine, lambda: self.registry, lambda: self.store)
        return gather_facts(mesh, manifest.document, replace(sources, **changes))

    def refused(self, services: tuple[str, ...] = ("web",), **changes: Any) -> str:
        with pytest.raises(PlanImpossible) as caught:
            self.gather(services, **changes)
        assert caught.value.exit_code == 4
        (finding,) = caught.value.findings
        assert (finding.code, finding.path) == ("SC2008", "services[0].image")
        assert finding.position.line == 11
        assert finding.hint
        assert "hunter2" not in str(finding)
        return finding.message


@pytest.fixture
def world(store: MemorySessionStore) -> World:
    return World(store)


def test_given_facts_ask_nobody(world: World) -> None:
    world.given = (record(facts("other")), record(WEB))
    assert world.gather(engine=unexpected, registry=unexpected, image_store=unexpected) == {"web": WEB}


def test_an_image_without_a_tag_is_the_latest(world: World) -> None:
    latest = facts("web", to="registry.example.org/web")
    mesh, manifest = read_mesh(mesh_text().replace("web:1", "web"))
    sources = FactSources({latest.image: latest}, (), unexpected, unexpected, unexpected)
    assert gather_facts(mesh, manifest.document, sources) == {"web": latest}


def test_target_images_has_to_agree_with_the_label(world: World) -> None:
    world.engine.images[REFERENCE] = built(WEB)
    world.built = (record(WEB),)
    assert world.gather(registry=unexpected, image_store=unexpected) == {"web": WEB}


def test_another_image_under_the_same_tag_is_not_believed(world: World) -> None:
    other = facts("web", command="python3 other.py")
    world.engine.images[REFERENCE] = built(other)
    world.built = (record(WEB),)
    message = world.refused()
    where = f"session {WEB.image_session} of CAS fake"
    looked = "its label (in the container engine) was found, and target/images knows another build; "
    assert f"{looked}{where}, where this mesh looks for them, has none" in message
    publish_facts(world.store, WEB, None)
    assert f"{where} describes another build" in world.refused()
    publish_facts(world.store, other, None)
    assert world.gather() == {"web": other}


def test_the_image_session_is_asked_where_no_file_is(world: World) -> None:
    world.engine.images[REFERENCE] = built(WEB)
    publish_facts(world.store, WEB, None)
    assert world.gather() == {"web": WEB}
    assert world.store.read_log[-1] == WEB.image_session


def test_the_registry_is_asked_where_the_engine_has_no_image(world: World) -> None:
    world.remote[REFERENCE] = built(WEB)
    world.built = (record(WEB),)
    assert world.gather() == {"web": WEB}
    assert world.engine.calls == [f"inspect {REFERENCE}"]
    world.engine.down = True
    assert world.gather() == {"web": WEB}


def test_an_image_that_is_not_built_says_both_reasons(world: World) -> None:
    message = world.refused()
    assert f"the image {REFERENCE} was not found" in message
    assert "the container engine has no image of this name; the registry has no image of this name" in message
    world.engine.down = True
    world.registry.failure = lambda: BuildFailed("the registry does not answer")
    message = world.refused()
    assert "no container engine can be reached (start it); the registry does not answer" in message


def test_no_engine_at_all(world: World) -> None:
    def none() -> NoReturn:
        raise EngineUnreachable("no container engine can be reached", hint="start it")

    assert "no container engine can be reached" in world.refused(engine=none)


@pytest.mark.parametrize(
    "label",
    ["", "{}", "[]", "null", "no json", '{"format": 1}', '"facts_digest"', "[" * 100_000],
)
def test_an_image_that_was_not_made_by_sconectl(world: World, label: str) -> None:
    world.engine.images[REFERENCE] = built(label)
    world.built = (record(WEB),)
    assert "cannot be understood" in world.refused()
    world.engine.images[REFERENCE] = image({})
    assert "is no confidential image of sconectl" in world.refused()


def test_an_image_of_another_version_says_so(world: World) -> None:
    label = json.loads(ImageLabel.of(WEB, simulated=True).text()) | {"format": 1}
    world.engine.images[REFERENCE] = built(json.dumps(label))
    world.built = (record(WEB),)
    assert "cannot be understood" in world.refused()


@pytest.mark.parametrize("digest", ["é", "\ud800", 5, None, "", ["x"]])
@pytest.mark.parametrize("session", ["", "../x", "é", None, 5])
def test_a_hostile_label_is_no_traceback(world: World, digest: object, session: object) -> None:
    world.engine.images[REFERENCE] = built(json.dumps({"facts_digest": digest, "image_session": session}))
    world.built = (record(WEB),)
    world.refused()


def test_an_unreachable_cas_is_named(world: World) -> None:
    world.engine.images[REFERENCE] = built(WEB)
    world.store.unreachable = True
    assert "the CAS of this mesh did not tell them: no CAS answers at fake" in world.refused(folder="out/images")
    assert "out/images does not know it" in world.refused(folder="out/images")


def test_a_session_that_holds_something_else_is_no_traceback(world: World) -> None:
    world.engine.images[REFERENCE] = built(WEB)
    for value in ("no facts", "{}"):
        stored = world.store.read(WEB.image_session)
        predecessor = f"predecessor: {stored.hash}\n" if stored else ""
        world.store.put(
            f"name: {WEB.image_session}\nversion: 0.3.10\n{predecessor}"
            "access_policy: {read: [CREATOR], update: [CREATOR]}\n"
            f"secrets: [{{name: facts, kind: ascii, value: '{value}'}}]\n"
        )
        assert f"session {WEB.image_session} of CAS fake, where this mesh looks for them, has none" in world.refused()


def test_a_record_of_another_version_says_so(tmp_path: Path) -> None:
    older = json.loads(record(WEB).to_text())
    older["facts"]["format"] = 1
    (tmp_path / "web.json").write_text(json.dumps(older))
    with pytest.raises(UsageError, match="built by another version of sconectl") as caught:
        read_records(tmp_path)
    assert "apply -f <service manifest>" in caught.value.hint


def test_every_unknown_image_is_named_at_once(world: World) -> None:
    world.engine.images[REFERENCE] = built(WEB)
    world.built = (record(WEB),)
    with pytest.raises(PlanImpossible) as caught:
        world.gather(("a", "web", "b"))
    assert [f.path for f in caught.value.findings] == ["services[0].image", "services[2].image"]


def test_records_are_read_from_a_file_or_a_directory(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.json").write_text(record(facts(name)).to_text())
    (tmp_path / "note.txt").write_text("x")
    assert [entry.facts.name for entry in read_records(tmp_path)] == ["a", "b"]
    assert [entry.facts.name for entry in read_records(tmp_path / "b.json")] == ["b"]


@pytest.mark.parametrize("text", ["", "{}", "null", "\xff", '{"facts": {"salt": "hunter2"}}'])
def test_records_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    file = tmp_path / "web.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as caught:
        read_records(tmp_path)
    assert str(file) in caught.value.message
    assert "hunter2" not in caught.value.message
    with pytest.raises(UsageError):
        read_records(tmp_path / "gone.json")


KEY = FakeKeys().signing_key()
ME = mrsigner_of(KEY)
PUBLIC = facts("web", public=True, environment={"global": [{"name": "A", "value": "b"}]}).model_copy(
    update={"signer": Signer(mrsigner=ME, isvprodid=0, isvsvn=0)}
)
DECLARED = PUBLIC.model_copy(update={"salt": ""})


def public(given: ImageFacts = PUBLIC, text: str = "") -> Image:
    label = ImageLabel.of(given, simulated=True).text()
    return image({}, Labels={LABEL: label, DECLARATION: text or declare(given, KEY)})


def with_signer(signer: str) -> str:
    return mesh_text().replace(f'"{REFERENCE}"', f'"{REFERENCE}"\n    signer: "{signer}"')


def gathered(world: World, text: str, **changes: Any) -> tuple[dict[str, ImageFacts], list[Finding]]:
    mesh, manifest = read_mesh(text)
    told: list[Finding] = []
    sources = FactSources({}, world.built, lambda: world.engine, lambda: world.registry, lambda: world.store)
    sources = replace(sources, remark=told.append, **changes)
    return gather_facts(mesh, manifest.document, sources), told


def test_a_public_image_is_known_by_its_declaration(world: World) -> None:
    world.remote[REFERENCE] = public()
    for reachable in (True, False):
        world.store.unreachable = not reachable
        found, [told] = gathered(world, mesh_text())
        assert found == {"web": DECLARED}
        assert (told.severity, told.code, told.path) == ("warning", "SC2028", "services[0].image")
        assert f"signer: {ME}" in told.hint


def test_nearer_sources_go_before_the_declaration(world: World) -> None:
    world.engine.images[REFERENCE] = public()
    world.built = (record(PUBLIC),)
    assert gathered(world, mesh_text()) == ({"web": PUBLIC}, [])
    world.built = ()
    publish_facts(world.store, PUBLIC, None)
    assert gathered(world, mesh_text()) == ({"web": PUBLIC}, [])


def test_a_signer_that_is_named_is_demanded(world: World) -> None:
    other = "5c" * 32
    world.engine.images[REFERENCE] = public()
    assert gathered(world, with_signer(ME.upper())) == ({"web": DECLARED}, [])
    assert gathered(world, mesh_text(), signers=(other, ME)) == ({"web": DECLARED}, [])
    for text, signers, path in (
        (with_signer(other), (ME,), "services[0].signer"),
        (mesh_text(), (other,), "services[0].image"),
    ):
        with pytest.raises(PlanImpossible) as caught:
            gathered(world, text, signers=signers)
        (finding,) = caught.value.findings
        assert (finding.code, finding.path) == ("SC2027", path) and ME in finding.message


def test_a_named_signer_counts_wherever_the_facts_come_from(world: World) -> None:
    world.engine.images[REFERENCE] = built(WEB)
    world.built = (record(WEB),)
    with pytest.raises(PlanImpossible) as caught:
        gathered(world, with_signer(ME))
    (finding,) = caught.value.findings
    assert finding.code == "SC2027" and "not signed" in finding.message
    assert gathered(world, mesh_text(), signers=(ME,)) == ({"web": WEB}, [])  # only about declarations


def test_a_declaration_that_is_not_valid_is_told(world: World) -> None:
    world.engine.images[REFERENCE] = public(text=declare(PUBLIC, KEY).replace("A", "B", 1))
    message = world.refused()
    assert "has none; the public declaration of registry.example.org/web:1 is not valid" in message
