"""Runs the command line in this process: the same entry point as the installed program, on a machine of its own."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.engine import PYTHON, FakeEngine, FakeRegistry

from sconectl.cli import command_table, main
from sconectl.cli.wiring import Wiring
from sconectl.errors import SconectlError

from .converting import convert  # noqa: F401 (a fixture)

Run = Callable[..., "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What a run of the command line did."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True, scope="session")
def each_command_once() -> Iterator[None]:
    """Keep the commands that typer makes of functions: a process that runs many need not make them again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_table, "load", functools.cache(command_table.load))
        yield


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(images={"base:1": PYTHON})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> Path:
    """Return the current directory: an empty project whose engine is `engine` and whose registry is its own."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(Wiring, "engine", property(lambda _self: engine))
    monkeypatch.setattr(Wiring, "registry", property(lambda _self: FakeRegistry(engine.remote)))
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `sconectl WORDS` and says what came of it. No error gets past the boundary."""

    def call(*words: str | Path, entry: Callable[[], None] = main.run_sconectl) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sconectl", *map(str, words)])
        capfd.readouterr()
        code = 0
        try:
            entry()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        except SconectlError as error:  # pragma: no cover
            pytest.fail(f"not turned into a message: {error!r}")
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Outcome(code, out, err)

    return call
