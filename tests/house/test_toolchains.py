"""Nothing but its own folder and the wiring knows a toolchain by name, so that another one changes nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from sconectl.cli.wiring import toolchain_traits

from .sources import Module, imports, modules
from .test_imports import WIRING

NAMES = frozenset(toolchain_traits())
_NAMED = re.compile(rf"\btoolchain ({'|'.join(NAMES)})\b")
# These are parts of the simulation: what runs in its images, what attests them, and the format of its files; and what
# explains it to people.
OF_THE_SIMULATION = frozenset({"runtime", "cas", "protect", "learn", "codes"})
ANYBODYS = ("sconectl.toolchains.interface", "sconectl.toolchains.fspf_file")


def named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of each constant that names a toolchain. The key of a mapping may be called like one."""
    keys: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys |= {id(key) for key in node.keys}
        elif isinstance(node, ast.Subscript):
            keys.add(id(node.slice))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            keys |= {id(argument) for argument in node.args[:1]}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in keys:
            if node.value in NAMES or _NAMED.search(node.value):
                yield node.lineno, node.value


def _is_elsewhere(module: Module) -> bool:
    return module.area != "toolchains" and module.name != WIRING


def test_nobody_else_names_a_toolchain() -> None:
    found = [
        f"{module.shown}:{line}: {text!r}"
        for module in modules()
        if _is_elsewhere(module) and module.area not in {*OF_THE_SIMULATION, "policy"}
        for line, text in named(module.tree)
    ]
    assert not found


def test_only_the_wiring_imports_a_toolchain() -> None:
    found = [
        f"{module.shown}:{line}: {target}"
        for module in modules()
        if _is_elsewhere(module)
        for line, target in imports(module)
        if target.startswith("sconectl.toolchains") and not target.startswith(ANYBODYS)
    ]
    assert not found


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('facts(toolchain="sim")', 1), ('if given == "scone": pass', 1), ('print(f"the toolchain sim cannot {x}")', 1),
        ('{"toolchain": "sim"}', 1), ('values["scone"], values.get("scone"), {"scone": 1}', 0), ('"simulation"', 0),
    ],
)  # fmt: skip
def test_what_counts_as_naming(text: str, count: int) -> None:
    assert len(list(named(ast.parse(text)))) == count
