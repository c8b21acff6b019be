"""A chart as an artifact: the same files give the same bytes, and Helm reads them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import helm_python as helm
import pytest
from fakes.builders import MEASUREMENT, compiled, facts
from fakes.engine import FakeEngine, FakeRegistry, image
from fakes.workspace import MemoryWorkspace

from sconectl.apply.copies.published_chart import chart_artifact
from sconectl.apply.copies.push import chart_in, push_chart, push_images
from sconectl.artefacts.chart import render_chart
from sconectl.errors import BuildFailed, PlanImpossible, Refused
from sconectl.plan.facts.image_label import ImageLabel

FILES = render_chart(compiled(facts()).chart)


def quiet(_text: str) -> None:
    pass


def test_helm_reads_what_is_published(tmp_path: Path) -> None:
    chart = chart_artifact(FILES)
    assert chart_artifact(dict(reversed(list(FILES.items())))).artifact == chart.artifact
    packed = tmp_path / "chart.tgz"
    packed.write_bytes(chart.artifact.content)
    with tarfile.open(fileobj=io.BytesIO(chart.artifact.content)) as tar:
        assert tar.getnames()[0] == f"{chart.name}/Chart.yaml"
        assert {entry.mtime for entry in tar} == {0}
    with helm.Chart.load(str(packed)) as loaded:
        assert dict(loaded.render({}, name="r", namespace="n"))
    assert json.loads(chart.artifact.config)["version"] == chart.version


def test_a_tag_has_no_plus() -> None:
    chart = chart_artifact({"Chart.yaml": b"name: web\nversion: 1.0.0+a.b\n"})
    assert chart.reference("r.example.org/x") == "r.example.org/x/web:1.0.0_a.b"


@pytest.mark.parametrize("files", [{}, {"Chart.yaml": b"["}, {"Chart.yaml": b"a"}, {"Chart.yaml": b"name: x"}])
def test_no_chart(files: dict[str, bytes]) -> None:
    with pytest.raises(PlanImpossible, match="there is no chart"):
        chart_artifact(files)


def test_a_version_is_not_replaced() -> None:
    registry = FakeRegistry({})
    chart = chart_artifact(FILES)
    assert push_chart(chart, "r/x", registry, quiet).changed
    assert not push_chart(chart, "r/x", registry, quiet).changed
    other = chart_artifact({**FILES, "more": b"x"})
    with pytest.raises(Refused, match="another content"):
        push_chart(other, "r/x", registry, quiet)


def test_a_published_chart_names_images_by_digest(tmp_path: Path) -> None:
    workspace, image = MemoryWorkspace(), facts().image
    own = b'image: "r/own:1"\nsidecar:\n  image: "r/web:1"\n# image: "r/web:1"\n'
    workspace.write({**{f"helm/{path}": text for path, text in FILES.items()}, "helm/charts/own/values.yaml": own})
    digests = {
        (image, MEASUREMENT): f"sha256:{'d' * 64}",
        ("r/own:1", ""): "sha256:1",
        ("r/own:1", MEASUREMENT): "sha256:1",
    }
    packed = tmp_path / "chart.tgz"
    chart = chart_in(workspace, digests)
    packed.write_bytes(chart.artifact.content)
    with tarfile.open(packed) as tar:
        texts = {name: (tar.extractfile(name) or io.BytesIO()).read() for name in tar.getnames()}
    assert f'image: "{image}@sha256:dddd'.encode() in texts[f"{chart.name}/charts/web/values.yaml"]
    assert texts[f"{chart.name}/charts/own/values.yaml"] == own, "it names its images itself"
    again = MemoryWorkspace()
    again.write({f"helm/{path.partition('/')[2]}": text for path, text in texts.items()})
    assert chart_in(again, digests).artifact == chart.artifact, "it has one digest only"
    as_written = chart_artifact({**FILES, "charts/own/values.yaml": own}).artifact
    assert chart_in(workspace, {}).artifact == as_written
    assert chart_in(workspace, {(image, "cd" * 32): "sha256:2"}).artifact == as_written, "another image has the tag"


def test_images_are_pushed_where_they_are_missing() -> None:
    engine = FakeEngine(images={"r/a:1": image({"/a": b"1"}), "r/b:1": image({"/b": b"2"})})
    registry = FakeRegistry(engine.remote)
    engine.remote["r/b:1"] = engine.images["r/b:1"]
    engine.remote["r/c:1"] = image({"/c": b"3"})
    names = ["r/a:1", "r/b:1", "r/c:1", "r/a:1"]
    done = list(push_images(names, engine, registry, quiet, quiet))
    assert [(one.reference, one.changed) for one in done] == [("r/a:1", True), ("r/b:1", False), ("r/c:1", False)]
    assert {one.measurement for one in done} == {""}
    assert [one.digest for one in done] == [registry.artifact_digest(one.reference) for one in done]
    with pytest.raises(BuildFailed, match="r/d:1"):
        list(push_images(["r/d:1"], engine, registry, quiet, quiet))


def test_what_is_pushed_says_how_it_measures() -> None:
    label = ImageLabel.of(facts(), simulated=True)
    here = image({"/a": b"1"}, Labels=label.among({}))
    registry = FakeRegistry({"r/there:1": here})
    done = list(push_images(["r/here:1", "r/there:1"], FakeEngine(images={"r/here:1": here}), registry, quiet, quiet))
    assert [one.measurement for one in done] == [MEASUREMENT] * 2
