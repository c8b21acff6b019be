"""The launcher as a layer: a relocatable CPython with our launcher, made in the engine once per version.

In: an engine and a base image with Python. Out: the layer with /scone and its digest. The result is kept as a local
image, `sconectl-launcher:<digest of what it is made from>`.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache as once
from pathlib import Path
from typing import BinaryIO

import sconectl
from sconectl.errors import BuildFailed
from sconectl.ports import ImageEngine, ImageInfo, Progress
from sconectl.protect.index import Entry, Index, directory_entry, file_entry, is_below, link_entry
from sconectl.protect.measure import LAUNCHER_ROOT
from sconectl.toolchains.image_archive import ImageLayer, image_archive, image_config
from sconectl.toolchains.layer_cache import LayerCache
from sconectl.toolchains.layer_index import Member, index_layer
from sconectl.toolchains.layer_writer import Layer, LayerWriter
from sconectl.toolchains.native_build import BuildEnvironment, add_file, dockerfile_head
from sconectl.toolchains.saved_image import fetch_layers, no_space_explained

REPOSITORY = "sconectl-launcher"
REQUIREMENTS = Path(__file__).with_name("launcher_requirements.txt").read_text("utf-8")
"""Pinned by hash, as the launcher handles every secret; scripts/pin_launcher.py writes that file."""
ENTRYPOINT = (
    "/scone/lib/ld.so",
    "--inhibit-cache",
    "--library-path",
    "/scone/lib",
    "/scone/bin/python3",
    "-I",
    "-S",
    "-B",
    "/scone/runtime",
)
ASK_HEALTH = f"{ENTRYPOINT[-1]}/sconectl/runtime/ask_health.py"
"""Takes the place of the launcher's folder in the entry point to ask for the health of the program."""
_PACKAGE = Path(sconectl.__file__).parent
_SOURCES = ("key_hash.py", "protect", "runtime")


@dataclass(frozen=True)
class Bundle:
    """The launcher: its layer, which has nothing but /scone, and the digest of its file index."""

    layer: ImageLayer
    digest: str


def bundle_tag(base: ImageInfo) -> str:
    """Return the local image name for a launcher made from these sources in `base`."""
    digest = hashlib.sha256(f"{base.id}\n{REQUIREMENTS}\n{ENTRYPOINT}\n".encode())
    for name, content in _runtime_sources():
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    return f"{REPOSITORY}:{sconectl.__version__}-{digest.hexdigest()[:16]}"


def _runtime_sources() -> list[tuple[str, bytes]]:
    """Return the files of the launcher's package folder by name, sorted."""
    sources = {"sconectl/__init__.py": b'"""The launcher\'s part of sconectl."""\n'}
    for name in _SOURCES:
        root = _PACKAGE / name
        for file in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            sources[f"sconectl/{file.relative_to(_PACKAGE).as_posix()}"] = file.read_bytes()
    sources["__main__.py"] = sources.pop("sconectl/runtime/__main__.py")
    collect = _PACKAGE / "toolchains" / "collect_launcher.py"
    return [*sorted(sources.items()), ("collect_launcher.py", collect.read_bytes())]


def obtain_bundle(
    engine: ImageEngine,
    base: str,
    info: ImageInfo,
    environment: BuildEnvironment,
    work: Path,
    cache: Path,
    progress: Progress,
) -> Bundle:
    """Return the launcher made in image `base` (which `info` describes), building it if it is not there.

    Its layer is fetched into `work` when it is needed; `cache` remembers its files. Raises `BuildFailed`.
    """
    tag = bundle_tag(info)
    if engine.inspect(tag) is None:
        _build(engine, tag, base, environment, progress)
    found = engine.inspect(tag)
    if found is None or len(found.layers) != 1:
        raise BuildFailed(f"{tag} is not the launcher that was built", hint=f"docker rmi {tag}")
    digest = found.layers[0].rpartition(":")[2]

    @once
    def fetched() -> Path:
        [(_, file)] = fetch_layers(engine, tag, found, work / "launcher")
        return file

    known = LayerCache(cache / "layers")
    members = known.members(digest)
    if members is None:
        members = index_layer(fetched())
        known.keep_members(digest, members)
    return Bundle(ImageLayer(digest, fetched), launcher_digest(members))


def launcher_digest(members: Iterable[Member]) -> str:
    """Return the digest of the launcher's file index, as the launcher itself computes it."""
    entries: dict[str, Entry] = {}
    for member in members:
        path = member.path.removeprefix(LAUNCHER_ROOT)
        if member.kind == "f":
            entries[path] = file_entry(member.mode, member.size, member.digest)
        elif member.kind == "l":
            entries[path] = link_entry(member.target)
        elif path:
            entries[path] = directory_entry(member.mode)
    return Index(outside=("/image",), sealed=(), entries=entries).digest()


def _build(engine: ImageEngine, tag: str, base: str, environment: BuildEnvironment, progress: Progress) -> None:
    temporary = f"{tag}-build-{secrets.token_hex(4)}"  # of this run alone: it is removed at its end
    with tempfile.TemporaryDirectory(prefix="sconectl-") as work:
        try:
            with no_space_explained(Path(work)), Path(work, "context.tar").open("w+b") as context:
                _write_context(context, dockerfile_head(base, environment), environment)
                context.seek(0)
                engine.build(context, temporary, progress, temporary=True)
                with engine.read_directory(temporary, "/.sconectl/out/scone") as stream:
                    layer = launcher_layer(stream, Path(work))
            config = image_config({"Entrypoint": list(ENTRYPOINT)}, layers=[layer.digest], epoch=0)
            engine.load(image_archive(tag, config, [ImageLayer(layer.digest, lambda: layer.file)]))
        finally:
            engine.remove(temporary)


def _write_context(context: BinaryIO, head: str, environment: BuildEnvironment) -> None:
    dockerfile = (
        f"{head}"
        'RUN ["python3", "-I", "-B", "-m", "pip", "install", "--no-compile", "--no-deps", "--require-hashes", '
        '"--only-binary", ":all:", '
        '"--target", "/.sconectl/site", "-r", "/.sconectl/requirements.txt"]\n'
        'RUN ["python3", "-I", "-S", "-B", "/.sconectl/site/collect_launcher.py", "/.sconectl/site", '
        '"/.sconectl/out/scone"]\n'
    )
    files = io.BytesIO()
    with tarfile.open(fileobj=files, mode="w") as inner:
        add_file(inner, ".sconectl/requirements.txt", REQUIREMENTS.encode())
        environment.add_to(inner)
        for name, content in _runtime_sources():
            add_file(inner, f".sconectl/site/{name}", content)
    with tarfile.open(fileobj=context, mode="w") as tar:
        add_file(tar, "Dockerfile", dockerfile.encode())
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
