"""What an apply would take away: secrets in use that would be lost, and changes that weaken the protection.

In: the sessions of a mesh beside what the CAS has, and the manifest. Out: findings at the services that they are about.
Raises `Refused` for losses that nobody allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from sconectl.apply.sessions import Update
from sconectl.errors import Refused
from sconectl.policy.diff.fates import SecretFate
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Path
from sconectl.usecases.check_mesh import MeshCheck

LOSS = "SC2022"


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
    numbers = {service.name: number for number, service in enumerate(check.mesh.services)}
    for update in updates:
        service = update.name.rpartition("/")[2]
        where: Path = ("services", numbers[service]) if service in numbers else ("policy", "namespace")
        for fate in update.fates:
            if fate.loss and not {fate.name, f"{service}/{fate.name}"} & set(allowed):
                yield check.manifest.document.finding("error", LOSS, where, _loss(update.name, fate), _remedy(fate))


def _loss(session: str, fate: SecretFate) -> str:
    what = f"{'volume' if fate.kind == 'volume key' else 'secret'} {fate.name} of session {session}"
    return f"{what} is in use, and would be {fate.fate}: {fate.rule}"


def _remedy(fate: SecretFate) -> str:
    return f"restore what the manifests said about it, or give --allow-secret-loss {fate.name}"
