"""Imports go one way; the table below is the whole rule."""

from __future__ import annotations

import sys

import pytest

from .sources import Module, area_of, imports, modules

# Anybody may import the foundation; the foundation imports only itself.
FOUNDATION = frozenset(
    {
        "codes",
        "errors",
        "findings",
        "host_names",
        "regular_files",
        "yaml_nodes",
        "yaml_stand_ins",
        "yaml_tree",
        "yaml_text",
        "ports",
        "assets",
        "key_hash",
        "cas_address",
        "proxies",
    }
)

# Room -> other rooms it may import, besides the foundation and itself.
ALLOWED: dict[str, frozenset[str]] = {
    "": frozenset(),
    "manifest": frozenset(),
    "policy": frozenset(),
    "protect": frozenset(),
    "learn": frozenset({"manifest", "policy"}),
    "plan": frozenset({"manifest", "policy", "protect"}),  # protect: the paths that are never protected
    "artefacts": frozenset({"plan", "policy"}),
    "apply": frozenset({"artefacts", "plan", "manifest", "policy", "toolchains", "protect"}),  # protect: signing keys
    "cas": frozenset({"policy"}),
    "toolchains": frozenset({"protect", "plan", "runtime"}),  # runtime: the places that both sides agree on
    "adapters": frozenset({"plan", "protect"}),  # protect: signing keys
    "runtime": frozenset({"protect"}),
} | dict.fromkeys(FOUNDATION, frozenset())

OPEN = frozenset({"cli", "__main__"})  # may import anything, and nobody may import them
# The launcher. These are copied into every image and find nothing there but each other, the standard library
# and one foreign package.
LAUNCHER = frozenset({"runtime", "protect", "key_hash"})
LAUNCHER_PACKAGES = sys.stdlib_module_names | {"cryptography"}

WIRING = "sconectl.cli.wiring"  # the only module that knows the adapters

# Foreign libraries that stay in one room, so that they can be exchanged there.
ONE_ROOM = {
    "docker": frozenset({"adapters"}),
    "typer": frozenset({"cli"}),
    "rich": frozenset({"cli"}),
    "ruamel": frozenset({"yaml_nodes", "yaml_tree"}),
}

# Same input, same bytes: nothing here draws a number, looks at a clock or talks to anybody.
PURE = frozenset({"manifest", "policy", "plan", "artefacts", "learn"})
IMPURE = frozenset({"docker", "httpx", "random", "secrets", "socket", "subprocess", "tempfile", "time", "uuid"})


def each_module() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("module", modules(), ids=lambda m: m.name)


def forbidden(module: Module, target: str) -> str:
    """Return what is wrong with `module` importing `target`, or nothing."""
    area, other = module.area, area_of(target)
    ours = (target + ".").startswith("sconectl.")
    if area in LAUNCHER and not (other in LAUNCHER if ours else target.split(".")[0] in LAUNCHER_PACKAGES):
        return f"only {sorted(LAUNCHER)}, the standard library and cryptography exist in an image"
    if not ours:
        return ""
    if other == "adapters" and area not in ("adapters", "__main__") and module.name != WIRING:
        return f"only {WIRING} constructs adapters"
    if area in OPEN or other in (area, "", "__version__"):
        return ""
    if other in OPEN:
        return "nobody imports the command line"
    allowed = ALLOWED.get(area, frozenset())
    if other in allowed | FOUNDATION:
        return ""
    return f"{area} may import {sorted(allowed) or 'nothing'} and the foundation"


def test_every_room_has_a_rule() -> None:
    assert {module.area for module in modules()} <= set(ALLOWED) | OPEN


@each_module()
def test_imports_go_one_way(module: Module) -> None:
    faults = [
        f"{module.shown}:{line}: {target}: {fault}"
        for line, target in imports(module)
        if (fault := forbidden(module, target))
    ]
    assert not faults, "\n".join(faults)


@each_module()
def test_foreign_libraries_stay_in_their_room(module: Module) -> None:
    faults = [
        f"{module.shown}:{line}: {target} belongs to {sorted(rooms)}"
        for line, target in imports(module)
        if (rooms := ONE_ROOM.get(target.split(".")[0])) and module.area not in rooms
    ]
    assert not faults, "\n".join(faults)


@each_module()
def test_pure_stages_reach_out_to_nobody(module: Module) -> None:
    faults = [
        f"{module.shown}:{line}: {target}: facts are arguments; an adapter fetches them"
        for line, target in imports(module)
        if module.area in PURE and target.split(".")[0] in IMPURE
    ]
    assert not faults, "\n".join(faults)
