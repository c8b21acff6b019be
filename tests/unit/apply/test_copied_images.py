"""Copies of images: pushed once, signed once, in one layer if that is wanted, and never of another image."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.builders import TOOLCHAINS, facts, mesh_text, read_mesh
from fakes.engine import FakeRegistry

from sconectl.adapters.image_signer import ImageSigner
from sconectl.apply.copies.copied_images import Copying
from sconectl.errors import BuildFailed, PlanImpossible, UsageError
from sconectl.plan.facts.naming import copied_name
from sconectl.plan.mesh.mesh import ImageCopy, MeshInput, plan_mesh

from .one_project import IMAGE, Bench

TO = "copies.example.org/shop/web:1"


class Copier:
    def __init__(self, bench: Bench) -> None:
        self.bench, self.signed = bench, list[str]()
        self.measurement = bench.apply().facts.measurement
        self.registry = FakeRegistry(bench.engine.remote)
        self.copying = Copying(
            bench.engine,
            self.registry,
            bench.root / "cache",
            lambda _text: None,
            lambda _text: None,
            self.signed.append,
        )

    @property
    def wanted(self) -> ImageCopy:
        return ImageCopy(IMAGE, TO, self.measurement)


@pytest.fixture
def copier(bench: Bench) -> Copier:
    return Copier(bench)


def test_a_copy_is_the_same_image(copier: Copier) -> None:
    done = copier.copying.copy(copier.wanted, squash=False)
    engine = copier.bench.engine
    assert engine.remote[TO].info == engine.images[IMAGE].info
    assert (done.changed, done.signed) == (True, True)
    assert copier.signed == [f"copies.example.org/shop/web@{done.digest}"]


def test_what_is_there_is_not_signed_again(copier: Copier) -> None:
    first = copier.copying.copy(copier.wanted, squash=False)
    again = replace(copier.copying, made={TO: first.digest}).copy(copier.wanted, squash=False)
    assert (again.digest, again.changed, again.signed) == (first.digest, False, False)
    assert len(copier.signed) == 1


def test_a_signature_that_failed_is_made_by_the_next_run(copier: Copier) -> None:
    def refuse(_image: str) -> None:
        raise BuildFailed("no")

    with pytest.raises(BuildFailed):
        replace(copier.copying, sign=refuse).copy(copier.wanted, squash=False)
    assert copier.copying.copy(copier.wanted, squash=False).signed


def test_an_image_that_only_the_registry_has_is_pulled(copier: Copier) -> None:
    engine = copier.bench.engine
    engine.remote[IMAGE] = engine.images.pop(IMAGE)
    assert copier.copying.copy(copier.wanted, squash=False).changed
    assert f"pull {IMAGE}" in engine.calls


def test_another_image_of_that_name_is_not_copied(copier: Copier) -> None:
    pushes = copier.bench.engine.count("push")
    with pytest.raises(PlanImpossible, match="another one than the mesh was compiled for"):
        copier.copying.copy(replace(copier.wanted, measurement="00" * 32), squash=False)
    assert copier.bench.engine.count("push") == pushes and not copier.signed


def test_one_layer_has_everything_and_nothing_more(copier: Copier) -> None:
    copier.copying.copy(copier.wanted, squash=True)
    engine = copier.bench.engine
    before, after = engine.images[IMAGE], engine.remote[TO]
    assert len(before.layers) > 1 and len(after.layers) == 1
    assert {path: entry for path, entry in after.root.items() if path != "/"} == {
        path: entry for path, entry in before.root.items() if path != "/"
    }
    assert after.info.config == before.info.config and after.info.labels == before.info.labels
    loads = engine.count("load")
    again = copier.copying.copy(copier.wanted, squash=True)
    assert engine.count("load") == loads + 1 and again.digest  # the same bytes, so the same id


@pytest.mark.parametrize(
    ("image", "copy"),
    [
        ("registry.example.org/team/web:1", "d.example.org/x/web:1"),
        ("web", "d.example.org/x/web:latest"),
        ("localhost:5000/web", "d.example.org/x/web:latest"),
        ("a/web:1@sha256:" + "ab" * 32, "d.example.org/x/web:1"),
        ("a/web@sha256:" + "ab" * 32, "d.example.org/x/web:sha256-" + "ab" * 32),
    ],
)
def test_names_of_copies(image: str, copy: str) -> None:
    assert copied_name("d.example.org/x", image) == copy


def planned(text: str, *names: str) -> MeshInput:
    mesh, manifest = read_mesh(text)
    known = {service.name: facts(service.name) for service in mesh.services}
    return MeshInput(mesh, manifest.document, known, {}, "rel", "0", toolchains=TOOLCHAINS)


def test_the_chart_names_the_copies() -> None:
    repo = "repo: {destination: d.example.org/x}\n"
    plan = plan_mesh(planned(mesh_text(["web", "db"]) + repo))
    assert [service.image for service in plan.chart.services] == ["d.example.org/x/web:1", "d.example.org/x/db:1"]
    assert [(copy.image, copy.to) for copy in plan.copies] == [
        ("registry.example.org/web:1", "d.example.org/x/web:1"),
        ("registry.example.org/db:1", "d.example.org/x/db:1"),
    ]
    stays = plan_mesh(planned(mesh_text() + repo.replace("}", ", push: false}")))
    assert stays.copies == () and stays.chart.services[0].image == "registry.example.org/web:1"


def test_two_copies_of_one_name() -> None:
    text = mesh_text(["web", "db"]).replace("registry.example.org/db:1", "other.example.org/web:1")
    with pytest.raises(PlanImpossible) as caught:
        plan_mesh(planned(text + "repo: {destination: d.example.org/x}\n"))
    assert [(f.code, f.path) for f in caught.value.findings] == [("SC2032", "services[1].image")]


def test_a_command_without_its_image_is_none() -> None:
    with pytest.raises(UsageError, match=r"has no \{image\}"):
        ImageSigner(("cosign", "sign"), "k", lambda _text: None)
    with pytest.raises(BuildFailed, match="there is no program no-such-program"):
        ImageSigner(("no-such-program", "{image}"), "k", lambda _text: None)
