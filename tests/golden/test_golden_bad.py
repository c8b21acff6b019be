"""Faulty manifests, each one change away from a valid one: what is said about them, word for word."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sconectl.cli.commands.validate_cmd import everything_about
from sconectl.cli.options.apply_options import ApplyOptions

from .bad_cases import ADVICE, BAD, FOLDER, GROUPS, OLDER, VALID, BadCase, read_cases, write_cases

CASES = [(group, case) for group in GROUPS for case in read_cases(group)]
NEW_YEAR_2026 = "1767225600"


def said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what `validate` finds in the manifests of a folder, on the first day of 2026."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", NEW_YEAR_2026)
    options = ApplyOptions(files=[*map(Path, VALID)])
    _, findings = everything_about(options)
    return "".join(f"{finding}\n" for finding in findings)


def severities(case: BadCase) -> set[str]:
    """Return how bad the expected findings about a case are."""
    findings = [line for line in case.expected.splitlines() if not line.startswith(" ")]
    return {line.split(": ")[1].split(" ")[0] for line in findings}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in VALID:
        shutil.copy(FOLDER / name, tmp_path)
    return tmp_path


def test_there_are_enough() -> None:
    assert len([case for group, case in CASES if group in BAD]) >= 250
    assert len({(group, case.base, case.name) for group, case in CASES}) == len(CASES)


def test_groups_hold_what_they_are_for() -> None:
    for group, case in CASES:
        if group in BAD:
            assert case.base == f"{group}.yaml"
            assert "error" in severities(case), case.name
        elif group == OLDER:
            assert "deprecation" in severities(case), case.name
            assert "error" not in severities(case), case.name
        else:
            assert group == ADVICE
            assert " SC40" in case.expected, case.name


def test_about_what_the_cases_begin_with_nothing_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(folder, monkeypatch) == ""


@pytest.mark.parametrize(("group", "case"), CASES, ids=[f"{group}: {case.base}: {case.name}" for group, case in CASES])
def test_bad_manifest(
    group: str, case: BadCase, folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    (folder / case.base).write_text(case.text())
    found = said(folder, monkeypatch)
    if request.config.getoption("--update-golden", default=False):
        cases = read_cases(group)
        write_cases(group, [replace(each, expected=found) if each == case else each for each in cases])
        return
    assert found == case.expected
    assert found, "nothing is wrong with this manifest"
