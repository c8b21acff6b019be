"""The launcher's layer: its digest is what the launcher will measure of itself, and its key depends on its sources."""

from __future__ import annotations

import ast
import tarfile
from pathlib import Path

from sconectl.image.layers.layer_index import index_layer
from sconectl.ports import ImageInfo
from sconectl.protect.measure import launcher_index
from sconectl.toolchains.sim.launcher_bundle import _runtime_sources, bundle_key, launcher_digest, launcher_layer

from .root_tars import file, folder, link, tar_of, unpack


def test_the_digest_is_what_the_launcher_measures(tmp_path: Path) -> None:
    members = [
        folder("scone"), file("scone/größe\n", uid=5, mtime=9), folder("scone/bin"), link("scone/lib", "bin"),
        file("scone/bin/python3", b"x" * 5000, 0o755, uname="root"), file("sconex", b"not ours", mtime=7),
    ]  # fmt: skip
    layer = launcher_layer(tar_of(members), tmp_path)
    unpack(layer.file, tmp_path)
    assert launcher_digest(index_layer(layer.file)) == launcher_index(f"{tmp_path}/scone").digest()
    with tarfile.open(layer.file) as tar:
        found = {info.name: (info.uid, info.mtime, info.uname) for info in tar}
    names = ["scone", "scone/bin", "scone/bin/python3", "scone/größe\n", "scone/lib"]
    assert found == dict.fromkeys(names, (0, 0, "")) and list(found) == names


def test_the_key_depends_on_base_and_sources() -> None:
    one, two = ImageInfo("sha256:1", "amd64", {}), ImageInfo("sha256:2", "amd64", {})
    assert bundle_key(one) == bundle_key(one) != bundle_key(two)


def test_the_sources_are_complete() -> None:
    """Whatever a source of the launcher imports of ours is a source, too."""
    names = {name for name, _ in _runtime_sources()}
    assert "__main__.py" in names and "collect_launcher.py" in names and "sconectl/runtime/__main__.py" not in names
    for name, content in _runtime_sources():
        for node in ast.walk(ast.parse(content)):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                if module.split(".")[0] == "sconectl":
                    path = module.replace(".", "/")
                    assert f"{path}.py" in names or f"{path}/__init__.py" in names, f"{name} imports {module}"
