"""The lines about the results of `apply`, and about the next step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.cli.output.printable import shown
from sconectl.policy.rolling.wish import Wish
from sconectl.report.secret_fates import fate_document, fate_line, is_touched

if TYPE_CHECKING:
    from sconectl.apply.copies.copied_images import Copied
    from sconectl.apply.retiring.orphans import LeftBehind
    from sconectl.apply.sessions import Uploaded
    from sconectl.plan.mesh.mesh import MeshPlan
    from sconectl.ports import LockFile
    from sconectl.usecases.apply_mesh import MeshResult
    from sconectl.usecases.apply_service import ServiceResult


def service_lines(done: ServiceResult, cas: str, target: Path) -> list[str]:
    """Return the lines about a service that was applied; `cas` is the address of the CAS with the image session."""
    facts = done.facts
    return [
        f"image {facts.image}: {'built' if done.built else 'unchanged'}{', pushed' if done.pushed else ''}",
        f"measurement {facts.measurement}",
        *_session_lines([done.session] if done.session else [], cas),
        _files_line(done.files_changed, target),
    ]


def mesh_lines(done: MeshResult, plan: MeshPlan, target: Path) -> list[str]:
    """Return the lines about a mesh that was applied."""
    written = "signed" if plan.mode == "SignedManifest" else "encrypted"
    return [
        *(_copy_line(copy) for copy in done.copied),
        *_mesh_session_lines(done, plan.cas.cas_url),
        *(f"session {name}: {written}" for name in done.shipped.changed),
        _files_line(done.files_changed, target),
    ]


def _copy_line(copy: Copied) -> str:
    state = f"copied from {copy.image}{', signed' if copy.signed else ''}" if copy.changed else "unchanged"
    return f"image {copy.to}: {state}"


def retired_lines(done: MeshResult, plan: MeshPlan) -> list[str]:
    """Return the lines about sessions that were retired."""
    return [f"session {entry.name}: retired (CAS {plan.cas.cas_url})" for entry in done.retired]


def namespace_notes(left: LeftBehind | None, namespace: str) -> Iterator[str]:
    """Yield what is not known of a namespace, and which sessions in it are of nobody that is known here."""
    if left and left.hidden:
        yield f"note: only sessions that the lock names were looked for in {namespace}: {shown(left.hidden)}"
    unknown = [orphan.name for orphan in left.staying if orphan.origin == "unknown"] if left else []
    if unknown:
        names = shown(", ".join(unknown))
        yield f"note: written by somebody else, or before there was a lock: {names} (see `sconectl plan`)"


def lock_line(lock: LockFile, changed: bool) -> str:
    """Return the line about the lock."""
    return f"{lock.name}: {'written' if changed else 'unchanged'}"


def rolling_remarks(done: MeshResult, wish: Wish) -> Iterator[str]:
    """Yield what there is to know about the versions of services after an apply that was asked for one."""
    begun = ", ".join(f"{rollout.session} v{rollout.old}" for rollout in done.rollouts if rollout.began)
    if begun:
        yield f"note: old pods start, too ({begun}), until `sconectl apply --finish`"
    if wish != Wish() and not done.updates:
        yield "note: no session is looked up in a CAS, so each holds one version, and is called so in the chart"


def next_step(plan: MeshPlan, target: Path, release: str, *, uploaded: bool) -> str:
    """Return the line that tells how the application of a mesh is installed, or why it cannot start yet."""
    if uploaded or plan.installed:
        return f"install with: helm install {release or 'RELEASE'} {target / 'helm'}"
    nothing = "nothing was uploaded to a CAS; the services cannot start before their sessions are there"
    if plan.signed:
        return f"{nothing} (sconectl session create {target / 'policies'}/….json, the namespace first)"
    return nothing


def _session_lines(sessions: Iterable[Uploaded], address: str) -> list[str]:
    """Return a line for each session."""
    return [f"session {entry.name}: {entry.outcome} (CAS {address})" for entry in sessions]


def _mesh_session_lines(done: MeshResult, address: str) -> Iterator[str]:
    """Yield a line for each session, and below it secrets that did not stay as they were, and what was weakened."""
    updates = {update.name: update for update in done.updates if update.outcome == "update"}
    for entry in done.sessions:
        yield from _session_lines([entry], address)
        update = updates.get(entry.name)
        for fate in map(fate_document, update.fates if update else ()):
            if is_touched(fate):
                yield f"  secret {fate_line(fate)}"
        for change in update.changes if update else ():
            if change.severity == "weakens":
                yield f"  weakened: {change.subject}: {change.message} [{change.code}]"


def _files_line(changed: int, target: Path) -> str:
    """Return the line about the target directory."""
    return f"{target}: {f'{changed} files written' if changed else 'unchanged'}"
