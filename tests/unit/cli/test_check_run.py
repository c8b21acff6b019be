"""Several manifests in one run: every fault is said before anything is built; sessions hold what was built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import mesh_text, service_text
from fakes.engine import FakeEngine

from sconectl.text.yaml_tree import parse

from .conftest import Run

APPLY = ("apply", "-f", "web.yaml", "-f", "mesh.yaml", "--base-image", "python=base:1", "--cas", "local")
TEMPLATE = """\
services:
- {name: second, image_name: web, command: [run], attestation: [{mrenclave: ["{{mrenclave}}"]}]}
secrets:
- {name: known, kind: ascii, value: "made for {{measurement}}"}
"""


@pytest.fixture
def shop(project: Path) -> Path:
    """A service and its mesh."""
    (project / "main.py").write_text("print(1)")
    (project / "web.yaml").write_text(service_text("web", copy=["main.py"]))
    (project / "mesh.yaml").write_text(mesh_text(["web"]).replace("cas.example.org", "local"))
    return project


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def measurement(shop: Path) -> str:
    return str(json.loads((shop / "target/images/web.json").read_text())["facts"]["measurement"])


def test_sessions_and_chart_have_the_measurement_of_the_image_that_was_built(run: Run, shop: Path) -> None:
    change(shop / "mesh.yaml", "name: web\n", "name: web\n    image_policy: policy.yaml\n")
    (shop / "policy.yaml").write_text(TEMPLATE)
    for text in ("print(1)", "print(2)"):
        (shop / "main.py").write_text(text)
        done = run(*APPLY)
        assert done.code == 0, done.err
        policy: Any = parse((shop / "target/policies/web.yaml").read_text(), "web.yaml").value
        found = [service["attestation"] for service in policy["services"]]
        assert found == [[{"mrenclave": [measurement(shop)]}]] * 2
        assert policy["secrets"][0]["value"] == f"made for {measurement(shop)}"
        assert policy["services"][0]["environment"]["PATH"]  # of the base image: known since it was looked at
        assert measurement(shop) in (shop / "target/helm/charts/web/values.yaml").read_text()


def test_a_plan_after_apply_says_that_nothing_changes(run: Run, shop: Path) -> None:
    assert run(*APPLY).code == 0
    words = ("plan", *APPLY[1:-2], "--output", "json")
    states = [session["state"] for session in json.loads(run(*words).out)["plans"][1]["sessions"]]
    assert set(states) == {"unchanged"}
    (shop / "main.py").write_text("print(2)")
    sessions = json.loads(run(*words).out)["plans"][1]["sessions"]
    assert {session["name"]: session["state"] for session in sessions}["shop/web"] == "update"


@pytest.mark.parametrize(
    ("old", "new", "words", "said"),
    [
        ("registry.example.org/web:1", "registry.example.org/other:1", (), "SC2008"),
        ("namespace: shop", "namespace: shop\n  maa: https://maa.example.org", (), "SC2001"),
        ("cas_url: local", "cas_url: local\n    tolerance: --debgu", (), "SC1007"),
        (
            "namespace: shop",
            "namespace: shop",
            ("--policy-namespace", "a b"),
            "--policy-namespace is not a CAS namespace",
        ),
        ("name: web\n", "name: web\n    helm_chart: chart\n", ("-o", "yaml"), "SC2020"),
    ],
)
def test_nothing_is_built_if_the_mesh_cannot_be_applied(
    run: Run, shop: Path, engine: FakeEngine, old: str, new: str, words: tuple[str, ...], said: str
) -> None:
    (shop / "chart").mkdir()
    (shop / "chart/Chart.yaml").write_text("apiVersion: v2\nname: x\nversion: 0.1.0\n")
    change(shop / "mesh.yaml", old, new)
    done = run(*APPLY, *words)
    assert done.code in (2, 3, 4)
    assert said in done.err
    assert engine.count("build") == engine.count("load") == 0
    assert not (shop / "target").exists()
