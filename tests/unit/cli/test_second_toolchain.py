"""A toolchain that nothing in sconectl has heard of goes through plan and apply: one class, and one line of wiring."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from fakes.builders import mesh_text, service_text
from fakes.engine import FakeEngine
from ruamel.yaml import YAML

from sconectl.cli import wiring
from sconectl.image.layers.image_archive import ImageLayer
from sconectl.image.layers.root_tree import RootTree
from sconectl.image.layers.saved_image import NativeImage
from sconectl.plan.facts.image_label import LABEL
from sconectl.plan.facts.toolchain_traits import ToolchainTraits
from sconectl.policy.forms.tolerations import HARDWARE
from sconectl.ports import ImageEngine, ImageInfo
from sconectl.toolchains.interface import (
    Assembly,
    Launcher,
    MeasuredImage,
    ProtectedImage,
    Protection,
    Toolchain,
    Workshop,
)

from .conftest import Run

VOLUMES = [{"name": "data", "path": "/data"}]


class Tee:
    """Puts a launcher of one file on top of a native image, and measures the digests of its layers."""

    traits = ToolchainTraits("tee", HARDWARE, sgx=True, volumes=True)
    entrypoint = ("/tee/start",)
    health_command = ("/tee/ask",)
    interpreter = ("/tee/python",)

    def launcher_key(self, base: ImageInfo) -> str:
        return hashlib.sha256(base.id.encode()).hexdigest()

    def has_launcher(self, engine: ImageEngine, base: ImageInfo, cache: Path) -> bool:
        return False

    def launcher(self, base: ImageInfo, workshop: Workshop) -> Launcher:
        file = workshop.work / "tee.tar"
        with tarfile.open(file, "w") as tar:
            folder, start = tarfile.TarInfo("tee"), tarfile.TarInfo("tee/start")
            folder.type, folder.mode, start.size = tarfile.DIRTYPE, 0o755, 5
            tar.addfile(folder)
            tar.addfile(start, io.BytesIO(b"start"))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        return Launcher(ImageLayer(digest, lambda: file), digest)

    def protect(self, image: NativeImage, protection: Protection, assembly: Assembly) -> ProtectedImage:
        native = [ImageLayer(layer.digest, partial(Path, layer.file)) for layer in image.layers]
        layers = [*native, assembly.launcher.layer]
        found = hashlib.sha256("".join(layer.digest for layer in layers).encode()).hexdigest()
        return ProtectedImage(layers, found, found, protection.outside, None, None)

    def measure(self, tree: RootTree) -> MeasuredImage:
        raise NotImplementedError


@pytest.fixture
def second(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with a service that has a volume, and its mesh, where there is a second toolchain."""
    first = list(wiring._toolchains())

    def toolchains() -> Iterator[Toolchain]:
        yield from first
        yield Tee()

    monkeypatch.setattr(wiring, "_toolchains", toolchains)
    (project / "main.py").write_text("print(1)")
    (project / "web.yaml").write_text(service_text("web", copy=["main.py"], volumes=VOLUMES))
    (project / "mesh.yaml").write_text(
        mesh_text(["web"]).replace("cas.example.org", "cas.example.org\n    mode: NoUpload")
    )
    return project


ALL = ("-f", "web.yaml", "-f", "mesh.yaml", "--base-image", "python=base:1", "--toolchain", "tee")


@pytest.mark.usefixtures("second")
def test_images_policies_and_chart_are_those_of_the_toolchain(run: Run, engine: FakeEngine) -> None:
    done = run("apply", *ALL)
    assert done.code == 0, done.err
    assert "toolchain sim" not in done.err and "no hardware" not in done.err
    config = engine.images["registry.example.org/web:1"].info.config
    label = json.loads(config["Labels"][LABEL])
    assert (label["toolchain"], label["simulation"]) == ("tee", False)
    assert config["Entrypoint"] == ["/tee/start"]
    session = YAML(typ="safe").load(Path("target/policies/web.yaml"))
    assert session["security"]["attestation"]["mode"] == HARDWARE
    assert session["services"][0]["attestation"] == [{"mrenclave": [label["measurement"]]}]
    values = YAML(typ="safe").load(Path("target/helm/charts/web/values.yaml"))
    assert values["scone"]["toolchain"] == "tee" and "edmm" in values["scone"]
    chart = YAML(typ="safe").load(Path("target/helm/charts/web/Chart.yaml"))
    assert "sconectl.io/simulation" not in chart["annotations"]


@pytest.mark.usefixtures("second")
def test_a_plan_says_what_the_toolchain_can(run: Run) -> None:
    done = run("plan", *ALL[:2], *ALL[4:])
    assert done.code == 0, done.err
    assert "toolchain tee\n" in done.out and "SIMULATION" not in done.out
    assert "SC2001" not in done.err
    simulated = run("plan", *ALL[:2], *ALL[4:-1], "sim")
    assert "SIMULATION" in simulated.out


@pytest.mark.usefixtures("second")
def test_only_hardware_satisfies_who_requires_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCONECTL_REQUIRE", "hardware")
    assert run("plan", *ALL[:2], *ALL[4:-1], "sim").code == 7
    assert run("plan", *ALL[:2], *ALL[4:]).code == 0


def test_an_image_of_a_toolchain_that_nobody_knows(run: Run, second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("apply", *ALL[:2], *ALL[4:]).code == 0
    monkeypatch.undo()
    monkeypatch.chdir(second)
    done = run("validate", "-f", "mesh.yaml")
    assert done.code != 0
    assert "made with the toolchain tee, which this version does not know" in done.out + done.err
