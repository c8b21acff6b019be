"""Security advice on the command line: shown by every command that reads manifests, waived until a day."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest
from fakes.builders import facts, mesh_text, record, service_text
from fakes.engine import FakeEngine

from sconectl.cli.wiring import today

from .conftest import Run

BASE = ("--base-image", "python=base:1")
SECRET = {"name": "s", "kind": "ascii", "export_public": "true"}
WAIVER = '# sconectl:allow SC4008 until={until} reason="a demonstration"'
LATER, OVER = "2999-12-31", "2020-01-31"


def write_service(folder: Path, until: str = "") -> Path:
    """Write a service with a secret that everybody may read, and perhaps a waiver for it."""
    (folder / "main.py").write_text("print(1)")
    lines = service_text(copy=["main.py"], secrets={"global": [SECRET]}).splitlines()
    waiver = " " + WAIVER.format(until=until) if until else ""
    lines = [line + waiver * ("export_public" in line) for line in lines]
    file = folder / "service.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


def words(command: str, file: Path) -> tuple[str, ...]:
    return (command, "-f", str(file), *(() if command == "validate" else (*BASE, "--dry-run")))


@pytest.mark.parametrize("command", ["apply", "plan", "validate"])
def test_advice_is_shown_and_forbids_nothing(run: Run, project: Path, command: str) -> None:
    done = run(*words(command, write_service(project)))
    assert done.code == 0, done.err
    assert "warning SC4008: secrets.global[0].export_public" in done.err
    assert done.err.count("SC4008") == 1


@pytest.mark.parametrize("command", ["apply", "plan", "validate"])
def test_what_is_waived_is_not_shown(run: Run, project: Path, command: str) -> None:
    done = run(*words(command, write_service(project, LATER)))
    assert done.code == 0, done.err
    assert "SC40" not in done.err


@pytest.mark.parametrize("command", ["apply", "plan", "validate"])
def test_an_expired_waiver_is_an_error(run: Run, project: Path, command: str) -> None:
    done = run(*words(command, write_service(project, OVER)))
    assert done.code == 3
    assert "error SC4091" in done.err and OVER in done.err
    assert "warning SC4008" in done.err


def test_nothing_is_built_with_an_expired_waiver_in_any_manifest(run: Run, project: Path, engine: FakeEngine) -> None:
    service = write_service(project)
    mesh = project / "mesh.yaml"
    mesh.write_text(mesh_text() + WAIVER.format(until=OVER) + "\n")
    done = run("apply", "-f", service, "-f", mesh, *BASE)
    assert done.code == 3
    assert "mesh.yaml" in done.err and "SC4091" in done.err
    assert engine.calls == []
    assert not (project / "target").exists()


@pytest.mark.parametrize(
    ("at", "code", "message"), [("name: web", 0, ""), ("env:", 3, "error SC4090"), ("kind:", 3, "error SC4090")]
)
def test_a_mesh_may_allow_changes_where_it_can_be_told_of_what(
    run: Run, project: Path, at: str, code: int, message: str
) -> None:
    waiver = ' # sconectl:allow SC5003 until=2999-12-31 reason="an incident"'
    text = mesh_text()
    (line,) = (line for line in text.splitlines() if at in line)
    (project / "mesh.yaml").write_text(text.replace(line, line + waiver))
    done = run("validate", "-f", "mesh.yaml")
    assert done.code == code, done.err
    assert message in done.err
    assert ("at one of its services" in done.err) == bool(code)


@pytest.mark.parametrize(("epoch", "code"), [("1577836800", 0), ("1580515200", 3)])  # 2020-01-01, 2020-02-01
def test_a_reproducible_run_has_the_date_of_its_sources(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, epoch: str, code: int
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    assert run(*words("validate", write_service(project, OVER))).code == code


def test_without_that_the_clock_says_the_date(monkeypatch: pytest.MonkeyPatch) -> None:
    for epoch in ("", "soon", "9" * 11):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        assert abs((today() - date.today()).days) <= 1
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert today() == date(1970, 1, 1)


def test_an_image_in_debug_mode_is_named_in_the_mesh(run: Run, project: Path) -> None:
    image = facts()
    debug = image.model_copy(update={"parameters": {**image.parameters, "mode": "debug"}})
    (project / "facts.json").write_text(record(debug).to_text())
    mesh = project / "mesh.yaml"
    for waiver, shown in (("", 1), ('# sconectl:allow SC4001 until=2999-12-31 reason="tests"', 0)):
        text = mesh_text().replace("cas.example.org", "local")
        mesh.write_text("".join(f"{line} {waiver * ('image:' in line)}\n" for line in text.splitlines()))
        for command in ("apply", "validate"):
            more = ("--dry-run",) if command == "apply" else ()
            done = run(command, "-f", mesh, "--facts", "facts.json", *more)
            assert done.code == 0, done.err
            assert done.err.count("warning SC4001: services[0].image") == shown, done.err
            assert "SC409" not in done.err


def test_services_that_are_given_together_know_of_each_other(run: Run, project: Path) -> None:
    one, two = project / "one.yaml", project / "two.yaml"
    one.write_text(service_text("one", secrets={"global": [{"name": "shared", "kind": "ascii"}]}))
    files = [{"path": "/run/shared", "content": "$$SCONE::shared$$"}]
    two.write_text(service_text("two", secrets={"import": ["shared"]}, injection_files=files))
    alone = run("validate", "-f", one, "--output", "json")
    assert "SC4010" in [finding["code"] for finding in json.loads(alone.out)["findings"]]
    together = run("validate", "-f", one, "-f", two, "--output", "json")
    assert "SC4010" not in together.out
    assert together.code == 0


@pytest.mark.parametrize("command", ["apply", "plan", "validate"])
def test_files_of_a_mesh_are_looked_at_too(run: Run, project: Path, command: str) -> None:
    (project / "facts.json").write_text(record(facts()).to_text())
    text = mesh_text(env={"global": {"WHOM": "world"}}).replace("cas.example.org", "local")
    (project / "mesh.yaml").write_text(text + "    image_secrets: extra.yaml\n")
    extra = project / "extra.yaml"
    words = (command, "-f", "mesh.yaml", "--facts", "facts.json", *(() if command == "validate" else ("--dry-run",)))
    for until, code, shown in (("", 0, ["SC4006", "SC4009"]), (LATER, 0, ["SC4006"]), (OVER, 3, [])):
        waiver = WAIVER.replace("SC4008", "SC4009").format(until=until) if until else ""
        extra.write_text(
            "- {name: hello, kind: ascii, value: {{WHOM}}}\n- name: my_password\n  kind: ascii\n"
            f"  value: hunter2-canary\n  export:\n    - namespace: {{{{namespace}}}} {waiver}\n"
        )
        done = run(*words)
        assert done.code == code, done.err
        assert "hunter2" not in done.err + done.out
        assert ("SC4091" in done.err) == (code == 3)
        if code == 0:
            assert re.findall(r"extra\.yaml:\d+:\d+: warning (SC4\d+): \[1\]", done.err) == shown
    extra.write_text("- {name: hello\n")
    broken = run(*words)
    assert broken.code == 3 and broken.err.count("extra.yaml:") == 1
