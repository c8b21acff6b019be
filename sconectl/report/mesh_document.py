"""The plan of a mesh in the form that programs read.

In: a `MeshCheck`, and what becomes of sessions and files. Out: plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sconectl.usecases.check_mesh import MeshCheck


def mesh_document(
    check: MeshCheck, sessions: Mapping[str, Mapping[str, str]], files: Mapping[str, str]
) -> dict[str, Any]:
    """Return the plan of a mesh as plain values: what becomes of `sessions`, by CAS and name, and of `files`."""
    return {
        "kind": "mesh",
        "namespace": check.mesh.policy.namespace,
        "services": [{"name": service.name, "image": service.image} for service in check.mesh.services],
        "sessions": [
            {"name": name, "cas": address, "state": state}
            for address, outcomes in sessions.items()
            for name, state in outcomes.items()
        ],
        "files": [{"path": path, "state": state} for path, state in sorted(files.items())],
    }
