"""Which images of earlier runs begin with the same layers: the engine has those layers, and need not be given them.

In: the digests of the layers of an image, the lowest first, the cache, and what an engine says about images. Out:
images of that engine. What is remembered is a hint only: the engine says what an image is made of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sconectl.image.layers.layer_cache import LayerCache
from sconectl.ports import ImageInfo

_MOST = 8
"""Images that are remembered for the same layers: the oldest ones that are there, and the latest one."""


@dataclass(frozen=True)
class LoadedLayers:
    """Remembers by their lowest layers the images that were loaded."""

    known: LayerCache
    inspect: Callable[[str], ImageInfo | None]

    def images(self, digests: Sequence[str], base: int) -> Mapping[str, Sequence[ImageInfo]]:
        """Return images by key with lowest layers of `digests`, of which `base` are the base image's.

        One key is that of all layers but the highest, which is an image's own; the other that of the base image and the
        launcher, which all images on it have.
        """
        found = {}
        for count in sorted({base + 1, len(digests) - 1}):
            key = hashlib.sha256("\n".join(("loaded", *digests[:count])).encode()).hexdigest()
            value = self.known.value(key)
            images = value[:_MOST] if isinstance(value, list) else []
            known = [image for image in images if isinstance(image, str) and image.startswith("sha256:")]
            found[key] = [info for info in map(self.inspect, known) if info is not None]
        return found

    def keep(self, found: Mapping[str, Sequence[ImageInfo]], image: str) -> None:
        """Remember an image that was loaded, beside those that were there."""
        for key, there in found.items():
            images = [info.id for info in there]
            if image not in images:
                self.known.keep(key, [*images[: _MOST - 1], image])
