"""Effects of a mesh: sessions into the CAS in order, then target/policies and target/helm.

In: a plan and the outside world. Out: a `MeshResult`. Every session is either as it was or new; a run that was cut
off is finished by the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

from sconectl.apply.image_sessions import share_key
from sconectl.apply.sessions import Uploaded, put_session
from sconectl.artefacts.chart import render_chart
from sconectl.artefacts.session import policy_files, session_text
from sconectl.errors import CasError, InvalidInput, PlanImpossible
from sconectl.findings import Finding
from sconectl.plan.mesh import MeshPlan
from sconectl.policy.model import parse_session
from sconectl.ports import Keys, Progress, SessionStore, Workspace


@dataclass(frozen=True)
class MeshWorld:
    """The outside world of a mesh. `store` is None where nothing is to be uploaded."""

    store: SessionStore | None
    image_store: SessionStore | None
    keys: Keys
    workspace: Workspace
    progress: Progress


@dataclass(frozen=True)
class MeshResult:
    """What was done for a mesh; `sessions` is empty where nothing was to be uploaded."""

    sessions: tuple[Uploaded, ...]
    files_changed: int


def check_sessions(plan: MeshPlan) -> None:
    """Raise `InvalidInput` with the findings of every session that the rules of the policy language refuse."""
    findings: list[Finding] = []
    for session in plan.sessions:
        try:
            parse_session(session_text(session.document), file=f"policies/{session.file}.yaml")
        except InvalidInput as error:
            findings += error.findings
    if findings:
        raise InvalidInput(findings, summary="the generated policies break rules of the policy language")


def apply_mesh(plan: MeshPlan, world: MeshWorld) -> MeshResult:
    """Upload what changed and write what changed. Raises what the ports raise, `PlanImpossible` and `InvalidInput`."""
    check_sessions(plan)
    chart = {f"helm/{path}": content for path, content in render_chart(plan.chart).items()}
    policies = {f"policies/{path}": content for path, content in policy_files(plan).items()}
    uploaded = _upload(plan, world) if world.store is not None else []
    changed = world.workspace.write(policies, replaces=("policies",), private=True)
    changed += world.workspace.write(chart, replaces=("helm",))
    return MeshResult(tuple(uploaded), changed)


def _upload(plan: MeshPlan, world: MeshWorld) -> list[Uploaded]:
    done: list[Uploaded] = []
    store = world.store
    if store is None:
        return done
    try:
        namespace, *sessions = plan.sessions
        world.progress(f"session {namespace.name}")
        done.append(put_session(store, namespace.document))
        for share in plan.shares:
            world.progress(f"session {share.facts.image_session}")
            done.append(share_key(world.image_store or store, share, world.keys))
        for session in sessions:
            world.progress(f"session {session.name}")
            done.append(put_session(store, session.document))
    except (CasError, PlanImpossible) as error:
        written = [entry.name for entry in done if entry.outcome != "unchanged"]
        if written:
            note = f"written before that: {', '.join(written)}; run the command again to finish"
            error.hint = f"{error.hint}; {note}" if error.hint else note
        raise
    return done
