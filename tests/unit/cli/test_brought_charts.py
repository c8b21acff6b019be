"""`apply --helm-template DIR`: a service brings the chart of its pods, until a mesh names another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.builders import facts, mesh_text, record, service_text

from .conftest import Run

APPLY = ("apply", "-q", "--base-image", "python=base:1", "-n")
SERVICE, MESH = ("-f", "web.yaml"), ("-f", "mesh.yaml", "--release", "demo")
CHART = Path("target/helm/charts/web")
TEMPLATES = {
    "Chart.yaml.template": "apiVersion: v1\napiVersion: v2\nname: {{chartname}}\nversion: 0.2.0\n",
    "values.template": 'session: {% raw %}{{session}}{% endraw %}\nlog: {{SCONE_LOG | default(value="error")}}\n',
    "charts/templates/pod.yaml": "{{ .Values.session }}\n",
}


@pytest.fixture
def folder(project: Path) -> Path:
    """Return a folder of templates; beside it stand a service and its mesh."""
    Path("main.py").write_text("")
    Path("web.yaml").write_text(service_text(copy=["main.py"]))
    Path("mesh.yaml").write_text(mesh_text().replace("cas.example.org", "local"))
    found = project / "templates-genservice"
    for name, text in TEMPLATES.items():
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        (found / name).write_text(text)
    return found


def values(run: Run, *words: str | Path) -> str:
    """Apply something, and return the values of the chart of the service."""
    done = run(*APPLY, *words)
    assert done.code == 0, done.err
    return (CHART / "values.yaml").read_text()


def test_a_service_and_later_its_mesh(run: Run, folder: Path) -> None:
    assert run(*APPLY, *SERVICE, "-h", folder).code == 0
    assert values(run, *MESH) == "session: shop/web\nlog: error\n"
    assert (CHART / "templates" / "pod.yaml").read_text() == "{{ .Values.session }}\n"
    assert "0.2.0" in (CHART / "Chart.yaml").read_text()
    assert run("plan", *MESH, "--detailed-exitcode").code == 0  # nothing would change
    assert run("apply", *MESH, "-o", "yaml").code == 4
    assert run("lock", "--check", *SERVICE, *MESH[:2]).code == 0

    assert run(*APPLY, *SERVICE).code == 0
    assert "configId: shop/web" in values(run, *MESH) and not Path("target/charts/web").exists()


def test_both_in_one_run(run: Run, folder: Path) -> None:
    both = (*SERVICE, *MESH, "--helm-template", "templates-genservice")
    assert "target" in run("plan", *both, "--base-image", "python=base:1").out and not Path("target").exists()
    assert values(run, *both) == "session: shop/web\nlog: error\n"
    assert values(run, *MESH, "-h", folder) == "session: shop/web\nlog: error\n"
    assert run("lock", "--check", *SERVICE, *MESH[:2]).code == 0
    assert "configId: shop/web" in values(run, *SERVICE, *MESH)


def test_the_chart_that_a_mesh_names_wins(run: Run, folder: Path) -> None:
    mine = folder.parent / "mine"
    mine.mkdir()
    (mine / "Chart.yaml").write_text("apiVersion: v2\nname: mine\nversion: 1.0.0\n")
    (mine / "values.yaml").write_text("mine: 1\n")
    Path("mesh.yaml").write_text(Path("mesh.yaml").read_text() + "    helm_chart: mine\n")
    assert values(run, *SERVICE, *MESH, "-h", folder) == "mine: 1\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*SERVICE, "-h", "nowhere"), "nowhere: this is not a directory"),
        ((*SERVICE, "-h", "linked"), "linked: values.template is a link"),
        ((*SERVICE, "-h", "named"), "named: 'x-\\udcff.yaml' is no name in UTF-8"),
    ],
)
def test_what_is_refused_before_anything_is_done(run: Run, folder: Path, words: tuple[str, ...], message: str) -> None:
    (folder.parent / "linked").mkdir()
    (folder.parent / "linked" / "values.template").symlink_to(folder / "values.template")
    (folder.parent / "named").mkdir()
    (folder.parent / "named" / os.fsdecode(b"x-\xff.yaml")).write_text("")
    done = run(*APPLY, *words)
    assert (done.code, message in done.err) == (2, True), done.err
    assert not Path("target").exists()


def test_faults_of_the_templates_are_found_before_the_build(run: Run, folder: Path) -> None:
    (folder / "values.template").write_text("a: 1\nb: {{nowhere}}\n")
    done = run(*APPLY, *SERVICE, *MESH, "-h", "templates-genservice")
    assert done.code == 4 and "{{nowhere}} has no value" in done.err
    assert "templates-genservice/values" in done.err and not Path("target").exists()


@pytest.mark.parametrize("name", ["../../private", "{project}/private", "..", "."])
def test_the_name_of_an_image_leads_to_no_other_chart(run: Run, folder: Path, name: str) -> None:
    (private := folder.parent / "private").mkdir()
    (private / "Chart.yaml").write_text("apiVersion: v2\nname: private\nversion: 1.0.0\n")
    (folder.parent / "target" / "charts").mkdir(parents=True)
    foreign = facts().model_copy(update={"name": name.format(project=folder.parent)})
    (folder.parent / "facts").mkdir()
    (folder.parent / "facts" / "web.json").write_text(record(foreign).to_text())
    done = run(*APPLY, *MESH, "--facts", "facts")
    assert done.code == 0 and "configId: shop/web" in (CHART / "values.yaml").read_text(), done.err
