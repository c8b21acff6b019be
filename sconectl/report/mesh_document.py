"""The plan of a mesh in the form that programs read.

In: a `MeshCheck` with its plan, and what becomes of sessions, secrets and files. Out: plain values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sconectl.apply.rolling.rollouts import Rollout
from sconectl.apply.sessions import Update
from sconectl.plan.mesh.chart_plan import ChartService
from sconectl.plan.mesh.mesh import MeshPlan
from sconectl.policy.diff.diff import to_json
from sconectl.report.secret_fates import fate_document
from sconectl.report.volumes import mesh_volumes
from sconectl.usecases.check_mesh import MeshCheck


def mesh_document(
    check: MeshCheck,
    plan: MeshPlan,
    sessions: Mapping[str, Mapping[str, str]],
    updates: Sequence[Update],
    files: Mapping[str, str],
    rollouts: Sequence[Rollout] = (),
    orphans: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the plan of a mesh as plain values.

    `sessions` says what becomes of them by CAS and name, `updates` are those of the mesh beside what the CAS has, and
    `files` says what becomes of them by path. `rollouts` are the sessions that hold two versions then, and `orphans`
    those that no service of the mesh owns.
    """
    namespace = check.mesh.policy.namespace
    versions = {rollout.session: {"rollout": {"from": rollout.old, "to": rollout.new}} for rollout in rollouts}
    found = {update.name: update for update in updates}
    return {
        "kind": "mesh",
        "namespace": namespace,
        "services": [
            {"name": service.name, "image": service.image, **_pods(charted)}
            for service, charted in zip(check.mesh.services, plan.chart.services, strict=True)
        ],
        "sessions": [
            {"name": name, "cas": address, "state": state, **_changes(found.get(name)), **versions.get(name, {})}
            for address, outcomes in sessions.items()
            for name, state in outcomes.items()
            if name in found or name.rpartition("/")[0] != namespace  # else it was looked at only
        ],
        "volumes": mesh_volumes(check.draft.services if check.draft else (), plan),
        "orphans": list(orphans),
        **({"copies": [{"image": copy.image, "to": copy.to} for copy in plan.copies]} if plan.copies else {}),
        "files": [{"path": path, "state": state} for path, state in sorted(files.items())],
    }


def _pods(service: ChartService) -> dict[str, Any]:
    """Return what runs the pods of a service, who they run as, where they listen, and who may connect."""
    own = service.own_chart is not None
    return {
        "workload": "" if own else service.workload,
        "user": service.user,
        "ports": [{"name": port.name, "number": port.number, "why": port.reason} for port in service.ports],
        "callers": None if service.callers is None else list(service.callers),
    }


def service_lines(service: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the plan says about the pods of a service, one line for each fact."""
    if service["workload"] != "deployment":
        yield f"{service['workload'] or 'as its own chart says'}"
    for port in service["ports"]:
        yield f"port {port['number']} ({port['name']}): {port['why']}"
    if service["callers"] is not None:
        yield f"called by {', '.join(service['callers'])}"
    if service["user"] == 0:
        yield "runs as root: the restricted Pod Security Standard refuses it"


def _changes(update: Update | None) -> dict[str, Any]:
    """Return the fates of the secrets of a session, and its other changes; of a new one everything is new."""
    if update is None:
        return {}
    known = update.changes if update.outcome == "update" else []
    changes = [change for change in known if change.group != "values"]
    return {"secrets": [fate_document(fate) for fate in update.fates], "changes": to_json(changes)}


def is_changed(documents: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether applying these plans, of meshes and services, would change anything."""
    return any(_is_changed(document) for document in documents)


def _is_changed(document: Mapping[str, Any]) -> bool:
    if document["kind"] != "mesh":
        return any(step["state"] == "to do" for step in document["steps"])
    entries = [*document["sessions"], *document["files"]]
    retired = any(orphan["state"] == "retire" for orphan in document["orphans"])
    return retired or any(entry["state"] != "unchanged" for entry in entries)
