"""A machine for the end-to-end tests: base image, workspace, CAS, and the example built and applied once.

Several workers run them at the same time, each a file after the other, in one engine and with one cache.
"""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sconectl.adapters.docker_engine import DockerEngine
from sconectl.image.build.native_build import BuildEnvironment
from sconectl.toolchains.interface import Workshop
from sconectl.toolchains.sim.launcher_bundle import find_launcher, obtain_launcher

from .bad_inputs import bench, bench_machine  # noqa: F401 (fixtures)
from .registry import running_registry
from .world import World, docker, must, remove_kept, running_world

LONGEST = (
    *("test_secure_documents", "test_restarts", "test_run_steps"),
    *("test_counter", "test_volume_databases", "test_changes_story"),
    *("test_hello_user", "test_reproducible", "test_up_ways", "test_sconify_seed", "test_up_kinds"),
    *("test_flask_redis", "test_moving_names", "test_bad_input_engine", "test_docs_ci", "test_copied_images"),
    *("test_hello_java", "test_bad_input_images", "test_up", "test_volume_life", "test_cas_image", "test_curated"),
    *("test_flask_sconify", "test_sconified", "test_images", "test_signing", "test_main_job"),
    *("test_two_cases", "test_bad_input_registry", "test_mesh_fields", "test_native_part", "test_cas_durability"),
    *("test_env_tutorial", "test_public_images", "test_incremental", "test_unreadable", "test_volume_faults"),
)
"""The files that take longest start first, so that no worker has one of them at the end, when others have none.
The first one of each line walks a README: only one of them can at a time."""


def pytest_configure() -> None:
    """Let what tests start hear interrupts, where these tests run in the background of a shell, which ignores them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files: the longest, then those with many tests. A worker gets one after the other."""
    counts = Counter(item.path for item in items)

    def place(item: pytest.Item) -> tuple[int, int]:
        name = item.path.stem
        return (LONGEST.index(name) if name in LONGEST else len(LONGEST), -counts[item.path])

    items.sort(key=place)


@pytest.fixture(scope="session")
def base_image() -> str:
    name = os.environ.get("SCONECTL_TEST_BASE_IMAGE", "")
    if not name:
        pytest.skip("SCONECTL_TEST_BASE_IMAGE names no Python base image; `make test` sets it")
    if docker("info").code != 0:
        pytest.skip("no container engine is running; `make test` starts one")
    return name


@pytest.fixture(scope="session")
def ca_bundle() -> str:
    return os.environ.get("SCONECTL_TEST_CA_BUNDLE", "")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory, worker_id: str, base_image: str, ca_bundle: str) -> Iterator[Path]:
    """Where the worlds of all workers keep their downloads and layer indexes, as one user's projects do.

    The launcher is there: the worker that comes first makes it.
    """
    root = tmp_path_factory.getbasetemp()
    folder = (root if worker_id == "master" else root.parent) / "cache"
    kept = folder / "sconectl"
    kept.mkdir(parents=True, exist_ok=True)
    environment = BuildEnvironment(Path(ca_bundle).read_bytes() if ca_bundle else b"")
    with (folder / "lock").open("w") as lock, tempfile.TemporaryDirectory() as work:
        fcntl.flock(lock, fcntl.LOCK_EX)
        engine = DockerEngine()
        base = engine.inspect(base_image)
        assert base is not None
        obtain_launcher(base, Workshop(engine, environment, Path(work), kept, print))
    yield folder
    remove_kept()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry of several files: an engine compresses a layer anew for each one that it does not know yet."""
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running.address


@pytest.fixture(scope="session")
def launcher(base_image: str, cache: Path) -> str:
    """The id of the launcher's image in the engine."""
    engine = DockerEngine()
    base = engine.inspect(base_image)
    found = base and find_launcher(engine, base, cache / "sconectl")
    assert found
    return found.id


@pytest.fixture(scope="session")
def shared_world(
    tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str, cache: Path
) -> Iterator[World]:
    """The example, built and applied; tests must not change it."""
    with running_world(tmp_path_factory.mktemp("shared"), base_image, ca_bundle, cache) as world:
        project = world.hello()
        must(world.apply_service(project / "service.yaml"))
        must(world.apply_mesh(project / "mesh.yaml"))
        yield world


@pytest.fixture(scope="module")
def module_world(
    tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str, cache: Path
) -> Iterator[World]:
    """A machine with a running CAS for all tests of a module."""
    with running_world(tmp_path_factory.mktemp("module"), base_image, ca_bundle, cache) as world:
        yield world


@pytest.fixture
def hello(shared_world: World) -> Iterator[World]:
    """The example, built and applied; the containers of a test are removed after it."""
    yield shared_world
    shared_world.remove_containers()


@pytest.fixture
def world(tmp_path: Path, base_image: str, ca_bundle: str, cache: Path) -> Iterator[World]:
    """A fresh machine with a running CAS."""
    with running_world(tmp_path, base_image, ca_bundle, cache) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def walker(tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str, cache: Path) -> Iterator[World]:
    """A machine without a CAS, on which somebody types what a README says; its images stay for other tests."""
    machine = World(tmp_path_factory.mktemp("walk"), base_image, ca_bundle, cache=cache)
    machine.configure()
    try:
        yield machine
    finally:
        machine.close()
