"""What an apply would take away: secrets in use that would be lost, and what old pods need until they are replaced.

In: the sessions of a mesh beside what the CAS has, and the manifest. Out: findings at the services that they are about.
Raises `Refused` for losses that nobody allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from sconectl.apply.rolling.rollouts import Rolled, Rollout, roll
from sconectl.apply.sessions import Update
from sconectl.errors import PlanImpossible, Refused
from sconectl.plan.mesh.mesh import MeshPlan
from sconectl.policy.diff.fates import SecretFate
from sconectl.policy.rolling.choice import Wish
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Path
from sconectl.usecases.check_mesh import MeshCheck

LOSS, OVERLAP, UNFINISHED = "SC2022", "SC2024", "SC2025"


def refuse_losses(check: MeshCheck, allowed: Collection[str], updates: Sequence[Update]) -> None:
    """Raise `Refused` if secrets in use would be lost or drawn anew that are not `allowed`.

    `allowed` names secrets, or secrets of one service as `SERVICE/SECRET`.
    """
    found = list(losses(check, allowed, updates))
    if found:
        secrets = "a secret that is in use" if len(found) == 1 else f"{len(found)} secrets that are in use"
        hint = "nothing was changed; see `sconectl plan`, and `sconectl explain SC2022`"
        raise Refused(f"this apply would lose {secrets}", hint=hint, findings=found)


def losses(check: MeshCheck, allowed: Collection[str], updates: Sequence[Update]) -> Iterator[Finding]:
    """Yield a finding for each secret in use that would be lost or drawn anew and is not `allowed`."""
    for update in updates:
        service, where = update.name.rpartition("/")[2], _place(check, update.name)
        for fate in update.fates:
            if fate.loss and not {fate.name, f"{service}/{fate.name}"} & set(allowed):
                yield check.manifest.document.finding("error", LOSS, where, _loss(update.name, fate), _remedy(fate))


def roll_out(check: MeshCheck, wish: Wish, plan: MeshPlan, updates: Sequence[Update]) -> Rolled:
    """Return plan and sessions with all versions that are to start.

    Raises `PlanImpossible` with a finding for everything that keeps old pods from starting beside new ones.
    """
    if plan.signed and (wish.rolling or wish.finish):
        place: Path = ("cas", check.mesh.cas.index(plan.cas), "mode")
        message = f"in mode {plan.mode} the sessions are not uploaded here, so no version can stay beside the new one"
        found = [check.manifest.document.finding("error", OVERLAP, place, message, "use mode Upload")]
    else:
        rolled = roll(plan, updates, wish)
        found = [
            check.manifest.document.finding(
                "error", OVERLAP, _place(check, session), f"session {session}: {fault.message}", fault.hint
            )
            for session, fault in rolled.faults
        ]
        if not found:
            return rolled
    raise PlanImpossible("old and new pods cannot both start", findings=found)


def unfinished(check: MeshCheck, rollouts: Sequence[Rollout]) -> Iterator[Finding]:
    """Yield a reminder of every rollout that went on before and still does."""
    for rollout in rollouts:
        if not rollout.began:
            message = f"the rollout of {rollout.session} from v{rollout.old} to v{rollout.new} is not finished"
            hint = f"`sconectl apply --finish` when no pod of v{rollout.old} is left"
            where = _place(check, rollout.session)
            yield check.manifest.document.finding("warning", UNFINISHED, where, message, hint)


def _place(check: MeshCheck, session: str) -> Path:
    """Return where the manifest names the service of a session."""
    service = session.rpartition("/")[2]
    numbers = (number for number, entry in enumerate(check.mesh.services) if entry.name == service)
    number = next(numbers, None)
    return ("policy", "namespace") if number is None else ("services", number)


def _loss(session: str, fate: SecretFate) -> str:
    what = f"{'volume' if fate.kind == 'volume key' else 'secret'} {fate.name} of session {session}"
    return f"{what} is in use, and would be {fate.fate}: {fate.rule}"


def _remedy(fate: SecretFate) -> str:
    return f"restore what the manifests said about it, or give --allow-secret-loss {fate.name}"
