"""checkov has nothing against what the charts make, but what checkov.yaml waives with a reason.

checkov is large, so the project's environment has none: `scripts/checkov.sh` makes one of its own and runs this.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
from golden.test_golden_cases import CASES as MESHES
from golden.test_golden_cases import result
from ruamel.yaml import YAML

from sconectl.artefacts.chart import render_chart
from sconectl.plan.mesh.chart_plan import ChartPlan

from .test_manifests import BOXED, CASES

CHECKOV = os.environ.get("SCONECTL_TEST_CHECKOV") or shutil.which("checkov")
WAIVERS = Path(__file__).parent / "checkov.yaml"
CAS_CHART = Path(__file__).parents[3] / "charts" / "sconectl-cas"
CAS_VALUES: dict[str, dict[str, Any]] = {"cas": {}, "cas-with-operator": {"operator": {"enabled": True}}}
PINNED = f"registry.example.com/shop/web:1@sha256:{'ab' * 32}"
LESS = ("nothing", "no context", "pods", "another question", "user", "group", "own group", "not root")
"""Cases in which somebody asked for less than the chart gives, or for containers of his own."""


@dataclass(frozen=True)
class Waiver:
    """A check that may fail where `of` is found in `<chart>/<kind>/<name>`, and why."""

    check: str
    reason: str
    of: str = ""


@dataclass(frozen=True)
class Failure:
    check: str
    says: str
    place: str


def waivers() -> list[Waiver]:
    return [Waiver(**entry) for entry in YAML(typ="safe").load(WAIVERS.read_text())]


def charts(folder: Path) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Yield charts: name, folder and values."""
    services = {name: service for name, service in CASES.items() if name not in LESS}
    services["pinned"] = replace(BOXED, image=PINNED)
    trees = {name: render_chart(ChartPlan("shop", "0.1.0", (service,))) for name, service in services.items()}
    for mesh in MESHES:
        files = {path.removeprefix("helm/"): text for path, text in result(mesh).items() if path.startswith("helm/")}
        trees |= {f"mesh {mesh.name}": files} if files else {}
    for number, (name, files) in enumerate(trees.items()):
        for path, content in files.items():
            place = folder / str(number) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        yield re.sub(r"[^a-z0-9]+", "-", name.lower()), folder / str(number), {}
    for name, values in CAS_VALUES.items():
        yield name, CAS_CHART, values


def in_the_cluster(name: str, chart: Path, values: dict[str, Any]) -> list[Any]:
    """Return all objects of a chart, with its tests, as a release of its own in a namespace of its own."""
    head = YAML(typ="safe").load((chart / "Chart.yaml").read_text())
    release = head.get("annotations", {}).get("sconectl.io/release", f"r-{name}"[:50].rstrip("-"))
    with helm.Chart.load(str(chart)) as loaded:
        rendered = loaded.render(values, name=release, namespace=name)
    texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
    found = [item for text in texts for item in YAML(typ="safe").load_all(text) if item]
    for item in found:
        item["metadata"].setdefault("namespace", name)
    return found


def scan(folder: Path) -> tuple[int, list[Failure]]:
    """Return how many checks passed, and those that failed."""
    assert CHECKOV
    command = [CHECKOV, "--directory", str(folder), "--framework", "kubernetes", "--output", "json", "--quiet"]
    command += ["--skip-download", "--soft-fail"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    report = json.loads(run.stdout)
    assert report["summary"]["parsing_errors"] == 0, report["results"]["parsing_errors"]
    failures = []
    for entry in report["results"]["failed_checks"]:
        chart = Path(entry["file_path"]).parent.name
        kind, name = entry["resource"].replace(f".{chart}.", ".", 1).split(".")[:2]
        failures.append(Failure(entry["check_id"], entry["check_name"], f"{chart}/{kind}/{name}"))
    return report["summary"]["passed"], failures


@pytest.mark.skipif(CHECKOV is None, reason="checkov is not installed; scripts/checkov.sh runs this with a checkov")
def test_checkov_finds_nothing_that_is_not_waived(tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    objects.mkdir()
    for name, chart, values in charts(tmp_path / "charts"):
        (objects / name).mkdir()
        for number, item in enumerate(in_the_cluster(name, chart, values)):
            (objects / name / f"{number}.json").write_text(json.dumps(item))
    passed, failures = scan(objects)
    assert passed > 5000
    found, used = defaultdict(list), set[Waiver]()
    for failure in failures:
        fitting = [w for w in waivers() if w.check == failure.check and re.search(w.of, failure.place)]
        used.update(fitting)
        if not fitting:
            found[f"{failure.check} ({failure.says})"].append(failure.place)
    assert not found, "".join(f"\n{check}: {' '.join(sorted(places))}" for check, places in found.items())
    assert set(waivers()) - used == set(), "waivers of what does not fail"


def test_each_waiver_has_a_reason() -> None:
    for waiver in waivers():
        assert re.fullmatch(r"CKV2?_K8S_[0-9]+", waiver.check)
        assert waiver.reason.endswith(".") and len(waiver.reason) > 30, waiver.check
    assert len({(waiver.check, waiver.of) for waiver in waivers()}) == len(waivers())
