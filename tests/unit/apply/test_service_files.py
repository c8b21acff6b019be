"""Reading the files that a mesh names: relative to the manifest, never outside of its directory."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from fakes.builders import mesh_text, read_mesh

from sconectl.apply.sources import service_files
from sconectl.apply.sources.service_files import read_service_files
from sconectl.errors import PlanImpossible
from sconectl.plan.mesh.mesh import ServiceFiles


def read(folder: Path, fields: str) -> dict[str, ServiceFiles]:
    mesh, manifest = read_mesh(mesh_text(["web", "db"]) + "".join(f"    {line}\n" for line in fields.split("\n")))
    return read_service_files(mesh, manifest.document, folder)


def faults(folder: Path, fields: str) -> list[tuple[str, str, str]]:
    with pytest.raises(PlanImpossible) as caught:
        read(folder, fields)
    return [(f.code, f.path, f.message) for f in caught.value.findings]


def test_files_are_read_whole(tmp_path: Path) -> None:
    for name in ("policy.yaml", "secrets.yaml", "envs.yaml"):
        (tmp_path / name).write_text(name)
    (tmp_path / "chart/templates").mkdir(parents=True)
    (tmp_path / "chart/templates/x.yaml").write_text("x")
    (tmp_path / "chart/Chart.yaml").write_text("y")
    fields = "image_policy: policy.yaml\nimage_secrets: secrets.yaml\nenv: envs.yaml\nhelm_chart: chart"
    found = read(tmp_path, fields)
    assert found.keys() == {"db"}
    files = found["db"]
    assert files.policy and files.secrets and files.variables
    assert [file.content for file in (files.policy, files.secrets, files.variables)] == [
        *(b"policy.yaml", b"secrets.yaml", b"envs.yaml")
    ]
    assert files.chart == {"Chart.yaml": b"y", "templates/x.yaml": b"x"}


def test_nothing_is_read_for_a_mesh_without_files(tmp_path: Path) -> None:
    mesh, manifest = read_mesh(mesh_text(["web"]))
    assert read_service_files(mesh, manifest.document, tmp_path / "nowhere") == {}


def test_all_that_cannot_be_read_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = faults(tmp_path, "image_policy: gone.yaml\nimage_secrets: .\nhelm_chart: file")
    assert [(code, path) for code, path, _ in found] == [
        ("SC1005", "services[1].image_policy"),
        ("SC1005", "services[1].image_secrets"),
        ("SC1005", "services[1].helm_chart"),
    ]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "envs.yaml")
    assert faults(tmp_path, "env: envs.yaml") == [("SC1005", "services[1].env", "this is not a file")]


def test_a_huge_file_of_a_chart_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "chart").mkdir()
    with (tmp_path / "chart/data").open("wb") as file:
        file.truncate(1 << 34)
    tracemalloc.start()
    try:
        assert [path for _, path, _ in faults(tmp_path, "helm_chart: chart")] == ["services[1].helm_chart"]
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_links_lead_nowhere_else(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "chart").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("hunter2")
    (project / "policy.yaml").symlink_to(tmp_path / "outside/secret")
    (project / "elsewhere").symlink_to(tmp_path / "outside")
    (project / "chart/Chart.yaml").symlink_to(tmp_path / "outside/secret")
    found = faults(project, "image_policy: policy.yaml\nhelm_chart: chart")
    assert [path for _, path, _ in found] == ["services[1].image_policy", "services[1].helm_chart"]
    assert faults(project, "helm_chart: elsewhere")[0][2] == "a link leads out of the manifest's directory"


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_files, "MAX_CHART_FILES", 2)
    monkeypatch.setattr(service_files, "MAX_BYTES", 10)
    (tmp_path / "chart").mkdir()
    for number in range(3):
        (tmp_path / f"chart/{number}").write_text("")
    (tmp_path / "long").write_text("x" * 11)
    found = faults(tmp_path, "env: long\nhelm_chart: chart")
    assert ["more than 10 bytes" in found[0][2], "at most 2 files" in found[1][2]] == [True, True]


def test_a_file_in_the_current_directory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sconectl.apply.sources.sources import hint_of_place

    (tmp_path / "v1").mkdir()
    (tmp_path / "app.py").write_text("")
    monkeypatch.chdir(tmp_path)
    root = str(tmp_path / "v1")
    assert "there is app.py in the current directory" in hint_of_place("app.py", root)
    assert "there is *.py in the current directory" in hint_of_place("*.py", root)
    assert hint_of_place("gone.py", root) == hint_of_place("app.py", str(tmp_path)) == ""
