"""What holds for every test: a clean environment, and no network in tests/unit."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does: no test fails for that.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

UNIT = Path(__file__).parent / "unit"
KEPT_PREFIX = "SCONECTL_TEST_"  # what make tells the tests, like SCONECTL_TEST_BASE_IMAGE


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """Take two workers for each processor: tests also wait for engines, containers, servers and disks."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_collection_finish() -> None:
    """Keep the thousands of collected tests out of the garbage collector's way."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the freshness anchors of test CASes out of the home directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the SCONE… variables of whoever runs the tests (SCONECTL… included)."""
    for name in list(os.environ):
        if name.startswith("SCONE") and not name.startswith(KEPT_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save tests/unit the time until files are on the disk: what is tested there survives no power cut anyway."""
    if UNIT in request.path.parents:
        monkeypatch.setattr(os, "fsync", lambda _file: None)


@pytest.fixture(autouse=True)
def no_sockets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbid connections and listeners in tests/unit, but for those marked `sockets`."""
    if UNIT not in request.path.parents or request.node.get_closest_marker("sockets"):
        return

    def refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
        pytest.fail("a unit test used the network; give it a fake, or mark it with @pytest.mark.sockets")

    for method in ("bind", "connect", "connect_ex", "listen", "sendto"):
        monkeypatch.setattr(socket.socket, method, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
