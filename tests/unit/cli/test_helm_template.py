"""`--helm-template DIR`: upstream's folder of templates gives the charts of services that have none of their own."""

from __future__ import annotations

from pathlib import Path

import helm_python as helm
import pytest
from fakes.builders import facts, mesh_text, record

from .conftest import Run

APPLY = ("apply", "-f", "mesh.yaml", "--facts", "facts", "-q", "--dry-run", "--release", "blue")
FOLDER = {
    "Chart.yaml.template": "apiVersion: v2\nname: x\nversion: 0.3.0\n",
    "values.template": 'image: {% raw %}{{image_name}}{% endraw %}\nwho: {{ WHO | default(value="you") | upper }}\n',
    "charts/templates/map.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Chart.Name }}}\n"
    "data: {image: {{ .Values.image | quote }}, who: {{ .Values.who | quote }}}\n",
}


@pytest.fixture(autouse=True)
def templates(project: Path) -> None:
    Path("facts").mkdir()
    for name in ("web", "db"):
        Path(f"facts/{name}.json").write_text(record(facts(name)).to_text())
    Path("mesh.yaml").write_text(mesh_text(["web", "db"], env={"web": {"WHO": "a: b"}}))
    for path, text in FOLDER.items():
        file = project / "templates-genservice" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_every_service_takes_its_chart_from_the_folder(run: Run) -> None:
    mine = Path("mine/templates")
    mine.mkdir(parents=True)
    Path("mine/Chart.yaml").write_text("apiVersion: v2\nname: mine\nversion: 1.0.0\n")
    text = (
        Path("mesh.yaml")
        .read_text()
        .replace('image: "registry.example.org/db:1"', "image: registry.example.org/db:1\n    helm_chart: mine")
    )
    assert "helm_chart" in text
    Path("mesh.yaml").write_text(text)
    done = run(*APPLY, "--helm-template", "templates-genservice")
    assert done.code == 0, done.err
    with helm.Chart.load("target/helm") as chart:
        rendered = dict(chart.render({}, name="blue", namespace="x"))
    [found] = [text for path, text in rendered.items() if path.endswith("map.yaml")]
    assert 'data: {image: "registry.example.org/web:1", who: "A: B"}' in found
    assert 'version: "1.0.0"' in Path("target/helm/charts/db/Chart.yaml").read_text()
    assert (
        run("plan", *APPLY[1:5], "--dry-run", "--release", "blue", "--helm-template", "templates-genservice").code == 0
    )


def test_folders_that_cannot_be_used(run: Run) -> None:
    for given in ("gone", "mesh.yaml"):
        done = run(*APPLY, "--helm-template", given)
        assert (done.code, f"{given}: this is not a directory" in done.err) == (2, True), done.err
    Path("templates-genservice/values.template").write_text("a: {{ WHO")
    done = run(*APPLY, "--helm-template", "templates-genservice")
    assert done.code == 4 and "templates-genservice/values.template:1:1: error SC2016" in done.err
