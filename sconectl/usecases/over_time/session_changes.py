"""What an apply would take away: secrets in use that would be lost, and what old pods need until they are replaced.

In: the sessions of a mesh beside what the CAS has, and the manifest. Out: findings at the services that they are about.
Raises `Refused` for losses that nobody allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from sconectl.apply.rolling.rollouts import Rolled, Rollout, roll
from sconectl.apply.sessions import Update
from sconectl.errors import PlanImpossible, Refused
from sconectl.manifest.model.mesh import Cas, Mesh
from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.mesh.mesh import MeshPlan
from sconectl.plan.mesh.mesh_input import is_signed
from sconectl.policy.diff.fates import SecretFate
from sconectl.policy.rolling.versions import Fault
from sconectl.policy.rolling.wish import Wish
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Path

LOSS, OVERLAP, UNFINISHED = "SC2022", "SC2024", "SC2025"


def refuse_losses(manifest: Manifest, allowed: Collection[str], updates: Sequence[Update]) -> None:
    """Raise `Refused` if secrets in use would be lost or drawn anew that are not `allowed`.

    `allowed` names secrets, or secrets of one service as `SERVICE/SECRET`.
    """
    found = list(losses(manifest, allowed, updates))
    if found:
        secrets = "a secret that is in use" if len(found) == 1 else f"{len(found)} secrets that are in use"
        hint = "nothing was changed; see `sconectl plan`, and `sconectl explain SC2022`"
        raise Refused(f"this would lose {secrets}", hint=hint, findings=found)


def losses(manifest: Manifest, allowed: Collection[str], updates: Sequence[Update]) -> Iterator[Finding]:
    """Yield a finding for each secret in use that would be lost or drawn anew and is not `allowed`."""
    for update in updates:
        where, owner = place_of(manifest, update.name), update.name.rpartition("/")[2]
        names = {owner, *(one.name for one in _mesh(manifest).services if one.session == owner)}
        for fate in update.fates:
            if fate.loss and not {fate.name, *(f"{name}/{fate.name}" for name in names)} & set(allowed):
                yield manifest.document.finding("error", LOSS, where, _loss(update.name, fate), _remedy(fate))


def refuse_foreseen(
    manifest: Manifest, allowed: Collection[str], wish: Wish, plan: MeshPlan, updates: Sequence[Update]
) -> None:
    """Do what `refuse_losses` does, before the images of the mesh are built.

    What a rollout keeps for old pods depends on the measurements; then losses are known after the build only.
    """
    rolled = roll(plan, updates, wish)
    if not rolled.rollouts and not rolled.faults:
        refuse_losses(manifest, allowed, rolled.updates)


def roll_out(manifest: Manifest, wish: Wish, plan: MeshPlan, updates: Sequence[Update]) -> Rolled:
    """Return plan and sessions with all versions that are to start.

    Raises `PlanImpossible` with a finding for everything that keeps old pods from starting beside new ones.
    """
    if wish.rolling or wish.finish:
        require_upload(manifest, plan.cas)
    rolled = roll(plan, updates, wish)
    if rolled.faults:
        raise PlanImpossible("old and new pods cannot both start", findings=clashes(manifest, rolled.faults))
    return rolled


def require_upload(manifest: Manifest, cas: Cas) -> None:
    """Raise `PlanImpossible` if the sessions are shipped to a CAS instead of uploaded, so that none is known here."""
    if is_signed(cas):
        path: Path = ("cas", _mesh(manifest).cas.index(cas), "mode")
        message = f"in mode {cas.mode} the sessions are not uploaded here, so that they hold one version only"
        found = manifest.document.finding("error", OVERLAP, path, message, "use mode Upload")
        raise PlanImpossible("the versions in the CAS are not known", findings=[found])


def clashes(manifest: Manifest, faults: Iterable[tuple[str, Fault]]) -> list[Finding]:
    """Return a finding for each fault of a session."""
    return [
        manifest.document.finding(
            "error", OVERLAP, place_of(manifest, session), f"session {session}: {fault.message}", fault.hint
        )
        for session, fault in faults
    ]


def unfinished(manifest: Manifest, rollouts: Sequence[Rollout]) -> Iterator[Finding]:
    """Yield a reminder of every rollout that went on before and still does."""
    for rollout in rollouts:
        if not rollout.began:
            message = f"the rollout of {rollout.session} from v{rollout.old} to v{rollout.new} is not finished"
            hint = f"`sconectl apply --finish` when no pod of v{rollout.old} is left"
            where = place_of(manifest, rollout.session)
            yield manifest.document.finding("warning", UNFINISHED, where, message, hint)


def place_of(manifest: Manifest, session: str) -> Path:
    """Return where the manifest names the service of a session."""
    service = session.rpartition("/")[2]
    numbers = (number for number, entry in enumerate(_mesh(manifest).services) if entry.session == service)
    number = next(numbers, None)
    return ("policy", "namespace") if number is None else ("services", number)


def _mesh(manifest: Manifest) -> Mesh:
    assert manifest.model.kind == "mesh"  # noqa: S101 - narrows the type
    return manifest.model


def _loss(session: str, fate: SecretFate) -> str:
    what = f"{'volume' if fate.kind == 'volume key' else 'secret'} {fate.name} of session {session}"
    return f"{what} is in use, and would be {fate.fate}: {fate.rule}"


def _remedy(fate: SecretFate) -> str:
    return f"restore what the manifests said about it, or give --allow-secret-loss {fate.name}"
