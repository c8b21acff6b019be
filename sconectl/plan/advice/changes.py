"""Changes of a mesh's sessions that weaken them, without those that the mesh allows for now.

In: changes by session, the mesh, the date. Out: the changes that somebody has to decide about. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from sconectl.manifest.model.waivers import allowed_changes
from sconectl.plan.facts.naming import session_name

if TYPE_CHECKING:
    from sconectl.manifest.reading.reader import Manifest
    from sconectl.policy.diff.change import Change


def unwaived(changes: Mapping[str, Sequence[Change]], manifest: Manifest, today: date) -> dict[str, list[Change]]:
    """Return the changes that weaken and that no waiver allows on `today`, by the name of the session.

    A waiver at a service of the mesh is about the session of that service, one at `policy` about every session.
    Sessions without such changes are left out. What is wrong with waivers is told by `waivers.waive`.
    """
    mesh = manifest.model
    assert mesh.kind == "mesh"  # noqa: S101 - narrows the type
    allowed = allowed_changes(manifest.document, today)
    numbers = {session_name(mesh.policy.namespace, one.session): number for number, one in enumerate(mesh.services)}
    left = {
        name: [
            change
            for change in found
            if change.severity == "weakens"
            and allowed.isdisjoint({(change.code, numbers.get(name)), (change.code, None)})
        ]
        for name, found in changes.items()
    }
    return {name: found for name, found in left.items() if found}
