"""Security advice as a command shows it: today's, without what is waived.

In: the manifests of one run, and what is known beyond them. Out: findings; expired and malformed waivers are errors.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from sconectl.errors import InvalidInput
from sconectl.text.findings import Finding

if TYPE_CHECKING:
    from sconectl.manifest.reading.reader import Manifest
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.plan.mesh.mesh_input import ServiceFiles

_MAX_DIGITS = 10


def advice_on(manifests: Sequence[Manifest], *, mode: str = "production", complete: bool = True) -> list[Finding]:
    """Return the advice about manifests of one run, and the faults of their waivers, by manifest and position.

    `mode` is how services are built; without `complete` there are further manifests, which are not valid. An error
    among the findings has to stop what would come next.
    """
    from sconectl.manifest.model.waivers import waive
    from sconectl.plan.advice.advice import advise, used_by

    used, day = used_by(manifests) if complete else None, today()
    findings = []
    for manifest in manifests:
        found = waive(advise(manifest, mode=mode, used=used), manifest.document, day)
        findings += sorted(found, key=lambda finding: (finding.position, finding.code))
    return findings


def advice_on_images(manifest: Manifest, facts: Mapping[str, ImageFacts]) -> list[Finding]:
    """Return the advice that the facts of a mesh's images add to `advice_on`."""
    from sconectl.manifest.model.waivers import waive
    from sconectl.plan.advice.advice import advise_on_images

    found = advise_on_images(manifest, facts)
    return [finding for finding in waive(found, manifest.document, today()) if finding in found] if found else []


def advice_on_secrets(files: Iterable[ServiceFiles]) -> list[Finding]:
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
        findings += sorted(waive(found, document, today()), key=lambda finding: (finding.position, finding.code))
    return findings


def today() -> date:
    """Return the date by which waivers are judged: SOURCE_DATE_EPOCH if it is a number, else that of the clock."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch.isascii() and epoch.isdecimal() and len(epoch) <= _MAX_DIGITS:
        return datetime.fromtimestamp(int(epoch), UTC).date()
    return date.today()
