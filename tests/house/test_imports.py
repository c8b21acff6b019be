"""Imports go one way; the tables below are the whole rule."""

from __future__ import annotations

import sys
from collections import Counter
from functools import cache

from .sources import PACKAGE, Module, area_of, imports, modules, room_of

MOST_MODULES = 15  # side by side in one folder

# Anybody may import the foundation; the foundation imports only itself.
FOUNDATION = frozenset(
    {"text", "codes", "errors", "ports", "assets", "host_names", "key_hash", "cas_address", "proxies", "regular_files"}
)

# Folder -> other folders it may import, besides the foundation and itself.
ALLOWED: dict[str, frozenset[str]] = {
    "": frozenset(),
    "manifest": frozenset(),
    "policy": frozenset(),
    "protect": frozenset(),
    "runtime": frozenset({"protect"}),
    "learn": frozenset({"manifest", "policy"}),
    "plan": frozenset({"manifest", "policy", "protect"}),  # protect: the paths that are never protected
    "artefacts": frozenset({"plan", "policy"}),
    "image": frozenset({"plan", "protect", "runtime"}),  # runtime: the places that both sides agree on
    "toolchains": frozenset({"image", "plan", "policy", "protect", "runtime"}),
    "starter": frozenset({"manifest", "plan"}),
    "cas": frozenset({"policy"}),
    "adapters": frozenset({"image", "plan", "protect"}),  # protect: signing keys
    "apply": frozenset({"artefacts", "image", "manifest", "plan", "policy", "protect"}),
    "usecases": frozenset({"apply", "artefacts", "image", "manifest", "plan", "policy", "protect", "toolchains"}),
    "report": frozenset({"apply", "plan", "policy", "usecases"}),
} | dict.fromkeys(FOUNDATION, frozenset())

# The rooms inside of a folder, the lowest first: each may import those before it, and nobody those behind it.
ROOMS = {
    "policy": ("forms", "model", "serialized", "rules", "", "diff", "rolling"),
    "manifest": ("spelling", "model", "reading", ""),
    "plan": ("facts", "values", "secrets", "service", "network", "mesh", "advice", ""),
    "image": ("build", "layers", "settings", "program", "observe"),
    "apply": ("sources", "lock", "", "copies", "rolling", "retiring", "volumes", "curated"),
    "artefacts": ("", "local"),
    "usecases": ("", "over_time", "local"),
    "protect": ("", "volume"),
    "runtime": ("", "renewal", "system_calls", "volumes"),
    "toolchains": ("", "sim"),
    "cas": (
        "bounds",
        "disk",
        "audit",
        "keys",
        "secrets",
        "store",
        "maintenance",
        "attest",
        "client",
        "operator",
        "sessions",
        "http",
        "",
    ),
    "cli": ("output", "", "options", "runs", "publish", "session", "volume", "cas", "over_time", "commands", "local"),
}
CLIENT_KNOWS_NOT = frozenset({"starlette", "uvicorn", "OpenSSL", "sqlite3"})

OPEN = frozenset({"cli", "__main__"})  # may import anything, and nobody may import them
# The launcher. These are copied into every image and find nothing there but each other, the standard library
# and one foreign package.
LAUNCHER = frozenset({"runtime", "protect", "key_hash"})
LAUNCHER_PACKAGES = sys.stdlib_module_names | {"cryptography"}

WIRING = "sconectl.cli.wiring"  # the only module that knows the adapters

# Foreign libraries that stay in one room, so that they can be exchanged there.
ONE_ROOM = {
    "docker": frozenset({"adapters"}),
    "jinja2": frozenset({"text"}),
    "typer": frozenset({"cli"}),
    "rich": frozenset({"cli"}),
    "ruamel": frozenset({"text"}),
}

# Same input, same bytes: nothing here draws a number, looks at a clock or talks to anybody.
PURE = frozenset({"text", "manifest", "policy", "plan", "artefacts", "learn", "report"})
IMPURE = frozenset({"docker", "httpx", "random", "secrets", "socket", "subprocess", "tempfile", "time", "uuid"})


def between_folders(module: Module, target: str) -> str:
    """Return what is wrong with `module` importing `target` from another folder, or nothing."""
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


def between_rooms(module: Module, target: str) -> str:
    """Return what is wrong with `module` importing `target` from another room of its folder, or nothing."""
    order = ROOMS.get(module.area)
    if order is None or area_of(target) != module.area or module.path.name == "__main__.py":  # puts all together
        return ""
    room, other = room_of(module.name), room_of(_module_of(target))
    if order.index(room) >= order.index(other):
        return ""
    return f"{module.area}/{room} may import {list(order[: order.index(room)])} of {module.area}"


def faults_of(forbidden: object) -> str:
    assert callable(forbidden)
    return "\n".join(
        f"{module.shown}:{line}: {target}: {fault}"
        for module in modules()
        for line, target in imports(module)
        if (fault := forbidden(module, target))
    )


@cache
def _names() -> frozenset[str]:
    return frozenset(module.name for module in modules())


def _module_of(target: str) -> str:
    """Return the module that a dotted name is, or is in."""
    while target not in _names():
        target = target.rpartition(".")[0]
    return target


def test_every_folder_and_room_has_a_rule() -> None:
    assert {module.area for module in modules()} <= set(ALLOWED) | OPEN
    rooms: dict[str, set[str]] = {}
    for module in modules():
        if module.path.name != "__init__.py":
            rooms.setdefault(module.area, set()).add(room_of(module.name))
    divided = {area: found for area, found in rooms.items() if len(found) > 1}
    assert {area: found - set(ROOMS.get(area, ())) for area, found in divided.items()} == {a: set() for a in divided}
    assert {a: set(order) - rooms[a] - {""} for a, order in ROOMS.items()} == {area: set() for area in ROOMS}


def test_imports_between_folders_go_one_way() -> None:
    assert not faults_of(between_folders)


def test_imports_between_rooms_go_one_way() -> None:
    assert not faults_of(between_rooms)


def test_the_client_of_a_cas_knows_no_server() -> None:
    reached = _reached({name for name in _names() if name.startswith("sconectl.cas.client")})
    found = {
        target
        for module in modules()
        if module.name in reached
        for _, target in imports(module)
        if target.split(".")[0] in CLIENT_KNOWS_NOT
    }
    assert not found


def _uses(module: Module) -> set[str]:
    return {_module_of(target) for _, target in imports(module) if target.split(".")[0] == "sconectl"}


def _reached(names: set[str]) -> set[str]:
    """Return the modules with these names, and all that are imported by them directly and indirectly."""
    used = {module.name: _uses(module) for module in modules()}
    found, waiting = set(names), list(names)
    while waiting:
        new = used[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def test_no_module_is_part_of_a_circle() -> None:
    """Not even behind TYPE_CHECKING or in a function: who reads one would have to read the other first."""
    used = {module.name: _uses(module) - {module.name, "sconectl"} for module in modules()}
    while ends := {name for name, others in used.items() if not others}:
        used = {name: others - ends for name, others in used.items() if name not in ends}
    while roots := used.keys() - {other for others in used.values() for other in others}:
        used = {name: others for name, others in used.items() if name not in roots}
    assert not used


def test_no_folder_is_a_street() -> None:
    side_by_side = Counter(path.parent for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    long = {str(folder.relative_to(PACKAGE)): n for folder, n in side_by_side.items() if n > MOST_MODULES}
    assert not long, f"more than {MOST_MODULES} modules side by side: {long}"


def test_foreign_libraries_stay_in_their_room() -> None:
    def forbidden(module: Module, target: str) -> str:
        rooms = ONE_ROOM.get(target.split(".")[0])
        return f"belongs to {sorted(rooms)}" if rooms and module.area not in rooms else ""

    assert not faults_of(forbidden)


def test_pure_stages_reach_out_to_nobody() -> None:
    def forbidden(module: Module, target: str) -> str:
        impure = module.area in PURE and target.split(".")[0] in IMPURE
        return "facts are arguments; an adapter fetches them" if impure else ""

    assert not faults_of(forbidden)
