"""What the launcher is made with is pinned: by hash, for each machine, with everything that is needed at run time."""

from __future__ import annotations

import re
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from sconectl.toolchains.sim.launcher_bundle import REQUIREMENTS

ONLY_FOR_MAKING_BINDINGS = frozenset({"pycparser"})
PINS = re.compile(r"((?:^# \S+\.whl\n)+)^([\w.-]+)==([\w.]+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n", re.MULTILINE)


def pins() -> dict[str, tuple[str, ...]]:
    """Return the wheels of each requirement."""
    found = {}
    for names, name, version, hashes in PINS.findall(REQUIREMENTS):
        wheels = tuple(line.removeprefix("# ") for line in names.splitlines())
        assert (
            len(wheels) == len(set(wheels)) == hashes.count("--hash") == len(set(re.findall(r"[0-9a-f]{64}", hashes)))
        )
        for wheel in wheels:
            assert [str(part) for part in parse_wheel_filename(wheel)[:2]] == [name, version]
        found[name] = wheels
    return found


def test_nothing_stands_there_but_pins() -> None:
    assert PINS.sub("", REQUIREMENTS).splitlines() == [
        line for line in REQUIREMENTS.splitlines()[:2] if line[:2] == "# "
    ]


def test_all_that_is_needed_is_pinned() -> None:
    wanted, known = ["cryptography"], {"cryptography"}
    while wanted:
        for line in requires(wanted.pop()) or ():
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            if name not in known | ONLY_FOR_MAKING_BINDINGS:
                known.add(name)
                wanted.append(name)
    assert set(pins()) == known


@pytest.mark.parametrize("python", [(3, 11), (3, 12), (3, 13), (3, 14)], ids=str)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("newest", [17, 28, 36, 41])
def test_every_machine_finds_what_pip_would_take_there(python: tuple[int, int], machine: str, newest: int) -> None:
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(newest, 16, -1)]
    interpreter = f"cp{python[0]}{python[1]}"
    tags: set[Tag] = {*cpython_tags(python, platforms=platforms), *compatible_tags(python, interpreter, platforms)}
    for name, wheels in pins().items():
        assert any(parse_wheel_filename(wheel)[3] & tags for wheel in wheels), name
