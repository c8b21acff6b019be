"""What a second apply changes in the chart, so that Helm and GitOps tools do what has to be done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
from fakes.builders import facts, mesh_text, record

from sconectl.text.yaml_tree import parse

from .conftest import Run

APPLY = ("apply", "-f", "mesh.yaml", "--facts", "facts", "-q", "--dry-run")


def authority(common_name: str = "ours") -> list[dict[str, Any]]:
    certificate = {"name": "cert", "kind": "x509", "private_key": "key", "issuer": "ca", "dns": ["db"]}
    ca = {"name": "ca", "kind": "x509-ca", "private_key": "ca-key", "common_name": common_name}
    return [certificate, ca, *({"name": name, "kind": "private-key"} for name in ("key", "ca-key"))]


def images(common_name: str = "ours") -> None:
    """Write the facts of a database with an authority, of a program that uses its certificate, and of another one."""
    Path("facts").mkdir(exist_ok=True)
    db = facts(
        "db",
        environment={"global": [{"name": "LEVEL", "value": "1"}]},
        secrets={"global": authority(common_name)},
        injection_files=[{"path": "/crt", "content": "$$SCONE::cert$$"}],
    )
    web = facts(
        "web",
        secrets={"import": ["cert"], "global": [{"name": "word", "kind": "ascii", "value": "{{WORD}}"}]},
        environment={"global": [{"name": "WORD"}], "local": [{"name": "P", "value": "$$SCONE::word$$"}]},
        injection_files=[{"path": "/crt", "content": "$$SCONE::cert$$"}],
    )
    for image in (db, web, facts("log")):
        Path(f"facts/{image.name}.json").write_text(record(image).to_text())


def write(env: dict[str, dict[str, str]], *, tolerate: str = "") -> None:
    given = {"web": {"WORD": "secret"}} | env
    text = mesh_text(["db", "web", "log"], env=given)
    if tolerate:
        text = text.replace("namespace: shop", f"namespace: shop\n  tolerate: {tolerate}")
    Path("mesh.yaml").write_text(text)


def marks() -> dict[str, str]:
    found = {}
    for name in ("db", "web", "log"):
        values: Any = parse(Path(f"target/helm/charts/{name}/values.yaml").read_text(), "values").value
        found[name] = values["scone"]["configuration"]
    return found


@pytest.fixture
def mesh(project: Path) -> Path:
    images()
    write({})
    return project


def test_only_pods_that_would_get_something_else_are_replaced(run: Run, mesh: Path) -> None:
    assert run(*APPLY).code == 0
    before = marks()
    assert len(set(before.values())) == 3 and all(len(mark) == 32 for mark in before.values())

    def replaced() -> list[str]:
        assert run(*APPLY, "-o", "yaml").code == 0
        after = marks()
        for name, mark in after.items():
            assert mark in Path(f"target/manifests/{name}.yaml").read_text()
        return [name for name, mark in after.items() if mark != before[name]]

    write({}, tolerate="hyperthreading")
    assert replaced() == []
    write({"db": {"LEVEL": "2"}})
    assert replaced() == ["db"]
    write({"web": {"WORD": "another secret"}})
    assert replaced() == ["web"]
    write({})
    images("theirs")
    assert replaced() == ["db", "web"]  # the importer of the certificate, too


def test_nothing_of_a_secret_is_in_the_chart(run: Run, mesh: Path) -> None:
    assert run(*APPLY).code == 0
    first = marks()["web"]
    for path in Path("facts").iterdir():
        salted = path.read_text()
        assert '"salt": "' in salted
        path.write_text(salted.replace('"salt": "', '"salt": "x'))
    assert run(*APPLY).code == 0
    assert marks()["web"] != first  # the same secret in another image: nobody can tell


def test_a_chart_knows_its_release(run: Run, mesh: Path) -> None:
    def deployments(name: str) -> int:
        with helm.Chart.load("target/helm") as chart:
            return sum("kind: Deployment" in text for text in chart.render(None, name=name, namespace="x").values())

    write({"db": {"LEVEL": "{{service_name}}"}})
    done = run(*APPLY)  # what depends on the release needs one
    assert done.code == 4 and "give the release with --release" in done.err
    assert run(*APPLY, "--release", "shop").code == 0
    assert deployments("shop") == 3
    with pytest.raises(helm.HelmRenderError, match=r"for the release shop, and not for other.*apply --release other"):
        deployments("other")
    assert run(*APPLY, "--release", "other").code == 0  # the remedy
    assert deployments("other") == 3
    write({})
    assert run(*APPLY).code == 0
    assert deployments("shop") == deployments("other") == 3


@pytest.mark.parametrize("name", ["My-Release", "a b", "-a", "a.", "a" * 54, "é", "a\n", "1a", "a.b"])
def test_a_release_that_helm_would_not_take(run: Run, mesh: Path, name: str) -> None:
    for command in ("apply", "plan", "validate"):
        done = run(command, "-f", "mesh.yaml", "--facts", "facts", "--release", name)
        assert done.code == 2 and "is not the name of a release" in done.err
        assert "at most 53" in done.err
    assert not Path("target").exists()


def versions() -> set[str]:
    found = set()
    for path in Path("target/helm").rglob("Chart.yaml"):
        head: Any = parse(path.read_text(), "Chart.yaml").value
        found.add(head["version"])
    return found


def test_the_version_of_the_chart_changes_with_its_content(run: Run, mesh: Path) -> None:
    def applied(*words: str) -> set[str]:
        done = run(*APPLY, *words)
        assert done.code == 0, done.err
        return versions()

    assert applied() == {"0.1.0"}
    assert applied() == {"0.1.0"}
    write({"db": {"LEVEL": "2"}})
    assert applied() == {"0.2.0"}
    assert applied("-o", "yaml") == {"0.2.0"}
    manifests = {path: path.read_bytes() for path in Path("target/manifests").iterdir()}
    assert applied("--chart-version", "3.0.0", "-o", "yaml") == {"3.0.0"}
    assert {path: path.read_bytes() for path in Path("target/manifests").iterdir()} == manifests
    assert applied() == {"3.0.0"}
    write({"db": {"LEVEL": "3"}})
    done = run("plan", *APPLY[1:], "--output", "json")
    assert done.code == 0 and versions() == {"3.0.0"}
    assert applied() == {"3.1.0"}
    shutil.rmtree("target")
    assert applied() == {"0.1.0"}


@pytest.mark.parametrize("text", ["1.0", "v1.0.0", "latest", "1.0.0-"])
@pytest.mark.parametrize("command", ["apply", "plan"])
def test_a_version_that_is_none(run: Run, mesh: Path, command: str, text: str) -> None:
    done = run(command, *APPLY[1:], "--chart-version", text)
    assert done.code == 2 and f"--chart-version '{text}' is not the version of a chart" in done.err
    assert "like 1.4.0" in done.err and not Path("target").exists()


PROBE = """\
livenessProbe:
  httpGet: {path: /, port: 80}
  periodSeconds: 5
port: 80
note: ~
"""


@pytest.mark.parametrize("name", ["values.yaml", "values.yaml.template"])
def test_null_takes_a_value_out_of_a_chart_of_ones_own(run: Run, mesh: Path, name: str) -> None:
    templates = Path("mine/templates")
    templates.mkdir(parents=True)
    (templates / "all.yaml").write_text("all: {{ .Values | toJson | quote }}\n")
    Path("mine/Chart.yaml").write_text("apiVersion: v2\nname: mine\nversion: 1.0.0\n")
    Path(f"mine/{name}").write_text(PROBE)
    values = "{livenessProbe: {httpGet: null, tcpSocket: {port: 81}}, port: null, global: null}"
    text = Path("mesh.yaml").read_text() + f"    helm_chart: mine\n    helm_extra_values: {values}\n"
    Path("mesh.yaml").write_text(text)
    done = run(*APPLY)
    assert done.code == 0, done.err
    with helm.Chart.load("target/helm") as chart:
        rendered = chart.render(None, name="x", namespace="x")
    [made] = [content for path, content in rendered.items() if path.endswith("charts/log/templates/all.yaml")]
    document: Any = parse(made, "all.yaml").value
    found = json.loads(document["all"])
    assert found["livenessProbe"] == {"periodSeconds": 5, "tcpSocket": {"port": 81}}
    assert "port" not in found
