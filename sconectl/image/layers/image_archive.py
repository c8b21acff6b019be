"""Writes an image in the docker-archive form: the same layers and configuration give the same image id.

In: layers, a configuration, and how many of the lowest layers the engine has. Out: the chunks of a tar that engines
load.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.layer_writer import header, padding

_CHUNK = 1 << 20


@dataclass(frozen=True)
class ImageLayer:
    """A layer of an image: its digest (64 hex digits), and a function that makes its uncompressed tar on demand."""

    digest: str
    file: Callable[[], Path]


def image_config(config: Mapping[str, Any], *, layers: Sequence[str], epoch: int) -> bytes:
    """Return the image's configuration blob; its SHA-256 is the image id. `layers` are the digests of the layers."""
    made = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {
        "architecture": "amd64",
        "config": dict(config),
        "created": made,
        "history": [{"created": made, "created_by": "sconectl"} for _ in layers],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in layers]},
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def image_archive(config: bytes, layers: Sequence[ImageLayer], *, left_out: int = 0) -> Iterator[bytes]:
    """Yield the archive of one image that has no name, without the `left_out` lowest layers.

    Engines answer with the id of an image that has no name. The layers' tars are made before the first chunk.
    """
    files = [layer.file() for layer in layers[left_out:]]
    return _archive(config, [f"{layer.digest}/layer.tar" for layer in layers], files)


def _archive(config: bytes, names: Sequence[str], files: Sequence[Path]) -> Iterator[bytes]:
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": None, "Layers": list(names)}]).encode()
    for path, file in zip(names[len(names) - len(files) :], files, strict=True):
        size = file.stat().st_size
        yield _header(path, size)
        with file.open("rb", buffering=0) as source:
            while chunk := source.read(_CHUNK):
                yield chunk
        yield padding(size)
    for path, content in ((name, config), ("manifest.json", manifest)):
        yield _header(path, len(content)) + content + padding(len(content))
    yield bytes(2 * tarfile.BLOCKSIZE)


def _header(path: str, size: int) -> bytes:
    return header(Member(f"/{path}", "f", 0o644, size=size))
