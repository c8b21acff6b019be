"""What `sconectl plan` shows for a small image, byte for byte: as a table, with all paths, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.builders import service_plan
from fakes.engine import FakeEngine, FakeRegistry, Image
from fakes.members import directory, file, link, tree

from sconectl.apply.native import NativeSources
from sconectl.cli.output.finding_json import plain
from sconectl.cli.output.plan_table import table_lines
from sconectl.image.build.native_build import CopiedFile
from sconectl.image.layers.root_tree import RootTree
from sconectl.manifest.reading.reader import read_manifest
from sconectl.ports import ImageInfo
from sconectl.report.plan_words import as_document
from sconectl.usecases.apply_service import EarlierRuns
from sconectl.usecases.plan_report import PlanReport, PlanWorld, report_plan

FOLDER = Path(__file__).parent / "plan"
BASE = (
    directory("/app"),
    directory("/app/data"),
    file("/app/data/names.txt", b"Ada\nGrace\n", 0o600),
    directory("/data"),
    link("/bin", "usr/bin"),
    directory("/usr/bin"),
    file("/usr/bin/python3", b"\x7fELF" * 4000, 0o755),
    file("/usr/bin/su", b"\x7fELF" * 300, 0o4755),
    file("/usr/lib/name\x1b[2J\nwith\udcff", b"x"),
    file("/tmp/left", b"over"),
)


@pytest.fixture
def report(tmp_path: Path) -> PlanReport:
    text = (FOLDER / "service.yaml").read_text()
    greet = tmp_path / "greet.py"
    greet.write_text("print('hello')\n")

    @contextmanager
    def files(_reference: str, _info: ImageInfo) -> Iterator[RootTree]:
        yield tree(*BASE)

    world = PlanWorld(
        engine=FakeEngine(images={"base:1": Image(ImageInfo("sha256:" + "5" * 64, "amd64", {}), {})}),
        registry=lambda: FakeRegistry({}),
        files=files,
        earlier=EarlierRuns(launcher=True),
    )
    document = read_manifest(text, "service.yaml", {}).document
    sources = NativeSources((CopiedFile("/app/greet.py", 0o644, greet),))
    return report_plan(service_plan(text), sources, document, world)


@pytest.mark.parametrize("name", ["table.txt", "paths.txt", "plan.json"])
def test_golden_plan(report: PlanReport, name: str, request: pytest.FixtureRequest) -> None:
    if name == "plan.json":
        found = json.dumps({**as_document(report), "findings": [plain(f) for f in report.findings]}, indent=2) + "\n"
    else:
        found = "".join(f"{line}\n" for line in table_lines(report, all_paths=name == "paths.txt"))
        assert all(len(line) <= 80 for line in found.splitlines())
        assert found.replace("\n", "").isprintable()
    if request.config.getoption("--update-golden", default=False):
        (FOLDER / name).write_text(found)
    assert found == (FOLDER / name).read_text()
    assert "hunter2" not in found
