"""Converted images run as the native ones do, for images drawn at random: the same seed draws the same images.

Compared are arguments, environment, working directory, user, groups, umask, limits, signals, open files, files of the
image, exit code, health and where `docker exec` lands. Where an image cannot be converted, the reason names the cause.

SCONECTL_TEST_NATIVE_IMAGES is how many images are drawn, SCONECTL_TEST_SEED another beginning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from .native_images import Native, busybox_of, draw, load
from .native_runs import converted, observe
from .world import World, docker

COUNT = int(os.environ.get("SCONECTL_TEST_NATIVE_IMAGES", "8"))
SEED = os.environ.get("SCONECTL_TEST_SEED", "31")
SMALL = "sconectl-test-image/musl-shell"


@pytest.fixture(scope="module")
def busybox() -> bytes:
    if docker("image", "inspect", SMALL).code != 0:
        pytest.skip(f"{SMALL} is not there; `make test` makes it")
    return busybox_of(SMALL)


def drawn() -> Iterator[Native]:
    for number in range(COUNT):
        yield draw(number, Random(f"{SEED}-{number}"))


def compared(native: Native, busybox: bytes, world: World) -> str:
    """Run one image both ways; return what is wrong, with the image that shows it."""
    source = f"sconectl-test/{world.name}-source-{native.number}:1"
    load(native, source, busybox)
    done, image, config_id = converted(native, source, world, f"ns-{world.name}-{native.number}")
    if done.code:
        expected = bool(native.refused) and any(reason in done.err for reason in native.refused)
        return "" if expected and done.code != 1 else f"not converted: {done.err}"
    if native.refused:
        return f"converted, although {native.refused}"
    options = ("-e", f"SCONE_CONFIG_ID={config_id}", "-e", f"SCONE_CAS_ADDR={world.address}")
    there = observe(native, source, f"{world.name}-native-{native.number}")
    here = observe(native, image, f"{world.name}-converted-{native.number}", options)
    return "" if here == there else "\n".join(_differences(there.__dict__, here.__dict__))


def _differences(there: dict[str, object], here: dict[str, object]) -> Iterator[str]:
    for name, native in there.items():
        one, two = (value if isinstance(value, tuple) else (value,) for value in (native, here[name]))
        yield from (f"native    {name}: {line}" for line in one if line not in two)
        yield from (f"converted {name}: {line}" for line in two if line not in one)


def test_native_and_converted_agree(module_world: World, busybox: bytes) -> None:
    print(f"seed {SEED}, {COUNT} images")  # noqa: T201
    with ThreadPoolExecutor(3) as pool:
        natives = list(drawn())
        # The first makes the launcher, which the others then find.
        faults = [compared(natives[0], busybox, module_world)]
        faults += pool.map(lambda native: compared(native, busybox, module_world), natives[1:])
    shown = [f"image {n.number}: {n}\n{fault}" for n, fault in zip(natives, faults, strict=True) if fault]
    refused = sum(bool(native.refused) for native in natives)
    print(f"{len(natives) - refused - len(shown)} agree, {refused} refused, {len(shown)} wrong")  # noqa: T201
    assert not shown, "\n\n".join(shown)
    assert refused < len(natives) / 2
