"""Which test shows what the applications promise.

In: tests/statements.toml, and the tests' sources, in which `@pytest.mark.shows("003.wire")` stands at a test.
Out: the page docs/conformance.md. Raises ValueError for statements and marks that do not fit together.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "conformance.md"
HEAD = """# What the applications promise, and which test shows it

The examples are applications that others have described for SCONE. Each line is something that can be observed of one,
and the test that shows it with real servers, a container engine and the embedded CAS. `scripts/write_conformance.py`
writes this page from `tests/statements.toml` and the marks at the tests; `make e2e-NAME` runs those of an example.
"""
ATTACKS = "attacks"
"""The table with a column for each application."""


@dataclass(frozen=True)
class Statement:
    """One line; `reason` says why no test shows it."""

    name: str
    text: str
    note: str = ""
    reason: str = ""


def applications(content: str) -> dict[str, list[Statement]]:
    """Return the statements of each application, by its title."""
    found: dict[str, list[Statement]] = {}
    tables: Mapping[str, Mapping[str, Any]] = tomllib.loads(content)
    for application, table in tables.items():
        if application == ATTACKS:
            continue
        entries = [(name, entry) for name, entry in table.items() if name != "title"]
        found[f"{application}: {table['title']}"] = [
            Statement(f"{application}.{name}", entry["text"], entry.get("note", ""), entry.get("not_here", ""))
            for name, entry in entries
        ]
    return found


def marks(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield statement, file and name of each test that is marked."""
    for path in sorted(folder.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.shows(" not in text:
            continue
        for node in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.shows":
                    for argument in decorator.args:
                        yield ast.literal_eval(argument), path.relative_to(folder).as_posix(), node.name


def attacks(content: str, shown: dict[str, list[str]], faults: list[str]) -> str:
    """Return the table of attacks; take the tests that show them out of `shown`, and add what is wrong to `faults`."""
    table = dict(tomllib.loads(content).get(ATTACKS, {}))
    if not table:
        return ""
    title, columns = table.pop("title"), table.pop("applications")
    text = f"\n## {title}\n\n| attack | {' | '.join(columns.values())} |\n| --- |{' --- |' * len(columns)}\n"
    for attack, entry in table.items():
        cells = []
        for application in columns:
            name = f"attack.{attack}.{application}"
            tests, reason = shown.pop(name, []), entry.get("not_here", {}).get(application, "")
            if bool(tests) == bool(reason):
                faults.append(f"{name} needs either a test or a reason")
            cells.append("<br>".join(sorted(tests)) or f"({reason})")
        text += f"| {entry['text']} | {' | '.join(cells)} |\n"
    return text


def page(content: str, folder: Path) -> str:
    """Return the page; every statement has a test or a reason, not both, and every mark a statement."""
    shown: dict[str, list[str]] = {}
    for statement, file, test in marks(folder):
        shown.setdefault(statement, []).append(f"[{test}](../tests/{file})")
    text = HEAD
    faults = []
    for title, statements in applications(content).items():
        text += f"\n## {title}\n\n| | statement | shown by |\n| --- | --- | --- |\n"
        for each in statements:
            tests = shown.pop(each.name, [])
            if bool(tests) == bool(each.reason):
                faults.append(f"{each.name} needs either a test or a reason")
            note = f" ({each.note})" if each.note else ""
            by = ", ".join(sorted(tests)) or f"no test: {each.reason}"
            text += f"| {each.name} | {each.text}{note} | {by} |\n"
    text += attacks(content, shown, faults)
    faults += [f"{name} is no statement; it stands at {tests[0]}" for name, tests in shown.items()]
    if faults:
        raise ValueError("; ".join(faults))
    return text
