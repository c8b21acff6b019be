"""The published schemas and the golden faulty manifests: an editor refuses most of what `validate` refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml  # type: ignore[import-untyped]

from sconectl.errors import InvalidInput
from sconectl.text.yaml_tree import parse

from .bad_cases import BAD, FOLDER, OLDER, VALID, BadCase, read_cases

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
AT_LEAST = 0.88  # a misspelt secret counts as a fault of its own file, and no schema can tell it


def as_sconectl(text: str) -> Any:
    """Read a manifest as sconectl does: every scalar is text."""
    return parse(text, "manifest").value


def as_editor(text: str) -> Any:
    """Read a manifest as editors do, with numbers and flags."""
    return yaml.safe_load(text)


READERS = (as_sconectl, as_editor)


@cache
def validator(kind: str) -> Any:
    schema = json.loads((SCHEMAS / f"{kind}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def faults(base: str, value: Any) -> list[str]:
    """Return what the schema of a manifest says about a value."""
    kind = "mesh" if base == "mesh.yaml" else "genservice"
    return [f"{fault.json_path}: {fault.message}" for fault in validator(kind).iter_errors(value)]


def is_yaml(text: str) -> bool:
    """Say whether sconectl and editors can read the text at all."""
    try:
        for read in READERS:
            read(text)
    except (InvalidInput, yaml.YAMLError):
        return False
    return True


def is_about_itself(case: BadCase) -> bool:
    """Say whether there is an error about the manifest that was changed: a schema sees no other one."""
    return any(line.startswith(f"{case.base}:") and ": error " in line for line in case.expected.splitlines())


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("name", VALID)
def test_accepts_what_the_cases_begin_with(name: str, read: Callable[[str], Any]) -> None:
    assert faults(name, read((FOLDER / name).read_text())) == []


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("case", read_cases(OLDER), ids=lambda case: f"{case.base}: {case.name}")
def test_accepts_older_spellings(case: BadCase, read: Callable[[str], Any]) -> None:
    assert faults(case.base, read(case.text())) == []


@pytest.mark.parametrize("read", READERS)
def test_refuses_most_of_what_is_faulty(read: Callable[[str], Any]) -> None:
    cases = [case for group in BAD for case in read_cases(group) if is_about_itself(case) and is_yaml(case.text())]
    assert len(cases) >= 200
    accepted = [f"{case.base}: {case.name}" for case in cases if not faults(case.base, read(case.text()))]
    rate = 1 - len(accepted) / len(cases)
    shown = "\n  ".join([f"{rate:.1%} of {len(cases)} are refused {read.__name__} reads them, but not:", *accepted])
    sys.stdout.write(f"{shown}\n")  # pytest shows it with -s
    assert rate >= AT_LEAST, shown
