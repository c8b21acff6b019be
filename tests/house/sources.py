"""Reads the project's own sources, for the tests beside this file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "sconectl"


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str  # like sconectl.cas.store.store; a package's own file has the package's name
    path: Path
    text: str
    tree: ast.Module

    @property
    def shown(self) -> str:
        """How messages call it."""
        return str(self.path.relative_to(ROOT))

    @property
    def area(self) -> str:
        """Return the room it is in: the package or module right below sconectl ('' for the root itself)."""
        return area_of(self.name)


def area_of(module: str) -> str:
    """Return the room of a dotted name: `sconectl.cas.store.store` is in `cas`."""
    return module.split(".")[1] if "." in module else ""


def room_of(module: str) -> str:
    """Return the room of a folder: `sconectl.cas.store.versions` is in `store`, `sconectl.cas.daemon` in none."""
    parts = module.split(".")
    return parts[2] if len(parts) > 3 else ""


@cache
def modules() -> tuple[Module, ...]:
    """Return every module of the package that can be parsed, sorted by path."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        try:
            tree = ast.parse(text, str(path))
        except SyntaxError:
            continue  # has a test of its own
        found.append(Module(name, path, text, tree))
    return tuple(found)


def imports(module: Module) -> tuple[tuple[int, str], ...]:
    """Return line and absolute dotted name of everything that `module` imports, wherever it does so.

    `from sconectl import errors` counts as `sconectl.errors`; of `from sconectl.errors import CasError` the
    name is `sconectl.errors.CasError`, which is in the same room.
    """
    return _imports()[module.name]


@cache
def _imports() -> dict[str, tuple[tuple[int, str], ...]]:
    return {module.name: tuple(_found(module)) for module in modules()}


def _found(module: Module) -> Iterator[tuple[int, str]]:
    package = module.name if module.path.name == "__init__.py" else module.name.rpartition(".")[0]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, base] if base else up)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def called_name(node: ast.expr) -> str:
    """Return the dotted name of a call's function, like `sys.exit`, or '' if it has none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = called_name(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""
