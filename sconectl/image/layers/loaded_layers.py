"""Which images of earlier runs begin with the same layers: the engine has those layers, and need not be given them.

In: the digests of the layers of an image, the lowest first, and the cache. Out: ids of images. They are hints only:
whoever uses one asks the engine what that image is made of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from sconectl.image.layers.layer_cache import LayerCache


class LoadedLayers:
    """Remembers by their lowest layers the images that were loaded."""

    def __init__(self, known: LayerCache) -> None:
        self._known = known

    def images(self, digests: Sequence[str], base: int) -> Iterator[str]:
        """Yield the ids of images that had lowest layers of these; the lowest `base` are the base image's."""
        for key in _keys(digests, base):
            image = self._known.value(key)
            if isinstance(image, str) and image.startswith("sha256:"):
                yield image

    def keep(self, digests: Sequence[str], base: int, image: str) -> None:
        """Remember the image that was loaded with these layers."""
        for key in _keys(digests, base):
            self._known.keep(key, image)


def _keys(digests: Sequence[str], base: int) -> list[str]:
    """Return the keys for all layers but the highest, which is an image's own, and for the base image and one more.

    That one more is the launcher, which all images on the same base have.
    """
    counts = sorted({len(digests) - 1, min(base + 1, len(digests) - 1)}, reverse=True)
    return [hashlib.sha256("\n".join(("loaded", *digests[:count])).encode()).hexdigest() for count in counts if count]
