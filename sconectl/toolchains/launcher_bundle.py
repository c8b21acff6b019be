"""The launcher as a layer: a relocatable CPython with our launcher, made in the engine once per version.

In: an engine and a base image with Python. Out: the tar of /scone and its digest. The result is kept as a local
image, `sconectl-launcher:<digest of what it is made from>`.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import sconectl
from sconectl.ports import ImageEngine, ImageInfo, Progress
from sconectl.protect.index import Entry, Index, directory_entry, file_entry, link_entry
from sconectl.toolchains.image_archive import Layer, LayerWriter, image_archive, image_config
from sconectl.toolchains.native_build import BuildEnvironment, add_file, dockerfile_head

REPOSITORY = "sconectl-launcher"
REQUIREMENTS = "cryptography==50.0.2\ncffi==2.1.1\n"
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
_PACKAGE = Path(sconectl.__file__).parent
_SOURCES = ("key_hash.py", "protect", "runtime")


@dataclass(frozen=True)
class Bundle:
    """The launcher: its layer (a tar whose names begin with `scone/`) and the digest of its file index."""

    layer: Layer
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
    engine: ImageEngine, base: str, info: ImageInfo, environment: BuildEnvironment, work: Path, progress: Progress
) -> Bundle:
    """Return the launcher made in image `base` (which `info` describes), building it if it is not there.

    `work` is a directory for the layer. Raises `BuildFailed`.
    """
    tag = bundle_tag(info)
    if engine.inspect(tag) is None:
        _build(engine, tag, base, environment, progress)
    with engine.export(tag) as stream:
        return _to_layer(stream, work / "launcher.tar")


def _build(engine: ImageEngine, tag: str, base: str, environment: BuildEnvironment, progress: Progress) -> None:
    temporary = f"{tag}-build-{secrets.token_hex(4)}"  # of this run alone: it is removed at its end
    head = dockerfile_head(base, environment)
    dockerfile = (
        f"{head}"
        'RUN ["python3", "-m", "pip", "install", "--no-compile", "--no-deps", "--only-binary", ":all:", '
        '"--target", "/.sconectl/site", "-r", "/.sconectl/requirements.txt"]\n'
        'RUN ["python3", "-I", "-S", "-B", "/.sconectl/site/collect_launcher.py", "/.sconectl/site", '
        '"/.sconectl/out/scone"]\n'
    )
    with tempfile.TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w") as tar:
            files = io.BytesIO()
            with tarfile.open(fileobj=files, mode="w") as inner:
                add_file(inner, ".sconectl/requirements.txt", REQUIREMENTS.encode())
                environment.add_to(inner)
                for name, content in _runtime_sources():
                    add_file(inner, f".sconectl/site/{name}", content)
            add_file(tar, "Dockerfile", dockerfile.encode())
            add_file(tar, "files.tar", files.getvalue())
        context.seek(0)
        try:
            engine.build(context, temporary, progress)
            with tempfile.TemporaryDirectory(prefix="sconectl-") as work:
                with engine.read_directory(temporary, "/.sconectl/out/scone") as stream:
                    layer = _to_layer(stream, Path(work, "layer.tar")).layer
                config = image_config({"Entrypoint": list(ENTRYPOINT)}, architecture="", layers=[layer])
                engine.load(image_archive(tag, config, [layer]))
        finally:
            engine.remove(temporary)


def _to_layer(stream: BinaryIO, file: Path) -> Bundle:
    """Copy the members below `scone/` with normalised metadata, sorted as they come, and index them."""
    entries: dict[str, Entry] = {}
    with LayerWriter(file) as writer, tarfile.open(fileobj=stream, mode="r|") as source:
        for member in source:
            name = member.name.removeprefix("./").rstrip("/")
            if name != "scone" and not name.startswith("scone/"):
                continue
            clean = tarfile.TarInfo(name)
            clean.mode, clean.type, clean.linkname, clean.size = member.mode, member.type, member.linkname, member.size
            path = name.removeprefix("scone")
            content = None
            if member.isreg():
                reader = source.extractfile(member)
                data = reader.read() if reader else b""
                content = io.BytesIO(data)
                entries[path] = file_entry(member.mode, len(data), hashlib.sha256(data).hexdigest())
            elif member.issym():
                entries[path] = link_entry(member.linkname)
            elif member.isdir() and path:
                entries[path] = directory_entry(member.mode)
            writer.tar.addfile(clean, content)
        index = Index(outside=("/image",), sealed=(), entries=entries)
        return Bundle(writer.finish(), index.digest())
