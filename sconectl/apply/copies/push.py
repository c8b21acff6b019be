"""Gives a mesh to others: its images to their registries, and its chart to one.

In: a mesh, the chart in the target directory, engine and registry. Out: what was pushed. Raises `BuildFailed`, and
`Refused` for a chart whose version has another content already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sconectl.apply.copies.published_chart import ChartArtifact, chart_artifact
from sconectl.errors import BuildFailed, Refused
from sconectl.plan.facts.declaration import DECLARATION, MEDIA_TYPE
from sconectl.plan.facts.naming import with_tag
from sconectl.ports import ImageEngine, Progress, Registry, Workspace

_IMAGE = re.compile(rb'^image: "?([^"\s]+)"?$', re.MULTILINE)
"""The image of a service, as its values.yaml has it."""


@dataclass(frozen=True)
class Pushed:
    """What was pushed, or was there already: an image or a chart, and its digest if it is known."""

    reference: str
    digest: str
    changed: bool


def push_images(
    images: Sequence[str], engine: ImageEngine, registry: Registry, progress: Progress, detail: Progress
) -> Iterator[Pushed]:
    """Push the images that this machine has and their registries have not; the others have to be there."""
    for image in dict.fromkeys(images):
        here, there = engine.inspect(image), registry.inspect(image)
        if here is None and there is None:
            raise BuildFailed(f"neither this machine nor its registry has {image}", hint="apply its service manifest")
        if here is None or (there is not None and there.layers == here.layers and there.labels == here.labels):
            yield Pushed(image, registry.artifact_digest(image) or "", changed=False)
            continue
        progress(f"pushing {image}")
        digest = engine.push(here.id, image, detail)
        if DECLARATION in here.labels:
            registry.attach(image, digest, here.labels[DECLARATION].encode(), MEDIA_TYPE)
        yield Pushed(image, digest, changed=True)


def chart_in(workspace: Workspace, digests: Mapping[str, str]) -> ChartArtifact:
    """Return the chart of the target directory, with its images named by digest. Raises `PlanImpossible`."""

    def named(found: re.Match[bytes]) -> bytes:
        digest = digests.get(with_tag(found[1].decode()))
        return b'image: "%s@%s"' % (found[1], digest.encode()) if digest else found[0]

    files = {path.removeprefix("helm/"): workspace.read(path) or b"" for path in workspace.files("helm")}
    values = {path: _IMAGE.sub(named, text) for path, text in files.items() if path.endswith("/values.yaml")}
    return chart_artifact({**files, **values})


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
