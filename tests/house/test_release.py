"""What is released agrees with itself and tells nothing about the place it was made at."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import sconectl

from .sources import ROOT

SKIPPED = frozenset({"target", "__pycache__", "node_modules"})
SKIPPED_AT_THE_TOP = frozenset({"dist", "build"})
WORKPLACE = re.compile(
    r"/work/(?:main|shared)\b"  # absolute paths of a checkout
    r"|/(?:home|Users)/(?!nonroot\b|app\b|user\b)[a-z][\w.-]*/"
    r"|/opt/(?:wheels|pypi)\b"  # package mirrors of one machine
    r"|\bdisabled-by-[a-z]"
)


def project_files() -> Iterator[tuple[Path, str]]:
    """Yield every text file of the checkout, generated folders and hidden tool folders left out."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        generated = any(p in SKIPPED or (p.startswith(".") and p != ".ci") for p in parts[:-1])
        generated |= parts[0] in SKIPPED_AT_THE_TOP
        if generated or path.name == ".git" or not path.is_file() or path.stat().st_size > 1 << 20:
            continue
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_git_ignores_nothing_of_the_package() -> None:
    """What .gitignore names is in no wheel, even if it was added to the repository."""
    files = [path for path in (ROOT / "sconectl").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    names = "\n".join(str(path.relative_to(ROOT)) for path in files)
    command = ["git", "check-ignore", "--no-index", "--verbose", "--stdin"]
    done = subprocess.run(command, input=names, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode > 1:
        pytest.skip("this is no checkout of git")
    assert done.stdout == ""


def test_versions_agree() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    top = re.search(r"^## \[([^\]]+)\]", changelog, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert top
    assert top.group(1) == sconectl.__version__ == project["version"]


def test_nothing_names_the_workplace() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group()}"
        for path, text in project_files()
        for number, line in enumerate(text.splitlines(), 1)
        if (match := WORKPLACE.search(line))
    ]
    assert not found, "\n".join(found)


def test_ci_runs_the_documented_test_command() -> None:
    last = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    assert last == "exec make test"
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
