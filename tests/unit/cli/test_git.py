"""No secret gets into Git with `git add -A`: what apply and sconify-image write is ignored."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fakes.builders import facts, mesh_text, record, service_text

from .conftest import Run
from .converting import Convert


def staged() -> set[str]:
    """Return the files that `git add -A` stages in the current directory, as a new repository."""
    for words in (("init", "-q"), ("add", "-A")):
        subprocess.run(["git", *words], check=True)
    listed = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True)
    return set(listed.stdout.split())


def test_apply(run: Run, project: Path) -> None:
    Path("main.py").write_text("")
    Path("service.yaml").write_text(service_text())
    Path("mesh.yaml").write_text(mesh_text(["web"]).replace("cas.example.org", "local"))
    done = run("apply", "-f", "service.yaml", "-f", "mesh.yaml", "-n", "-q", "--base-image", "python=base:1")
    assert done.code == 0, done.err
    assert Path("target/policies/web.yaml").is_file() and Path("target/images/web.json").is_file()
    assert staged() == {"main.py", "service.yaml", "mesh.yaml", "sconectl.lock"}


def test_a_target_directory_beside_the_manifests(run: Run, project: Path) -> None:
    Path("facts.json").write_text(record(facts()).to_text())
    Path("mesh.yaml").write_text(mesh_text(["web"]))
    assert run("apply", "-f", "mesh.yaml", "--facts", "facts.json", "-d", "-q", "-t", ".").code == 0
    found = staged()
    assert {"mesh.yaml", "helm/Chart.yaml"} < found
    assert not any(path.startswith("policies/") for path in found)


@pytest.mark.parametrize("chart", [(), ("--k8s-helm-workload-type=job", "--service-name=web")])
def test_sconify_image(convert: Convert, chart: tuple[str, ...]) -> None:
    assert convert(*chart).code == 0
    assert list(Path("target/policies").iterdir())
    assert not any(path.startswith("target") for path in staged())
