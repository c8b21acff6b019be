"""Writes an image in the docker-archive form: the same layers and configuration give the same image id.

In: layer tars and an OCI configuration. Out: the chunks of a tar that engines load.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, cast

_CHUNK = 1 << 20
_EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class Layer:
    """A layer: an uncompressed tar file and its digest (64 hex digits)."""

    file: Path
    digest: str


def image_config(config: Mapping[str, Any], *, architecture: str, layers: Sequence[Layer]) -> bytes:
    """Return the image's configuration blob; its SHA-256 is the image id."""
    document = {
        "architecture": architecture or "amd64",
        "config": dict(config),
        "created": _EPOCH,
        "history": [{"created": _EPOCH, "created_by": "sconectl"} for _ in layers],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in layers]},
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def image_id(config: bytes) -> str:
    """Return the id that engines give to the image with this configuration blob."""
    return f"sha256:{hashlib.sha256(config).hexdigest()}"


def image_archive(tag: str, config: bytes, layers: Sequence[Layer]) -> Iterator[bytes]:
    """Yield the archive of one image that is tagged `tag` (`name:tag`)."""
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    files = [f"{layer.digest}/layer.tar" for layer in layers]
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": files}]).encode()
    for path, layer in zip(files, layers, strict=True):
        size = layer.file.stat().st_size
        yield _header(path, size)
        with layer.file.open("rb") as source:
            while chunk := source.read(_CHUNK):
                yield chunk
        yield _padding(size)
    for path, content in ((name, config), ("manifest.json", manifest)):
        yield _header(path, len(content))
        yield content
        yield _padding(len(content))
    yield bytes(2 * tarfile.BLOCKSIZE)


def _header(path: str, size: int) -> bytes:
    member = tarfile.TarInfo(path)
    member.size = size
    member.mode = 0o644
    return member.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


class LayerWriter:
    """Writes a layer tar and hashes it on the way."""

    def __init__(self, file: Path) -> None:
        self._path = file
        self._digest = hashlib.sha256()
        self._raw = file.open("wb")
        self.tar = tarfile.open(fileobj=cast(IO[bytes], self), mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK)
        self.tar.copybufsize = _CHUNK  # type: ignore[attr-defined]

    def write(self, data: bytes) -> int:
        """Take what the tar writer produces."""
        self._digest.update(data)
        return self._raw.write(data)

    def add_bytes(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Add a regular file that belongs to root."""
        member = tarfile.TarInfo(path)
        member.size = len(content)
        member.mode = mode
        self.tar.addfile(member, io.BytesIO(content))

    def finish(self) -> Layer:
        """Close the tar and return the layer."""
        self._close()
        return Layer(self._path, self._digest.hexdigest())

    def _close(self) -> None:
        self.tar.close()
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._close()
