"""A CAS with every rule, an engine and a target directory, all of this test alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.engine import PYTHON, FakeEngine
from fakes.stores import MemorySessionStore

from sconectl.adapters.workspace_disk import DiskWorkspace

from .one_project import Bench


@pytest.fixture
def store(tmp_path: Path) -> MemorySessionStore:
    return MemorySessionStore(tmp_path)


@pytest.fixture
def workspace(tmp_path: Path) -> DiskWorkspace:
    return DiskWorkspace(tmp_path / "target")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(images={"base:1": PYTHON})


@pytest.fixture
def bench(engine: FakeEngine, store: MemorySessionStore, workspace: DiskWorkspace, tmp_path: Path) -> Bench:
    return Bench(engine, store, workspace, tmp_path)
