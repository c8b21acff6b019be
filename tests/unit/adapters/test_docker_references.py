"""How image references are split for the engine, and how its failures are told."""

from __future__ import annotations

import gc

import pytest

from sconectl.adapters import docker_engine
from sconectl.adapters.docker_engine import DockerEngine
from sconectl.adapters.registry import split_reference
from sconectl.errors import EngineUnreachable

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("app", ("app", "latest")),
        ("app:1", ("app", "1")),
        ("localhost:5000/app", ("localhost:5000/app", "latest")),
        ("localhost:5000/app:1", ("localhost:5000/app", "1")),
        (f"app@{DIGEST}", ("app", DIGEST)),
        (f"h:5000/app:1@{DIGEST}", ("h:5000/app", DIGEST)),
        (f"h:5000/app@{DIGEST}", ("h:5000/app", DIGEST)),
    ],
)
def test_repository_and_tag(reference: str, parts: tuple[str, str]) -> None:
    assert docker_engine._split(reference) == parts


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("app", ("registry-1.docker.io", "library/app", "latest")),
        ("me/app:1", ("registry-1.docker.io", "me/app", "1")),
        ("localhost/app", ("localhost", "app", "latest")),
        ("h:5000/a/b:1", ("h:5000", "a/b", "1")),
        ("r.example.org/app", ("r.example.org", "app", "latest")),
        (f"r.example.org/app:1@{DIGEST}", ("r.example.org", "app", DIGEST)),
    ],
)
def test_registry_name_and_version(reference: str, parts: tuple[str, str, str]) -> None:
    assert split_reference(reference) == parts


@pytest.mark.parametrize("host", ["unix:///nonexistent/docker.sock", "nonsense://x"])
@pytest.mark.sockets
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK forgets to close a socket
def test_no_engine(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(EngineUnreachable) as caught:
        DockerEngine()
    assert caught.value.exit_code == 5
    assert "DOCKER_HOST" in caught.value.hint
    caught.value.__cause__ = caught.value.__context__ = None
    del caught
    gc.collect()
