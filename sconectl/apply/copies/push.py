"""Gives a mesh to others: its images to their registries, and its chart to one.

In: a mesh, the chart in the target directory, engine and registry. Out: what was pushed. Raises `BuildFailed`, and
`Refused` for a chart whose version has another content already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sconectl.apply.copies.published_chart import ChartArtifact, chart_artifact
from sconectl.errors import BuildFailed, PlanImpossible, Refused
from sconectl.plan.facts.declaration import DECLARATION, MEDIA_TYPE
from sconectl.plan.facts.image_label import ImageLabel
from sconectl.plan.facts.naming import with_tag
from sconectl.plan.mesh.chart_plan import Digests
from sconectl.ports import ImageEngine, Progress, Registry, Workspace

_IMAGE = re.compile(rb'^image: "?([^"\s]+)"?$', re.MULTILINE)
"""The image of a service, as its values.yaml has it."""
_MEASUREMENT = re.compile(rb'^  measurement: "?([0-9a-f]{64})"?$', re.MULTILINE)


@dataclass(frozen=True)
class Pushed:
    """What was pushed, or was there already: an image or a chart, and its digest if it is known.

    `measurement` is that which an image says it has.
    """

    reference: str
    digest: str
    changed: bool
    measurement: str = ""


def push_images(
    images: Sequence[str], engine: ImageEngine, registry: Registry, progress: Progress, detail: Progress
) -> Iterator[Pushed]:
    """Push the images that this machine has and their registries have not; the others have to be there."""
    for image in dict.fromkeys(images):
        here, there = engine.inspect(image), registry.inspect(image)
        meant = here or there
        if meant is None:
            raise BuildFailed(f"neither this machine nor its registry has {image}", hint="apply its service manifest")
        measurement = _measurement(image, meant.labels)
        if here is None or (there is not None and there.layers == here.layers and there.labels == here.labels):
            yield Pushed(image, registry.artifact_digest(image) or "", False, measurement)
            continue
        progress(f"pushing {image}")
        digest = engine.push(here.id, image, detail)
        if DECLARATION in here.labels:
            registry.attach(image, digest, here.labels[DECLARATION].encode(), MEDIA_TYPE)
        yield Pushed(image, digest, True, measurement)


def _measurement(image: str, labels: Mapping[str, str]) -> str:
    try:
        return ImageLabel.read(image, labels).measurement
    except PlanImpossible:
        return ""


def chart_in(workspace: Workspace, digests: Digests) -> ChartArtifact:
    """Return the chart of the target directory, with its images named by digest. Raises `PlanImpossible`.

    A service that expects another measurement keeps the tag: the image may still be pushed.
    """
    files = {path.removeprefix("helm/"): workspace.read(path) or b"" for path in workspace.files("helm")}
    values = {path: _by_digest(text, digests) for path, text in files.items() if path.endswith("/values.yaml")}
    return chart_artifact({**files, **values})


def _by_digest(values: bytes, digests: Digests) -> bytes:
    image, measurement = _IMAGE.search(values), _MEASUREMENT.search(values)
    if image is None or measurement is None:
        return values
    digest = digests.get((with_tag(image[1].decode()), measurement[1].decode()))
    return _IMAGE.sub(b'image: "%s@%s"' % (image[1], digest.encode()), values, count=1) if digest else values


def push_chart(chart: ChartArtifact, destination: str, registry: Registry, progress: Progress) -> Pushed:
    """Push a chart. A version that is there is not replaced: whoever has it would not notice."""
    reference = chart.reference(destination)
    progress(f"pushing {reference}")
    there = registry.artifact_digest(reference)
    if there is not None and there != chart.artifact.digest:
        raise Refused(
            f"{reference} is there already, with another content",
            hint="`sconectl apply --chart-version` gives it another version; or push to another place",
        )
    if there is None:
        registry.publish(reference, chart.artifact)
    return Pushed(reference, chart.artifact.digest, there is None)
