"""The launcher as a layer: a relocatable CPython with our launcher, made in the engine once per version.

In: an engine and a base image with Python. Out: the layer with /scone and its digest. The result is kept as a local
image, and its id in the cache directory. The image also has a name, for people: it is never looked up by that.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from functools import cache as once
from pathlib import Path
from typing import BinaryIO

import sconectl
from sconectl.errors import BuildFailed
from sconectl.image.build.native_build import BuildEnvironment, add_file, dockerfile
from sconectl.image.layers.image_archive import ImageLayer, image_archive, image_config
from sconectl.image.layers.layer_cache import LayerCache
from sconectl.image.layers.layer_index import Member, entry_of, index_layer
from sconectl.image.layers.layer_writer import Layer, LayerWriter
from sconectl.image.layers.saved_image import fetch_layers, no_space_explained
from sconectl.ports import ImageEngine, ImageInfo, Progress
from sconectl.protect.index import Index, is_below
from sconectl.protect.measure import LAUNCHER_ROOT, NOT_LAUNCHER
from sconectl.toolchains.interface import Launcher, Workshop
from sconectl.toolchains.sim.commands import ENTRYPOINT

REPOSITORY = "sconectl-launcher"
REQUIREMENTS = Path(__file__).with_name("launcher_requirements.txt").read_text("utf-8")
"""Pinned by hash, as the launcher handles every secret; scripts/pin_launcher.py writes that file."""
_LIST = "/.sconectl/requirements.txt"
_SAFELY = ("--no-compile", "--no-deps", "--require-hashes", "--only-binary", ":all:")
_STEPS = (
    ("python3", "-I", "-B", "-m", "pip", "install", *_SAFELY, "--target", "/.sconectl/site", "-r", _LIST),
    ("python3", "-I", "-S", "-B", "/.sconectl/site/collect_launcher.py", "/.sconectl/site", "/.sconectl/out/scone"),
)
_PACKAGE = Path(sconectl.__file__).parent
_SOURCES = ("key_hash.py", "protect", "runtime")


def bundle_key(base: ImageInfo) -> str:
    """Return a digest (64 hex digits) of all that a launcher is made from in `base`."""
    digest = hashlib.sha256(f"{base.id}\n{REQUIREMENTS}\n{ENTRYPOINT}\n".encode())
    for name, content in _runtime_sources():
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()


def find_launcher(engine: ImageEngine, base: ImageInfo, cache: Path) -> ImageInfo | None:
    """Return the image of the launcher made in `base`, if an earlier run left it. Builds nothing."""
    known = LayerCache(cache / "layers").value(f"launcher-{bundle_key(base)}")
    return engine.inspect(known) if isinstance(known, str) and known.startswith("sha256:") else None


def _runtime_sources() -> list[tuple[str, bytes]]:
    """Return the files of the launcher's package folder by name, sorted."""
    sources = {"sconectl/__init__.py": b'"""The launcher\'s part of sconectl."""\n'}
    for name in _SOURCES:
        root = _PACKAGE / name
        for file in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            sources[f"sconectl/{file.relative_to(_PACKAGE).as_posix()}"] = file.read_bytes()
    sources["__main__.py"] = sources.pop("sconectl/runtime/__main__.py")
    collect = Path(__file__).with_name("collect_launcher.py")
    return [*sorted(sources.items()), ("collect_launcher.py", collect.read_bytes())]


def obtain_launcher(base: ImageInfo, workshop: Workshop) -> Launcher:
    """Return the launcher made in image `base`, building it if it is not there.

    Its layer is fetched when it is needed; the cache remembers its image and its files. Raises `BuildFailed`.
    """
    engine, known = workshop.engine, LayerCache(workshop.cache / "layers")
    found = find_launcher(engine, base, workshop.cache)
    if found is None:
        image = _build(engine, base, workshop.environment, workshop.detail)
        known.keep(f"launcher-{bundle_key(base)}", image)
        found = engine.inspect(image)
    if found is None or len(found.layers) != 1:
        raise BuildFailed("the engine has lost the launcher that was built", hint="apply again")
    digest = found.layers[0].rpartition(":")[2]
    image_of_launcher = found

    @once
    def fetched() -> Path:
        [(_, file)] = fetch_layers(engine, "the launcher's image", image_of_launcher, workshop.work / "launcher")
        return file

    members = known.members(digest)
    if members is None:
        members = index_layer(fetched())
        known.keep_members(digest, members)
    return Launcher(ImageLayer(digest, fetched), launcher_digest(members))


def launcher_digest(members: Iterable[Member]) -> str:
    """Return the digest of the launcher's file index, as the launcher itself computes it."""
    found = ((member.path.removeprefix(LAUNCHER_ROOT), member) for member in members)
    entries = {path: entry for path, member in found if path and (entry := entry_of(member))}
    return Index(NOT_LAUNCHER, (), entries).digest()


def _build(engine: ImageEngine, base: ImageInfo, environment: BuildEnvironment, progress: Progress) -> str:
    """Make the launcher; return the id of its image."""
    with tempfile.TemporaryDirectory(prefix="sconectl-") as work, no_space_explained(Path(work)):
        with Path(work, "context.tar").open("w+b") as context:
            _write_context(context, environment)
            context.seek(0)
            temporary = engine.build(context, base, progress)
        try:
            with engine.read_directory(temporary, "/.sconectl/out/scone") as stream:
                layer = launcher_layer(stream, Path(work))
        finally:
            engine.remove(temporary)
        config = image_config({"Entrypoint": list(ENTRYPOINT)}, layers=[layer.digest], epoch=0)
        image = engine.load(image_archive(config, [ImageLayer(layer.digest, lambda: layer.file)]))
    engine.tag(image, f"{REPOSITORY}:{sconectl.__version__}-{bundle_key(base)[:16]}")
    return image


def _write_context(context: BinaryIO, environment: BuildEnvironment) -> None:
    files = io.BytesIO()
    with tarfile.open(fileobj=files, mode="w") as inner:
        add_file(inner, ".sconectl/requirements.txt", REQUIREMENTS.encode())
        environment.add_to(inner)
        for name, content in _runtime_sources():
            add_file(inner, f".sconectl/site/{name}", content)
    with tarfile.open(fileobj=context, mode="w") as tar:
        add_file(tar, "Dockerfile", dockerfile(environment, _STEPS).encode())
        add_file(tar, "files.tar", files.getvalue())


def launcher_layer(stream: BinaryIO, work: Path) -> Layer:
    """Write the layer with the files below `scone/` of a tar, sorted and with normalised metadata."""
    copied = work / "collected.tar"
    with copied.open("wb") as output:
        shutil.copyfileobj(stream, output, 1 << 20)
    writer = LayerWriter(work / "launcher.tar", copied)
    try:
        for member in sorted(index_layer(copied), key=lambda member: member.path):
            if is_below(member.path, (LAUNCHER_ROOT,)):
                writer.add(replace(member, uid=0, gid=0, mtime=0, xattrs=()))
    finally:
        writer.close()
    return writer.finish()
