"""sconectl.lock: what `apply` writes there, what nobody learns from it, and what `lock --check` finds, offline."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import mesh_text, service_text

from sconectl.apply.lock.lock_file import keyed
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.local import LocalCas
from sconectl.policy.reading import parse_session

from .conftest import Outcome, Run

SERVICES = ("-f", "web.yaml", "-f", "db.yaml")
BASE = ("--base-image", "python=base:1")
IMAGES = [f"registry.example.org/{name}:1" for name in ("web", "db")]


@pytest.fixture
def shop(project: Path, run: Run) -> Path:
    """Two services and their mesh, applied."""
    (project / "main.py").write_text("print(1)")
    (project / "web.yaml").write_text(
        service_text("web", copy=["main.py"], environment={"global": [{"name": "LEVEL", "value": "info"}]})
    )
    (project / "db.yaml").write_text(
        service_text("db", secrets={"global": [{"name": "pin", "kind": "ascii", "value": "$PIN"}]})
    )
    (project / "mesh.yaml").write_text(mesh(project, "info"))
    done = apply(run)
    assert done.code == 0, done.err
    return project


def mesh(project: Path, level: str) -> str:
    return mesh_text(["web", "db"], env={"web": {"LEVEL": level}}).replace("cas.example.org", "local")


def apply(run: Run, *words: str) -> Outcome:
    return run("apply", *SERVICES, "-f", "mesh.yaml", *BASE, "--set", "PIN=1234", *words)


def locked(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project / "sconectl.lock").read_text())
    return found


def test_the_lock_says_what_was_made_of_which_manifest(shop: Path, run: Run) -> None:
    lock = locked(shop)
    assert sorted(lock["images"]) == sorted(IMAGES)
    image = lock["images"][IMAGES[0]]
    assert image["base"].startswith("base:1@sha256:")
    assert image["image"].startswith("sha256:")
    assert image["label"]["measurement"] in (shop / "target/policies/web.yaml").read_text()
    found = lock["meshes"]["shop"]
    assert found["services"] == {"web": IMAGES[0], "db": IMAGES[1]}
    assert sorted(found["sessions"]) == ["shop", "shop/db", "shop/web"]
    assert found["chart"]["version"] in (shop / "target/helm/Chart.yaml").read_text()
    before = (shop / "sconectl.lock").read_bytes()
    again = apply(run)
    assert "sconectl.lock: unchanged" in again.out
    assert (shop / "sconectl.lock").read_bytes() == before
    assert (shop / "sconectl.lock").stat().st_mode & 0o777 == 0o644


def test_hashes_are_keyed_and_name_what_they_replaced(shop: Path, run: Run) -> None:
    home = shop.parent / "home"
    cas = LocalCas(shop.parent / "data/sconectl/cas", CasConfig(home / ".cas"))
    first = cas.read("shop/web")
    (shop / "mesh.yaml").write_text(mesh(shop, "debug"))
    assert apply(run).code == 0
    namespace, second = cas.read("shop"), cas.read("shop/web")
    assert first and namespace and second
    salt = parse_session(namespace.text).salt
    assert salt
    entry = locked(shop)["meshes"]["shop"]["sessions"]["shop/web"]
    assert entry == {"hash": keyed(salt, second.hash), "predecessor": keyed(salt, first.hash)}
    text = (shop / "sconectl.lock").read_text()
    assert not any(secret in text for secret in (first.hash, second.hash, salt))


def test_the_cas_has_no_remark_on_a_new_namespace(shop: Path, run: Run) -> None:
    """Its session has a salt, which came with the newest version of the language."""
    done = apply(run, "--policy-namespace", "other")
    assert "session other: created" in done.out
    assert " says: " not in done.err


def test_no_value_from_a_variable_is_in_the_lock(shop: Path) -> None:
    text = (shop / "sconectl.lock").read_text()
    assert "1234" not in text
    images = locked(shop)["images"]
    assert "facts" in images[IMAGES[0]]
    assert "facts" not in images[IMAGES[1]]
    assert images[IMAGES[0]]["facts"]["salt"] == ""


def test_check_agrees_offline_and_finds_what_changed(shop: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(shop / "target")
    monkeypatch.setenv("HOME", str(shop.parent / "nobody"))
    monkeypatch.setenv("XDG_DATA_HOME", str(shop.parent / "nothing"))
    words = ("lock", "--check", *SERVICES, "-f", "mesh.yaml", "--set", "PIN=9")
    agrees = run(*words)
    assert agrees.code == 0, agrees.err
    assert agrees.out == "sconectl.lock: agrees with 3 manifests\n"
    (shop / "mesh.yaml").write_text(mesh(shop, "debug"))
    (shop / "web.yaml").write_text((shop / "web.yaml").read_text().replace(IMAGES[0], IMAGES[0] + ".1"))
    wrong = run(*words)
    assert wrong.code == 4
    assert "SC2023" in wrong.err
    assert "mesh.yaml:1:1" in wrong.err and "web.yaml:" in wrong.err
    found = json.loads(run(*words, "--output", "json").out)["findings"]
    assert [(f["file"], f["path"]) for f in found] == [("web.yaml", "build.to"), ("mesh.yaml", "")]


def test_line_breaks_of_another_system_are_no_change(shop: Path, run: Run) -> None:
    for name in ("mesh.yaml", "web.yaml"):
        (shop / name).write_bytes((shop / name).read_bytes().replace(b"\n", b"\r\n"))
    assert run("lock", "--check", *SERVICES, "-f", "mesh.yaml", "--set", "PIN=1").code == 0


def test_a_mesh_compiles_from_the_lock_where_no_image_is_at_hand(
    shop: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "mesh.yaml").write_text(mesh(shop, "info").replace("db:1", "web:1"))
    assert run("apply", "-f", "mesh.yaml", *BASE).code == 0
    before = {p.relative_to(shop): p.read_bytes() for p in (shop / "target/helm").rglob("*") if p.is_file()}
    shutil.rmtree(shop / "target")
    from sconectl.cli.wiring import Wiring
    from sconectl.errors import EngineUnreachable

    def nobody(_wiring: Wiring) -> None:
        raise EngineUnreachable("no container engine answers")

    monkeypatch.setattr(Wiring, "engine", property(nobody))
    done = run("apply", "-f", "mesh.yaml")
    assert done.code == 0, done.err
    assert {p.relative_to(shop): p.read_bytes() for p in (shop / "target/helm").rglob("*") if p.is_file()} == before


def test_without_a_cas_the_chart_stays_what_it_was_as_long_as_pods_get_the_same(shop: Path, run: Run) -> None:
    (shop / "mesh.yaml").write_text(mesh(shop, "debug"))
    assert apply(run, "--rolling").code == 0
    chart = {p.relative_to(shop): p.read_bytes() for p in (shop / "target/helm").rglob("*") if p.is_file()}
    assert "python3-v2" in (shop / "target/helm/charts/web/values.yaml").read_text()
    assert apply(run, "--dry-run").code == 0
    assert {p.relative_to(shop): p.read_bytes() for p in (shop / "target/helm").rglob("*") if p.is_file()} == chart
    (shop / "mesh.yaml").write_text(mesh(shop, "trace"))
    assert apply(run, "--dry-run").code == 0
    after = {p.relative_to(shop): p.read_bytes() for p in (shop / "target/helm").rglob("*") if p.is_file()}
    changed = {str(path) for path in after if after[path] != chart[path] and path.name == "values.yaml"}
    assert changed == {"target/helm/charts/web/values.yaml"}


def test_a_damaged_lock_is_refused_before_anything_is_done(shop: Path, run: Run) -> None:
    target = {p: p.read_bytes() for p in (shop / "target").rglob("*") if p.is_file()}
    for content, word in (("<<<<<<< HEAD\n{}\n", "unfinished merge"), ('{"format": 9}', "no lock of this version")):
        (shop / "sconectl.lock").write_text(content)
        (shop / "mesh.yaml").write_text(mesh(shop, "debug"))
        refused = apply(run)
        assert (refused.code, word in refused.err) == (7, True), refused.err
    assert {p: p.read_bytes() for p in (shop / "target").rglob("*") if p.is_file()} == target


def test_a_dry_run_writes_no_lock_and_another_file_can_be_named(shop: Path, run: Run) -> None:
    (shop / "sconectl.lock").unlink()
    assert apply(run, "--dry-run").code == 0
    assert not (shop / "sconectl.lock").exists()
    assert run("lock", "--check", "-f", "mesh.yaml").code == 4
    assert run("lock", "-f", "mesh.yaml").code == 2
    assert apply(run, "--lock", "other.lock").code == 0
    assert run("lock", "--check", "-f", "mesh.yaml", "--lock", "other.lock").code == 0


@pytest.mark.skipif(shutil.which("git") is None, reason="the program git is missing")
def test_changes_of_two_services_on_two_branches_merge(shop: Path, run: Run) -> None:
    def git(*words: str) -> str:
        me = ("-c", "user.name=me", "-c", "user.email=me@example.org")
        return subprocess.run(("git", *me, *words), check=True, capture_output=True, text=True, cwd=shop).stdout

    git("init", "-q", "-b", "main")
    git("add", "sconectl.lock", "web.yaml", "db.yaml")
    git("commit", "-qm", "one")
    for branch, file in (("a", "web.yaml"), ("b", "db.yaml")):
        git("checkout", "-q", "-b", branch, "main")
        (shop / file).write_text((shop / file).read_text() + "# changed\n")
        assert run("apply", "-f", file, *BASE, "--set", "PIN=1234").code == 0
        git("commit", "-qam", branch)
    git("merge", "-q", "-m", "both", "a")
    assert run("lock", "--check", *SERVICES, "--set", "PIN=1").code == 0
