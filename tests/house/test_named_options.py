"""Options that messages name exist in the commands that can say them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from sconectl.cli import sconify_options

from .sources import Module, modules

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
_RUN_STEP = "`run` step"


def texts(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the literals of a module that are no docstrings."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(module.tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value


def options() -> set[str]:
    """Return the options of sconify-image, as its table says them."""
    [table] = [module for module in modules() if module.name == sconify_options.__name__]
    return {option for _, text in texts(table) for option in _OPTION.findall(text)}


SCONIFY = [module for module in modules() if module.name.startswith("sconectl.apply.sconify")]


@pytest.mark.parametrize("module", SCONIFY, ids=lambda module: module.name)
def test_what_converts_names_options_of_its_command_only(module: Module) -> None:
    assert [(line, o) for line, text in texts(module) for o in _OPTION.findall(text) if o not in options()] == []


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_what_every_image_meets_names_no_step_that_a_converted_one_lacks(module: Module) -> None:
    if module.area in ("toolchains", "runtime"):
        said = [(line, text) for line, text in texts(module) if _RUN_STEP in text or "--base-image" in text]
        assert said == []
