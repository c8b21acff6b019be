"""Building an image: layers that the engine has are not loaded again, and what the configuration says."""

from __future__ import annotations

import base64
import io
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.builders import service_plan, service_text
from fakes.engine import PYTHON, FakeEngine, image, of_layers
from fakes.roots import elf_file
from fakes.stores import MemorySessionStore

from sconectl.adapters.workspace_disk import DiskWorkspace
from sconectl.errors import BuildFailed
from sconectl.plan.facts.image_label import LABEL, ImageLabel
from sconectl.plan.service.service import ServicePlan

from .one_project import IMAGE, SECRETS, Bench


def layers_in(archive: bytes) -> int:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return sum(name.endswith("/layer.tar") for name in tar.getnames())


def test_only_layers_that_the_engine_lacks_are_loaded(bench: Bench) -> None:
    plan = service_plan(service_text(**SECRETS, dirs=["/app"], run=["write /data/x y"]))
    bench.apply(plan)
    base, image = len(PYTHON.layers), bench.engine.images[IMAGE]
    assert image.layers[:base] == PYTHON.layers
    launcher, first = bench.engine.archives
    assert layers_in(launcher) == 1
    assert layers_in(first) == len(image.layers) - base
    bench.main.write_text("print(2)")
    bench.apply(plan)
    again = bench.engine.images[IMAGE]
    same = [one == two for one, two in zip(image.layers, again.layers, strict=True)].index(False)
    assert same > base
    assert layers_in(bench.engine.archives[-1]) == len(again.layers) - same


def test_an_engine_that_takes_complete_images_only(bench: Bench) -> None:
    bench.engine.complete_only = True
    done = bench.apply()
    assert done.built
    assert layers_in(bench.engine.archives[-1]) == len(bench.engine.images[IMAGE].layers)
    bench.main.write_text("print(2)")
    assert bench.apply().built


def test_an_engine_that_takes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.apply(push=False)
    loads = bench.engine.count("load")
    bench.main.write_text("print(2)")

    def load(_archive: object) -> None:
        bench.engine.calls.append("load")
        raise BuildFailed("the engine did not take the image: no space left on device")

    monkeypatch.setattr(bench.engine, "load", load)
    with pytest.raises(BuildFailed, match="no space left"):
        bench.apply()
    assert bench.engine.count("load") == loads + 2


def test_an_image_for_another_processor_is_refused_before_anything_is_done(bench: Bench) -> None:
    bench.engine.images["base:1"] = of_layers(PYTHON.layers, {}, architecture="arm64")
    with pytest.raises(BuildFailed, match="base:1 is an image for arm64"):
        bench.apply()
    assert {call.split()[0] for call in bench.engine.calls} == {"inspect"}


def test_what_the_configuration_carries_over(bench: Bench) -> None:
    labels = {"org.example.team": "blue", LABEL: "{}", "io.sconectl.other": "x"}
    native = {"User": "7", "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "StopSignal": "SIGINT"}
    bench.engine.images["native:1"] = image(
        {"/bin/app": elf_file()}, env=("A=1",), Labels=labels, **native, Cmd=["/bin/app"], OnBuild=["RUN x"]
    )
    done = bench.apply(service_plan(service_text(kind="sconify_image", from_="native:1", command="/bin/app")))
    config = bench.engine.images[IMAGE].info.config
    assert set(config) == {"Entrypoint", "Labels", "WorkingDir", *native}
    assert config["WorkingDir"] == done.facts.pwd == "/app"
    assert [line.partition(":")[0] for line in bench.remarks if "carried" in line] == ["not carried over"] * 2
    assert {name: config[name] for name in native} == native
    assert config["Labels"] == {"org.example.team": "blue", LABEL: ImageLabel.of(done.facts, simulated=True).text()}
    assert "/data" in done.facts.protected.outside


def test_the_image_says_it_was_made_when_its_base_was(bench: Bench) -> None:
    bench.apply()
    assert bench.engine.images[IMAGE].info.created == "2024-05-06T07:08:09Z"
    bench.epoch = 86_400
    assert bench.apply().built
    assert bench.engine.images[IMAGE].info.created == "1970-01-02T00:00:00Z"
    assert not bench.apply().built


def test_nothing_is_left_in_the_directory_for_temporary_files(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        bench.apply()
        patch.setattr(bench.engine, "refuse_push", True)
        bench.main.write_text("print(2)")
        with pytest.raises(BuildFailed):
            bench.apply()
    assert not list(folder.iterdir())


def everything_else_is_known(bench: Bench) -> None:
    """Convert an image, so that later runs know its layers, and what checks read in its files."""
    bench.engine.images["native:1"] = image({"/app/main": b"#!/bin/app hunter-script\n", "/bin/app": elf_file()})
    bench.apply(converted("first"))
    bench.quiet()
    bench.engine.archives.clear()


def converted(name: str, **changes: object) -> ServicePlan:
    text = service_text(name, kind="sconify_image", from_="native:1", command="/app/main", **changes)
    return service_plan(text)


def made_anew(folder: Path, plan: ServicePlan) -> str:
    """Return the id of an image that is made where nothing is known."""
    folder.mkdir()
    bench = Bench(
        FakeEngine(images={"base:1": PYTHON}),
        MemorySessionStore(folder),
        DiskWorkspace(folder / "target"),
        folder,
    )
    bench.engine.images["native:1"] = image({"/app/main": b"#!/bin/app hunter-script\n", "/bin/app": elf_file()})
    return bench.apply(plan).image


def test_an_image_of_known_layers_is_not_fetched(bench: Bench, tmp_path: Path) -> None:
    everything_else_is_known(bench)
    done = bench.apply(converted("second"))
    assert bench.engine.count("save") == 0
    assert [layers_in(archive) for archive in bench.engine.archives] == [0]
    assert done.image == made_anew(tmp_path / "anew", converted("second"))
    bench.apply(converted("third", dirs=["/app"]))  # another layer than any that is known
    assert bench.engine.count("save") > 0
    assert not any(b"hunter" in layer for layer in bench.engine.images["registry.example.org/third:1"].layers)


def test_any_image_with_known_layers_will_do(bench: Bench) -> None:
    def lose(name: str) -> None:
        bench.engine.remove(bench.engine.images[f"registry.example.org/{name}:1"].info.id)

    everything_else_is_known(bench)
    for number in range(12):  # more than are remembered
        bench.apply(converted(f"other-{number}"))
    bench.apply(converted("second"))
    for name in ("first", *(f"other-{number}" for number in range(12))):
        lose(name)
    bench.apply(converted("third"))
    lose("third")
    bench.apply(converted("fourth"))
    assert bench.engine.count("save") == 0
    lose("second")
    lose("fourth")
    bench.apply(converted("fifth"))
    assert bench.engine.count("save") > 0
    bench.quiet()
    bench.apply(converted("sixth"))
    assert bench.engine.count("save") == 0


def test_an_image_of_known_layers_is_fetched_where_the_engine_lost_them(bench: Bench, tmp_path: Path) -> None:
    everything_else_is_known(bench)
    bench.engine.remove(bench.engine.images["registry.example.org/first:1"].info.id)
    done = bench.apply(converted("second"))
    assert (bench.engine.count("save"), layers_in(bench.engine.archives[-1])) == (1, 2)
    assert done.image == made_anew(tmp_path / "anew", converted("second"))


def test_an_engine_that_loses_layers_at_the_last_moment_gets_all_of_them(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything_else_is_known(bench)
    load = bench.engine.load

    def lose_and_load(archive: Iterator[bytes]) -> str:
        monkeypatch.setattr(bench.engine, "load", load)
        bench.engine.remove(bench.engine.images["registry.example.org/first:1"].info.id)
        return load(archive)

    monkeypatch.setattr(bench.engine, "load", lose_and_load)
    done = bench.apply(converted("second"))
    assert [layers_in(archive) for archive in bench.engine.archives] == [0, 3]
    assert done.image == made_anew(tmp_path / "anew", converted("second"))


def test_nothing_that_gets_encrypted_is_remembered(bench: Bench) -> None:
    line = base64.b64encode(b"#!/bin/app hunter-script\n")
    kept = bench.root / "cache" / "layers"
    bench.engine.images["native:1"] = image({"/app/main": b"#!/bin/app hunter-script\n", "/bin/app": elf_file()})
    bench.apply(converted("first", dirs=["/app"]))
    assert not [file for file in kept.iterdir() if line in file.read_bytes() or b"hunter" in file.read_bytes()]
    bench.apply(converted("second"))
    assert [file for file in kept.iterdir() if line in file.read_bytes()]
