"""What the server uses of uvicorn beyond its documented interface is as it was when that was written.

A failure here means: read what has changed in uvicorn, see whether `http_protocol`, `https_server` and `application`
still do what they say, run tests/unit/cas and tests/e2e/test_cas_hostile.py, and then write down the new digests.
"""

from __future__ import annotations

import asyncio.sslproto
import hashlib
import inspect
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import uvicorn
from packaging.requirements import Requirement
from uvicorn.protocols.http import flow_control, h11_impl

PROJECT = Path(__file__).parents[3] / "pyproject.toml"
USED: dict[str, tuple[Callable[..., object] | type, str]] = {
    "H11Protocol": (h11_impl.H11Protocol, "c2573d455fed4ec2"),
    "RequestResponseCycle": (h11_impl.RequestResponseCycle, "b9327fce724d5252"),
    "FlowControl": (flow_control.FlowControl, "126debcdaa894c83"),
    "Server._serve": (uvicorn.Server._serve, "4575b7a50adfede8"),
    "Server.main_loop": (uvicorn.Server.main_loop, "afccb353a119333f"),
    "Server.on_tick": (uvicorn.Server.on_tick, "60ea49b06ccf68c1"),
    "Server.shutdown": (uvicorn.Server.shutdown, "9b33c50562992b1e"),
}


@pytest.mark.parametrize("name", USED)
def test_the_internals_that_are_used_have_not_changed(name: str) -> None:
    found, expected = USED[name]
    assert hashlib.sha256(inspect.getsource(found).encode()).hexdigest()[:16] == expected, __doc__


def test_only_versions_with_these_internals_are_installed() -> None:
    requirements = [Requirement(line) for line in tomllib.loads(PROJECT.read_text())["project"]["dependencies"]]
    [pinned] = [requirement for requirement in requirements if requirement.name == "uvicorn"]
    major, minor, _ = uvicorn.__version__.split(".")
    assert pinned.specifier.contains(uvicorn.__version__)
    assert not pinned.specifier.contains(f"{major}.{int(minor) + 1}.0")
    assert not pinned.specifier.contains(f"{major}.{int(minor) - 1}.0")


def test_asyncio_has_the_buffer_that_is_made_smaller() -> None:
    assert asyncio.sslproto.SSLProtocol.max_size > 0
    assert "self.max_size" in inspect.getsource(asyncio.sslproto.SSLProtocol)
