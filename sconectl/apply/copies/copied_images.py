"""Copies the images of a mesh to where it wants them: `repo`.

In: the copies that are to be made, what earlier runs made, an engine and a registry. Out: a `Copied` for each. Raises
`BuildFailed`, and `PlanImpossible` for an image that is no longer the one that the sessions are for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sconectl.apply.work_directory import work_directory
from sconectl.errors import BuildFailed, PlanImpossible
from sconectl.image.layers.image_archive import ImageLayer, image_archive, image_config
from sconectl.image.layers.layer_rewrite import BuildTime
from sconectl.image.layers.one_layer import one_layer
from sconectl.image.layers.saved_image import no_space_explained, open_native
from sconectl.plan.facts.declaration import DECLARATION, MEDIA_TYPE
from sconectl.plan.facts.image_label import ImageLabel
from sconectl.plan.facts.naming import without_tag
from sconectl.plan.mesh.mesh import ImageCopy
from sconectl.ports import ImageEngine, ImageInfo, Progress, Registry


@dataclass(frozen=True)
class Copied:
    """A copy with the digest that its registry gave it; `signed` if it was signed now."""

    image: str
    to: str
    digest: str
    changed: bool
    signed: bool


@dataclass(frozen=True)
class Copying:
    """Where copies come from and go to. `sign` signs `NAME@DIGEST`; None if nobody is to.

    `made` are the digests of copies that earlier runs have made, and signed.
    """

    engine: ImageEngine
    registry: Registry
    cache: Path
    progress: Progress
    detail: Progress
    sign: Callable[[str], None] | None = None
    made: Mapping[str, str] | None = None

    def copy(self, wanted: ImageCopy, *, squash: bool) -> Copied:
        """Copy one image. What is there already is not sent again, and not signed again."""
        found = self._source(wanted)
        image = self._in_one_layer(wanted.image, found) if squash else found.id
        self.progress(f"pushing {wanted.to}")
        digest = self.engine.push(image, wanted.to, self.detail)
        known = (self.made or {}).get(wanted.to) == digest
        if not known and DECLARATION in found.labels:
            self.registry.attach(wanted.to, digest, found.labels[DECLARATION].encode(), MEDIA_TYPE)
        signing = self.sign is not None and not known
        if self.sign is not None and signing:
            self.progress(f"signing {wanted.to}")
            self.sign(f"{without_tag(wanted.to)}@{digest}")
        return Copied(wanted.image, wanted.to, digest, not known, signing)

    def _source(self, wanted: ImageCopy) -> ImageInfo:
        found = self.engine.inspect(wanted.image)
        if found is None:
            self.progress(f"pulling {wanted.image}")
            found = self.engine.pull(wanted.image, self.detail)
        if ImageLabel.read(wanted.image, found.labels).measurement != wanted.measurement:
            raise PlanImpossible(
                f"the image {wanted.image} on this machine is another one than the mesh was compiled for",
                hint=f"docker pull {wanted.image}, or apply its service manifest, and apply the mesh again",
            )
        return found

    def _in_one_layer(self, reference: str, info: ImageInfo) -> str:
        if len(info.layers) == 1:
            return info.id
        self.progress(f"putting {reference} into one layer")
        with (
            work_directory() as work,
            no_space_explained(work),
            open_native(self.engine, reference, info, work, self.cache) as image,
        ):
            layer = one_layer(image, work / "one.tar")
            epoch = BuildTime.of(info.created, None).epoch
            config = image_config(info.config, layers=[layer.digest], epoch=epoch)
            loaded = self.engine.load(image_archive(config, [ImageLayer(layer.digest, lambda: layer.file)]))
        found = self.engine.inspect(loaded)
        if found is None or found.layers != (f"sha256:{layer.digest}",):
            raise BuildFailed(f"the engine took {reference} in one layer but shows another image", hint="apply again")
        return loaded
