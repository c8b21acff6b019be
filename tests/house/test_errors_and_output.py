"""One error tree, and only the command line speaks to the user or ends the process."""

from __future__ import annotations

import ast
import builtins
from functools import cache

import pytest

from .sources import Module, called_name, modules

SPEAKING = frozenset({"cli", "__main__", "runtime"})
PROGRAMS = frozenset(
    {"sconectl.toolchains.collect_launcher", "sconectl.toolchains.tracer"}
)  # run on their own, inside a container
COPIES = frozenset({"sconectl.apply.two_processes", "sconectl.protect.workers"})  # end their copies of this process
EXITS = frozenset({"sys.exit", "exit", "quit", "os._exit", "os.abort"})

# Exception classes outside the tree, each with the reason. Those of runtime/ need none: the launcher runs in
# images without errors.py and turns its own exceptions into a line of the log.
OUTSIDE_THE_TREE = {
    "AuditError": "cas/: what is wrong with a log; the verdict and its exit code say so",
    "OtherCas": "cas/: the same, for the log of another CAS",
    "_RemoteNeeded": "cas/sharing.py: leaves a transaction to fetch a value, and never the module",
    "Abandoned": "cas/lanes.py: ends work that nobody waits for; the server has nobody to answer",
    "Busy": "cas/: a CasRefusal, to be tried again",
    "CasRefusal": "cas/: a refusal before it is an HTTP answer; whoever asked gets CasRefused",
    "FragmentError": "policy/: what a reference stands for cannot be had; the CAS turns it into a refusal",
    "Misfits": "manifest/: raised inside of pydantic, which takes a ValueError; becomes findings with positions",
    "Unfit": "manifest/: the same",
    "PlaceholderError": "policy/: caught by the rules, which turn it into a finding with a position",
    "BadKey": "protect/: the same; whoever reads a key turns it into a refusal",
    "BadSignature": "protect/: the same as SealBroken",
    "SealBroken": "protect/: part of the launcher, which runs in images without errors.py",
}

BUILTIN_EXCEPTIONS = frozenset(
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
)


def bases(node: ast.ClassDef) -> list[str]:
    return [called_name(base).rpartition(".")[2] for base in node.bases]


@cache
def family() -> dict[str, list[str]]:
    """Return the bases of every class of the package, by its name."""
    return {
        node.name: bases(node)
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    }


def ancestors(name: str, known: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for base in known.get(waiting.pop(), []):
            if base not in found:
                found.add(base)
                waiting.append(base)
    return found


def test_exceptions_outside_the_tree_exist() -> None:
    assert set(OUTSIDE_THE_TREE) <= set(family())


@pytest.mark.parametrize("module", [m for m in modules() if m.area != "runtime"], ids=lambda m: m.name)
def test_exceptions_descend_from_one_class(module: Module) -> None:
    known = family()
    faults = []
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ClassDef) or node.name == "SconectlError":
            continue
        above = ancestors(node.name, known)
        is_exception = above & BUILTIN_EXCEPTIONS or node.name.endswith(("Error", "Exception"))
        if is_exception and "SconectlError" not in above and node.name not in OUTSIDE_THE_TREE:
            faults.append(f"{module.shown}:{node.lineno}: {node.name} is not a SconectlError")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("module", modules(), ids=lambda m: m.name)
def test_nothing_vague_is_raised(module: Module) -> None:
    faults = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = called_name(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)
            if raised in ("Exception", "BaseException", "RuntimeError", "SconectlError"):
                faults.append(f"{module.shown}:{node.lineno}: raise a class of errors.py that fits")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("module", modules(), ids=lambda m: m.name)
def test_only_the_command_line_prints_and_exits(module: Module) -> None:
    if module.area in SPEAKING or module.name in PROGRAMS | COPIES:
        return
    faults = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and (name := called_name(node.func)) in EXITS | {"print"}:
            faults.append(f"{module.shown}:{node.lineno}: {name}() belongs to cli/")
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if called_name(raised) == "SystemExit":
                faults.append(f"{module.shown}:{node.lineno}: SystemExit belongs to cli/")
    assert not faults, "\n".join(faults)
