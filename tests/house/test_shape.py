"""Files are small, well named, and say what they are for."""

from __future__ import annotations

import ast

from .sources import PACKAGE, ROOT, modules

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


def test_each_file_holds_one_idea() -> None:
    long = {module.shown: lines for module in modules() if (lines := module.text.count("\n")) > MAX_LINES}
    assert not long, f"split by idea what has more than {MAX_LINES} lines: {long}"


def test_each_module_says_what_it_is_for() -> None:
    assert [module.shown for module in modules() if not ast.get_docstring(module.tree)] == []


def test_names_say_something() -> None:
    found = [
        str(path.relative_to(ROOT))
        for folder in ("sconectl", "tests", "bench", "scripts")
        for path in (ROOT / folder).rglob("*")
        if path.stem.strip("_") in NAMELESS
    ]
    assert not found, f"name these after what they hold: {found}"
