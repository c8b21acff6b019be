"""Security advice about the manifests of a run, without what is waived on a day.

In: the manifests of one run, and what is known beyond them. Out: findings; expired and malformed waivers are errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from sconectl.errors import InvalidInput
from sconectl.text.findings import Finding

if TYPE_CHECKING:
    from sconectl.manifest.reading.reader import Manifest
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.plan.mesh.mesh_input import ServiceFiles


def advice_on(manifests: Sequence[Manifest], today: date, *, mode: str, complete: bool = True) -> list[Finding]:
    """Return the advice about manifests of one run, and the faults of their waivers, by manifest and position.

    `mode` is how services are built; without `complete` there are further manifests, which are not valid. An error
    among the findings has to stop what would come next.
    """
    from sconectl.manifest.model.waivers import waive
    from sconectl.plan.advice.advice import advise, used_by

    used = used_by(manifests) if complete else None
    findings = []
    for manifest in manifests:
        found = waive(advise(manifest, mode=mode, used=used), manifest.document, today)
        findings += sorted(found, key=lambda finding: (finding.position, finding.code))
    return findings


def advice_on_images(manifest: Manifest, facts: Mapping[str, ImageFacts], today: date) -> list[Finding]:
    """Return the advice that the facts of a mesh's images add to `advice_on`."""
    from sconectl.manifest.model.waivers import waive
    from sconectl.plan.advice.advice import advise_on_images

    found = advise_on_images(manifest, facts)
    return [finding for finding in waive(found, manifest.document, today) if finding in found] if found else []


def advice_on_secrets(files: Iterable[ServiceFiles], today: date) -> list[Finding]:
    """Return the advice about the `image_secrets` files of a mesh, and the faults of their waivers.

    Files that cannot be read are left out: planning the mesh tells about them.
    """
    given = {one.secrets.name: one.secrets for one in files if one.secrets is not None}
    if not given:
        return []
    from sconectl.manifest.model.waivers import waive
    from sconectl.plan.advice.advice_files import advise_on_secrets

    findings = []
    for file in given.values():
        try:
            found, document = advise_on_secrets(file.content, file.name)
        except InvalidInput:
            continue
        findings += sorted(waive(found, document, today), key=lambda finding: (finding.position, finding.code))
    return findings
