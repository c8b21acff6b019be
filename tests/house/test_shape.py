"""Files are small, well named, and say what they are for."""

from __future__ import annotations

import ast

import pytest

from .sources import PACKAGE, ROOT, Module, modules

OLDEST_PYTHON = (3, 11)
MAX_LINES = 400
NAMELESS = frozenset({"utils", "util", "helpers", "helper", "common", "misc"})


def test_every_file_is_python_for_the_oldest_version_we_support() -> None:
    parsed = {module.path for module in modules()}
    faults = []
    for path in sorted(PACKAGE.rglob("*.py")):
        try:
            ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=OLDEST_PYTHON)
        except SyntaxError as error:
            faults.append(f"{path.relative_to(ROOT)}:{error.lineno}: {error.msg}")
            continue
        assert path in parsed
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("module", modules(), ids=lambda m: m.name)
def test_file_holds_one_idea(module: Module) -> None:
    lines = module.text.count("\n")
    assert lines <= MAX_LINES, f"{module.shown} has {lines} lines: it holds two ideas, split it by idea"


@pytest.mark.parametrize("module", modules(), ids=lambda m: m.name)
def test_module_says_what_it_is_for(module: Module) -> None:
    assert ast.get_docstring(module.tree), f"{module.shown} has no docstring"


def test_names_say_something() -> None:
    found = [
        str(path.relative_to(ROOT))
        for folder in ("sconectl", "tests", "bench", "scripts")
        for path in (ROOT / folder).rglob("*")
        if path.stem.strip("_") in NAMELESS
    ]
    assert not found, f"name these after what they hold: {found}"
