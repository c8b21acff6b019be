"""The launcher handles every secret: a package that is not the pinned one does not get into it."""

from __future__ import annotations

import functools
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sconectl.adapters.docker_engine import DockerEngine
from sconectl.errors import BuildFailed
from sconectl.image.build.native_build import BuildEnvironment
from sconectl.toolchains.interface import Workshop
from sconectl.toolchains.sim import launcher_bundle

from .world import World, docker, gateway, must


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """A package index with wheels of somebody else, of the very versions that are pinned."""
    for name, version in re.findall(r"^([a-z]+)==([0-9.]+)", launcher_bundle.REQUIREMENTS, re.MULTILINE):
        folder, about = tmp_path / "index" / name, f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "STOLEN = True\n")
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "index"))
    with ThreadingHTTPServer((gateway(), 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://{gateway()}:{server.server_port}"
        server.shutdown()


def test_wheels_of_another_index_do_not_get_into_the_launcher(
    tmp_path: Path, base_image: str, ca_bundle: str, index: str
) -> None:
    """Whoever made the base image says where pip looks for packages."""
    world = World(tmp_path / "world", base_image, ca_bundle, cache=tmp_path / "cache")
    world.root.mkdir()
    world.configure()
    base = world.image("elsewhere")
    (world.root / "Dockerfile").write_text(
        f"FROM {base_image}\nENV PIP_INDEX_URL={index} PIP_TRUSTED_HOST={gateway()}\n"
    )
    must(docker("build", "-q", "-t", base, world.root))
    (world.root / "a.py").write_text("print('a')\n")
    about = {"name": "a", "kind": "python", "from": base, "to": world.image("a"), "command": "python3 a.py"}
    document = {"apiVersion": "scone/5.8", "kind": "genservice", "environment": {}}
    file = world.root / "service.yaml"
    file.write_text(json.dumps({**document, "build": {**about, "copy": ["a.py"], "pwd": "/app"}}))
    (world.root / "sconectl.toml").write_text(
        (world.root / "sconectl.toml").read_text().replace(base_image, base)  # the launcher is made in this one
    )
    try:
        done = world.sconectl("apply", "-v", "-f", file, "-n", "--cas", "local")
        assert done.code == 5 and "DO NOT MATCH THE HASHES" in done.text, done.text
        assert docker("inspect", world.image("a")).code != 0
    finally:
        world.close()


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
        launcher_bundle.obtain_launcher(info, Workshop(engine, environment, tmp_path, tmp_path, print))
    assert named in refused.value.output
    assert launcher_bundle.find_launcher(engine, info, tmp_path) is None
