"""Several manifests of one run: in which order they are applied, and where two of them would write to one place.

In: manifests. Out: the same in order; findings.
"""

from __future__ import annotations

from collections.abc import Sequence

from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.facts.naming import with_tag
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Path


def in_order(manifests: Sequence[Manifest]) -> list[Manifest]:
    """Return services before meshes, which need their images, and otherwise the order given."""
    return sorted(manifests, key=lambda manifest: manifest.model.kind != "genservice")


def collisions(manifests: Sequence[Manifest]) -> list[Finding]:
    """Return the errors of applying these together: a second mesh, or a name or image that is taken."""
    findings = []
    taken: dict[tuple[str, str], Manifest] = {}
    for manifest in manifests:
        for what, name, path, hint in _places(manifest):
            first = taken.setdefault((what, name), manifest)
            if first is not manifest:
                where = first.document.position(path)
                message = f"{what} is made from {where} already"
                findings.append(manifest.document.finding("error", "SC1050", path, message, hint))
    return findings


def _places(manifest: Manifest) -> list[tuple[str, str, Path, str]]:
    model = manifest.model
    if model.kind != "genservice":
        return [("the chart in target/helm", "", ("kind",), "apply each mesh by itself, with a -t DIR of its own")]
    return [
        ("the record in target/images", model.build.name, ("build", "name"), "give each service a name of its own"),
        ("this image", with_tag(model.build.to), ("build", "to"), "give each service an image of its own"),
    ]
