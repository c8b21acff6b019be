"""The launcher handles every secret: a package that is not the pinned one does not get into it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sconectl.adapters.docker_engine import DockerEngine
from sconectl.errors import BuildFailed
from sconectl.toolchains import launcher_bundle
from sconectl.toolchains.native_build import BuildEnvironment


@pytest.mark.parametrize(
    ("pattern", "instead", "named"),
    [
        (r"(?<=[0-9a-f]{63})[0-9a-f]\b", lambda digit: f"{int(digit[0], 16) ^ 1:x}", "DO NOT MATCH THE HASHES"),
        (r"cffi==(?:.*\\\n)+.*\n", "cffi\n", "In --require-hashes mode"),
    ],
    ids=["another wheel", "an unpinned one"],
)
def test_the_build_refuses(
    base_image: str,
    ca_bundle: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    instead: Any,
    named: str,
) -> None:
    changed, count = re.subn(pattern, instead, launcher_bundle.REQUIREMENTS)
    assert count
    monkeypatch.setattr(launcher_bundle, "REQUIREMENTS", changed)
    engine = DockerEngine()
    info = engine.inspect(base_image)
    assert info is not None
    environment = BuildEnvironment(Path(ca_bundle).read_bytes() if ca_bundle else b"")
    with pytest.raises(BuildFailed) as refused:
        launcher_bundle.obtain_bundle(engine, info, environment, tmp_path, tmp_path, print)
    assert named in refused.value.output
    assert launcher_bundle.find_launcher(engine, info, tmp_path) is None
