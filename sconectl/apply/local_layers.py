"""What is in the layers of a local image: remembered from earlier runs, or fetched from the engine.

In: an engine, an image that it has, the cache directory. Out: members of layers, or the files that they
make. Raises `BuildFailed`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sconectl.apply.work_directory import work_directory
from sconectl.image.layers.layer_cache import LayerCache
from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.root_tree import RootTree, merge
from sconectl.image.layers.saved_image import open_native
from sconectl.ports import ImageEngine, ImageInfo

Layers = Sequence[tuple[str, Sequence[Member]]]
"""Digest (64 hex digits) and members of each layer, the lowest first."""


def remembered_layers(info: ImageInfo, cache: Path) -> Layers | None:
    """Return the layers of an image if all of them are known from earlier runs."""
    known = LayerCache(cache / "layers")
    found = []
    for digest in (digest.removeprefix("sha256:") for digest in info.layers):
        members = known.members(digest)
        if members is None:
            return None
        found.append((digest, members))
    return found or None


def local_layers(engine: ImageEngine, reference: str, info: ImageInfo, cache: Path) -> Layers:
    """Return the layers of a local image; the engine gives them out only if they are not known."""
    found = remembered_layers(info, cache)
    if found is not None:
        return found
    with (
        work_directory() as work,
        open_native(engine, reference, info, work, cache) as native,
    ):
        return [(layer.digest, layer.members) for layer in native.layers]


@contextmanager
def local_files(
    engine: ImageEngine, reference: str, info: ImageInfo, cache: Path, *, contents: bool, secret: Sequence[str]
) -> Iterator[RootTree]:
    """Give the files of a local image; without `contents` they cannot be read, and may need no engine.

    What is read in them is remembered, and nothing of what is below `secret` paths.
    """
    if not contents:
        yield merge([members for _, members in local_layers(engine, reference, info, cache)])
        return
    with (
        work_directory() as work,
        open_native(engine, reference, info, work, cache, secret=secret) as native,
    ):
        yield native.tree
