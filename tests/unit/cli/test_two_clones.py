"""target/ may be lost between any two steps, and a second clone with the same lock writes the same chart."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import mesh_text, service_text

from .conftest import Run

BASE = ("--base-image", "python=base:1")
PASSWORD = {"name": "password", "kind": "ascii"}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, mode: str, *, level: str = "info", imports: tuple[str, ...] = (), size: int = 20) -> None:
    web = service_text("web", copy=["main.py"], secrets={"global": [{**PASSWORD, "size": size}]})
    (folder / "main.py").write_text("print(1)")
    (folder / "web.yaml").write_text(web)
    levels = {"global": [{"name": "LEVEL", "value": "warning"}]}
    (folder / "db.yaml").write_text(service_text("db", secrets={"import": list(imports)}, environment=levels))
    mesh = mesh_text(["web", "db"], env={"db": {"LEVEL": level}})
    (folder / "mesh.yaml").write_text(mesh.replace("cas.example.org", f"local\n    mode: {mode}"))


CHANGES: dict[str, dict[str, Any]] = {
    "first": {},
    "variable": {"level": "debug"},
    "importer": {"level": "debug", "imports": ("password",)},
    "size": {"level": "debug", "imports": ("password",), "size": 30},
    "back": {},
}


@pytest.mark.parametrize("mode", ["Upload", "SignedManifest", "EncryptedManifest", "EncryptedOnly"])
def test_another_clone_with_the_same_lock_writes_the_same(
    run: Run, project: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for change in CHANGES.values():
        write(project, mode, **change)
        words = ("-f", "web.yaml", "-f", "db.yaml", "-f", "mesh.yaml", *BASE, "--allow-secret-loss", "password")
        done = run("apply", *words)
        assert done.code == 0, done.err
        clone = project.parent / "clone"
        shutil.rmtree(clone, ignore_errors=True)
        clone.mkdir()
        for name in ("mesh.yaml", "sconectl.lock"):
            shutil.copy(project / name, clone / name)
        monkeypatch.chdir(clone)
        again = run("apply", "-f", "mesh.yaml")
        assert again.code == 0, again.err
        assert "sconectl.lock: unchanged" in again.out
        assert not {"created", "updated"} & set(again.out.split())
        assert files(clone / "target/helm") == files(project / "target/helm")
        monkeypatch.chdir(project)


@pytest.mark.parametrize("mode", ["Upload", "SignedManifest", "EncryptedManifest"])
def test_a_lost_target_makes_no_difference(run: Run, project: Path, mode: str) -> None:
    charts = []
    for change in CHANGES.values():
        write(project, mode, **change)
        shutil.rmtree(project / "target", ignore_errors=True)
        words = ("-f", "web.yaml", "-f", "db.yaml", "-f", "mesh.yaml", *BASE, "--allow-secret-loss", "password")
        done = run("apply", *words)
        assert done.code == 0, done.err
        before = files(project / "target/helm"), (project / "sconectl.lock").read_bytes()
        assert run("apply", *words).code == 0
        shutil.rmtree(project / "target")
        assert run("apply", *words).code == 0
        assert (files(project / "target/helm"), (project / "sconectl.lock").read_bytes()) == before
        charts.append(before[0]["Chart.yaml"])
    assert len(set(charts)) >= 3  # a change of a secret that no pod gets is none of the chart
