"""One error tree, and only the command line speaks to the user or ends the process."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from functools import cache
from typing import TypeVar

from .sources import Module, called_name, modules

_Node = TypeVar("_Node", bound=ast.AST)
SPEAKING = frozenset({"cli", "__main__", "runtime"})
PROGRAMS = frozenset(
    {"sconectl.toolchains.sim.collect_launcher", "sconectl.image.observe.tracer"}
)  # run on their own, inside a container
COPIES = frozenset(
    {"sconectl.apply.sources.two_processes", "sconectl.protect.workers"}
)  # end their copies of this process
EXITS = frozenset({"sys.exit", "exit", "quit", "os._exit", "os.abort"})

# Exception classes outside the tree, each with the reason. Those of runtime/ need none: the launcher runs in
# images without errors.py and turns its own exceptions into a line of the log.
OUTSIDE_THE_TREE = {
    "AuditError": "cas/: what is wrong with a log; the verdict and its exit code say so",
    "OtherCas": "cas/: the same, for the log of another CAS",
    "_RemoteNeeded": "cas/sessions/sharing.py: leaves a transaction to fetch a value, and never the module",
    "Abandoned": "cas/bounds/lanes.py: ends work that nobody waits for; the server has nobody to answer",
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


def nodes(kind: type[_Node]) -> Iterator[tuple[Module, _Node]]:
    """Yield every node of a kind, with its module."""
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, kind):
                yield module, node


def bases(node: ast.ClassDef) -> list[str]:
    return [called_name(base).rpartition(".")[2] for base in node.bases]


@cache
def family() -> dict[str, list[str]]:
    """Return the bases of every class of the package, by its name."""
    return {node.name: bases(node) for _, node in nodes(ast.ClassDef)}


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


def test_exceptions_descend_from_one_class() -> None:
    known = family()
    faults = []
    for module, node in nodes(ast.ClassDef):
        if module.area == "runtime" or node.name == "SconectlError":
            continue
        above = ancestors(node.name, known)
        is_exception = above & BUILTIN_EXCEPTIONS or node.name.endswith(("Error", "Exception"))
        if is_exception and "SconectlError" not in above and node.name not in OUTSIDE_THE_TREE:
            faults.append(f"{module.shown}:{node.lineno}: {node.name} is not a SconectlError")
    assert not faults, "\n".join(faults)


def raised_name(node: ast.Raise) -> str:
    return called_name(node.exc.func if isinstance(node.exc, ast.Call) else node.exc) if node.exc else ""


def test_nothing_vague_is_raised() -> None:
    vague = ("Exception", "BaseException", "RuntimeError", "SconectlError")
    faults = [
        f"{module.shown}:{node.lineno}: raise a class of errors.py that fits"
        for module, node in nodes(ast.Raise)
        if raised_name(node) in vague
    ]
    assert not faults, "\n".join(faults)


def test_only_the_command_line_prints_and_exits() -> None:
    faults = [
        f"{module.shown}:{node.lineno}: {name}() belongs to cli/"
        for module, node in nodes(ast.Call)
        if (name := called_name(node.func)) in EXITS | {"print"} and not may_speak(module)
    ]
    faults += [
        f"{module.shown}:{node.lineno}: SystemExit belongs to cli/"
        for module, node in nodes(ast.Raise)
        if raised_name(node) == "SystemExit" and not may_speak(module)
    ]
    assert not faults, "\n".join(faults)


def may_speak(module: Module) -> bool:
    return module.area in SPEAKING or module.name in PROGRAMS | COPIES
