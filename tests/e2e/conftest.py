"""A machine for the end-to-end tests: base image, workspace, CAS, and the example built and applied once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bad_inputs import bench, bench_machine  # noqa: F401 (fixtures)
from .world import World, docker, must, running_world


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
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all worlds keep their downloads and layer indexes, as one user's projects do."""
    return tmp_path_factory.mktemp("cache")


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
