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


@dataclass(frozen=True)
class LoadedLayers:
    """Remembers by their lowest layers the images that were loaded."""

    known: LayerCache
    inspect: Callable[[str], ImageInfo | None]

    def images(self, digests: Sequence[str], base: int) -> Mapping[str, ImageInfo | None]:
        """Return images with lowest layers of `digests`, whose lowest `base` are the base image's, or None, by key.

        One key is that of all layers but the highest, which is an image's own; the other that of the base image and the
        launcher, which all images on it have.
        """
        found = {}
        for count in sorted({base + 1, len(digests) - 1}):
            key = hashlib.sha256("\n".join(("loaded", *digests[:count])).encode()).hexdigest()
            image = self.known.value(key)
            found[key] = self.inspect(image) if isinstance(image, str) and image.startswith("sha256:") else None
        return found

    def keep(self, found: Mapping[str, ImageInfo | None], image: str) -> None:
        """Remember an image that was loaded where there was none; one that is there may be there for longer."""
        for key, there in found.items():
            if there is None:
                self.known.keep(key, image)
