"""Building an image: layers that the engine has are not loaded again, and what the configuration says."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

import pytest
from fakes.builders import service_plan, service_text
from fakes.engine import PYTHON, image, of_layers
from fakes.roots import elf_file

from sconectl.errors import BuildFailed
from sconectl.plan.facts.image_label import LABEL, ImageLabel

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
