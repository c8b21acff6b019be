"""Images of a real engine, read layer by layer: the merged files are those that a container would get."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sconectl.adapters.docker_engine import DockerEngine
from sconectl.image.layers.layer_index import path_of
from sconectl.image.layers.root_tree import RootTree
from sconectl.image.layers.saved_image import open_native

from .world import World, docker, must

DOCKERFILE = r"""FROM {base}
RUN mkdir -p /t/dir/deep /t/opaque /t/gone /t/mode && chmod 750 /t/mode && echo 1 > /t/dir/a && echo 2 > /t/dir/deep/b \
 && echo 3 > /t/opaque/old && echo 4 > /t/gone/x && ln -s dir /t/link && echo 5 > /t/file && echo 6 > /t/first \
 && ln /t/first /t/second && ln /t/first /t/dir/third && mkfifo /t/pipe \
 && python3 -c "open(b'/t/\xff', 'w'); open('/t/new\nline', 'w')" \
 && ln -s loop2 /t/loop && ln -s loop /t/loop2
RUN rm -r /t/gone && rm -r /t/opaque && mkdir /t/opaque && echo 7 > /t/opaque/new
RUN rm /t/link && mkdir /t/link && echo 8 > /t/link/in && rm /t/file && ln -s first /t/file && rm -r /t/dir/deep \
 && echo 9 > /t/dir/deep
RUN chmod 600 /t/first && rm /t/second
RUN touch /t/mode/inside && chown 7:8 /t/mode/inside && mkdir -p /t/many/a/c
"""

RUNTIME = ("/dev", "/proc", "/sys", "/.dockerenv", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab")


def exported(image: str) -> dict[str, tuple[str, ...]]:
    """Return what `docker export` gives of a container: every path with what it is."""
    container = must(docker("create", image, "-")).out.strip()
    found: dict[str, tuple[str, ...]] = {}
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                for info in tar:
                    path = path_of(info.name)
                    owner = (f"{info.mode & 0o7777:o}", str(info.uid), str(info.gid))
                    if info.isreg():
                        reader = tar.extractfile(info)
                        assert reader is not None
                        found[path] = ("f", *owner, hashlib.sha256(reader.read()).hexdigest())
                    elif info.islnk():
                        found[path] = found[path_of(info.linkname)]
                    elif info.issym():
                        found[path] = ("l", info.linkname)
                    else:
                        found[path] = ("d" if info.isdir() else "p" if info.isfifo() else "device", *owner)
    finally:
        docker("rm", "-f", container)
    return {path: entry for path, entry in found.items() if _is_of_the_image(path)}


def merged(tree: RootTree) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for path, member in tree.members.items():
        owner = (f"{member.mode:o}", str(member.uid), str(member.gid))
        if member.kind == "l":
            found[path] = ("l", member.target)
        else:
            found[path] = (member.kind, *owner, *([member.digest] if member.kind == "f" else []))
    return {path: entry for path, entry in found.items() if _is_of_the_image(path)}


def _is_of_the_image(path: str) -> bool:
    return path != "/" and not any(path == other or path.startswith(f"{other}/") for other in RUNTIME)


@pytest.fixture
def changed(world: World, tmp_path: Path) -> Iterator[str]:
    """An image in which later layers remove, replace and hide what earlier ones had."""
    image = world.image("layers")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.format(base=world.base_image))
    must(docker("build", "-q", "-t", image, tmp_path))
    yield image
    docker("rmi", "-f", image)


def test_the_merged_layers_are_what_a_container_gets(world: World, changed: str) -> None:
    engine = DockerEngine()
    for image in (world.base_image, changed):
        info = engine.inspect(image)
        assert info is not None
        with (
            tempfile.TemporaryDirectory() as work,
            open_native(engine, image, info, Path(work), Path(work, "cache")) as native,
        ):
            assert merged(native.tree) == exported(image)
            assert len(native.layers) == len(native.info.layers)
            if image == changed:
                _check_contents(native.tree)


def _check_contents(tree: RootTree) -> None:
    content = {
        "/t/opaque/new": b"7\n", "/t/link/in": b"8\n", "/t/dir/deep": b"9\n", "/t/first": b"6\n",
        "/t/dir/third": b"6\n",
    }  # fmt: skip
    for path, expected in content.items():
        assert tree.read(path) == expected, path
    for path in ("/t/gone", "/t/opaque/old", "/t/second", "/t/dir/deep/b"):
        assert tree.member(path) is None, path
    assert tree.resolve("/t/file") == "/t/first" and tree.resolve("/t/loop") is None
    assert "new\nline" in tree.names("/t") and "\udcff" in tree.names("/t")
