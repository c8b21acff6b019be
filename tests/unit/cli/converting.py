"""An image to convert, the command that does it, and what it left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes.engine import FakeEngine, Root, of_layers, tar_of, with_parents
from fakes.roots import elf_file

from sconectl.cli import main
from sconectl.text.yaml_tree import parse

if TYPE_CHECKING:
    from .conftest import Outcome, Run

Convert = Callable[..., "Outcome"]


@pytest.fixture
def convert(run: Run, project: Path, engine: FakeEngine) -> Convert:
    """Return a function that converts the image native:1 into conf:1, session ns/app."""
    program = (0o755, elf_file())
    root: Root = {
        "/bin": (0o777, "usr/bin"),
        "/usr/bin/app": program,
        "/usr/bin/sh": program,
        "/app/data.txt": (0o644, b"hidden"),
        "/data/plain.txt": (0o644, b"plain"),
    }
    config = {"Env": ["PATH=/usr/bin", "LANG=C.UTF-8"], "Cmd": ["/bin/sh", "-c", "app --serve"], "WorkingDir": "/app"}
    engine.images["native:1"] = of_layers([tar_of(with_parents(root))], config)
    Path("sconectl.toml").write_text("[launcher]\nbase_image = 'base:1'\n")

    def call(*words: str | Path, namespace: bool = True, entry: Callable[[], None] = main.convert_image) -> Outcome:
        fixed = [
            "--from=native:1",
            "--to=conf:1",
            "--namespace=ns",
            "--name=app",
            *(["--create-namespace"] * namespace),
        ]
        return run(*fixed, *words, entry=entry)

    return call


def policy(name: str = "app") -> dict[str, Any]:
    value = parse(Path(f"target/policies/{name}.yaml").read_text(), name).value
    assert isinstance(value, dict)
    return value


def facts() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("target/images/app.json").read_text())["facts"]
    return found


def policy_after(convert: Convert, *words: str) -> dict[str, Any]:
    done = convert(*words)
    assert done.code == 0, done.err
    return policy()
