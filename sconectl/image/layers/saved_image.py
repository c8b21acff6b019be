"""Reads an image as engines give it out, in one pass: its layers become files, checked against the image's identity.

In: an engine, what it says about an image, a directory for the layers. Out: a `NativeImage`. Raises `BuildFailed` for
what is damaged, not the image that was asked for, or too large for the disk.

Engines give out whole images only, which takes most of the time of a conversion. So an image whose layers are all known
from earlier runs can be opened before it is fetched; then that is done when content is needed that is not remembered.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache as once
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast

from sconectl.errors import BuildFailed
from sconectl.image.layers.known_contents import KnownContents
from sconectl.image.layers.layer_cache import LayerCache
from sconectl.image.layers.layer_index import Member, index_layer
from sconectl.image.layers.layer_writer import HoleWriter
from sconectl.image.layers.root_tree import RootTree, merge
from sconectl.ports import ImageInfo

ARCHITECTURE = "amd64"
_CHUNK = 1 << 20
_MAX_JSON = 16 << 20
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


class ImageSource(Protocol):
    """A source of images: an engine, or an archive."""

    def save(self, image: str) -> AbstractContextManager[BinaryIO]:
        """Stream an image with all layers."""


@dataclass(frozen=True)
class NativeLayer:
    """A layer: its digest (64 hex digits), a function that gives its uncompressed tar, and its members."""

    digest: str
    fetched: Callable[[], Path] = field(compare=False, repr=False)
    members: Sequence[Member]

    @property
    def file(self) -> Path:
        """Its uncompressed tar, which may have to be fetched. Raises as `open_native`."""
        return self.fetched()


@dataclass(frozen=True)
class NativeImage:
    """An image that an engine gave out: its layers, the lowest first, and the root file system that they make."""

    info: ImageInfo
    layers: Sequence[NativeLayer]
    tree: RootTree


def require_supported(reference: str, info: ImageInfo) -> None:
    """Refuse an image for another processor. Raises `BuildFailed`."""
    if info.architecture not in ("", ARCHITECTURE):
        raise BuildFailed(
            f"{reference} is an image for {info.architecture}, and only linux/{ARCHITECTURE} can be protected",
            hint=f"docker pull --platform linux/{ARCHITECTURE} {reference}",
        )


@contextmanager
def open_native(
    engine: ImageSource,
    reference: str,
    info: ImageInfo,
    work: Path,
    cache: Path,
    *,
    secret: Sequence[str] | None = None,
) -> Iterator[NativeImage]:
    """Give the image that `info` describes; what is fetched is in `work` until the end of the `with` block.

    `reference` is its name in messages. `cache` is the directory in which facts about layers are kept. With the paths
    that are `secret`, of which no content is remembered, nothing is fetched before it is needed; without them (None)
    the image is fetched and checked in any case. Raises `BuildFailed` and `EngineUnreachable`.
    """
    require_supported(reference, info)
    folder = work / f"native-{info.id.rpartition(':')[2]}"
    known = LayerCache(cache / "layers")
    fetch = once(partial(fetch_layers, engine, reference, info, folder))
    try:
        layers = None if secret is None else _remembered(info, fetch, known)
        contents = None if secret is None else KnownContents(info.layers, known, secret)
        if layers is None:
            layers = [_indexed(number, digest, fetch, known) for number, (digest, _) in enumerate(fetch())]
        members, files = [layer.members for layer in layers], [layer.fetched for layer in layers]
        yield NativeImage(info, layers, merge(members, files, contents))
        if contents is not None:
            contents.keep()
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def fetch_layers(engine: ImageSource, reference: str, info: ImageInfo, folder: Path) -> list[tuple[str, Path]]:
    """Write the layers of an image to files in `folder`, which is made; return them with their digests, checked."""
    with no_space_explained(folder):
        _remove(folder)  # of an attempt that failed
        folder.mkdir()
        with engine.save(info.id) as stream:
            return _read(stream, reference, info, folder)


@contextmanager
def no_space_explained(folder: Path) -> Iterator[None]:
    """Turn the errors of a disk that is full or cannot be written to into `BuildFailed`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise BuildFailed(
            f"the image cannot be worked on in {folder.parent}: {error.strerror or error}",
            hint="set TMPDIR to a directory with room for the whole image" if full else "",
        ) from error


_Fetch = Callable[[], Sequence[tuple[str, Path]]]


def _remembered(info: ImageInfo, fetch: _Fetch, known: LayerCache) -> list[NativeLayer] | None:
    """Return the layers of an image if the members of all of them are known; nothing is fetched."""
    found = []
    for number, digest in enumerate(digest.removeprefix("sha256:") for digest in info.layers):
        members = known.members(digest)
        if members is None:
            return None
        found.append(NativeLayer(digest, partial(_file, fetch, number), members))
    return found or None


def _indexed(number: int, digest: str, fetch: _Fetch, known: LayerCache) -> NativeLayer:
    members = known.members(digest)
    if members is None:
        members = index_layer(_file(fetch, number))
        known.keep_members(digest, members)
    return NativeLayer(digest, partial(_file, fetch, number), members)


def _file(fetch: _Fetch, number: int) -> Path:
    return fetch()[number][1]


def _read(stream: BinaryIO, reference: str, info: ImageInfo, folder: Path) -> list[tuple[str, Path]]:
    """Return the layers of the image, each with the digest of its content, which was checked."""
    parts = _parts(stream, reference, folder)
    manifest = _json(parts, "manifest.json", reference)
    try:
        [entry] = manifest
        config_digest, config_file = parts[str(entry["Config"])]
        names = [str(name) for name in entry["Layers"]]
        config = json.loads(config_file.read_bytes())
        expected = [str(digest) for digest in config["rootfs"]["diff_ids"]]
        layers = [parts[posixpath.normpath(name)] for name in names]
    except (KeyError, TypeError, ValueError) as error:
        raise _incomplete(reference) from error
    if f"sha256:{config_digest}" != info.id and (not info.layers or tuple(expected) != tuple(info.layers)):
        raise BuildFailed(f"the engine gave out another image than {reference}", hint="try again")
    if [f"sha256:{digest}" for digest, _ in layers] != expected:
        raise BuildFailed(
            f"a layer of {reference} is not what the image says",
            hint="the engine's storage is damaged: remove the image and pull or build it again",
        )
    return layers


def _incomplete(reference: str) -> BuildFailed:
    return BuildFailed(
        f"the engine gave out {reference} incompletely", hint="try again; restart the engine if it stays"
    )


def _json(parts: dict[str, tuple[str, Path]], name: str, reference: str) -> Any:
    if name not in parts or parts[name][1].stat().st_size > _MAX_JSON:
        raise _incomplete(reference)
    try:
        return json.loads(parts[name][1].read_bytes())
    except (ValueError, RecursionError) as error:
        raise _incomplete(reference) from error


def _parts(stream: BinaryIO, reference: str, folder: Path) -> dict[str, tuple[str, Path]]:
    """Return the parts of the archive by name, uncompressed, each with the digest of its content."""
    parts: dict[str, tuple[str, Path]] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as tar:
            while (entry := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
                name = posixpath.normpath(entry.name)
                if entry.issym():
                    links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.linkname))
                elif entry.islnk():
                    links[name] = posixpath.normpath(entry.linkname)
                elif entry.isreg():
                    content = tar.extractfile(entry)
                    file = folder / str(len(parts))
                    parts[name] = (_spool(cast(IO[bytes], content), file, reference), file)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BuildFailed(f"{reference} cannot be read from the engine: {error}") from error
    return parts | {name: parts[target] for name, target in links.items() if target in parts}


def _spool(source: IO[bytes], file: Path, reference: str) -> str:
    """Write a part of the archive to a file, uncompressed and with holes for zeros; return its digest."""
    buffered = cast(Any, source)
    magic = buffered.peek(4)[:4]
    if magic == _ZSTD:
        raise BuildFailed(
            f"the layers of {reference} are compressed with zstd, which is not understood here",
            hint="save and load the image with an engine that compresses with gzip or not at all",
        )
    content: IO[bytes] = cast(IO[bytes], gzip.GzipFile(fileobj=source)) if magic[:2] == _GZIP else source
    digest = hashlib.sha256()
    output = HoleWriter(file)
    try:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            output.write(chunk)
    finally:
        output.close()
    return digest.hexdigest()
