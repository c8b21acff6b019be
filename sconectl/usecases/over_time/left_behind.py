"""Sessions of a mesh that none of its services owns any more: whose they are, and what is to be done about them.

In: a checked mesh, the lock from before this run, and what is to be retired. Out: what is left in the namespace, and
findings at `policy.namespace`. Raises `PlanImpossible` for sessions that are named and cannot be retired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sconectl.apply.lock.lock_file import Lock, LockedMesh
from sconectl.apply.retiring.orphans import Known, LeftBehind, Orphan, Prune, look_around
from sconectl.apply.sessions import Update
from sconectl.errors import PlanImpossible
from sconectl.manifest.model.faults import did_you_mean
from sconectl.plan.facts.naming import session_name, with_tag
from sconectl.text.findings import Finding
from sconectl.usecases.over_time.locked import earlier, place

if TYPE_CHECKING:
    from sconectl.plan.mesh.mesh import MeshPlan
    from sconectl.policy.reading import Session
    from sconectl.ports import SessionStore
    from sconectl.usecases.check_mesh import MeshCheck

LEFT = "SC2026"
_WHERE = ("policy", "namespace")


@dataclass(frozen=True)
class Rename:
    """An orphan that looks like a new session of the mesh; `drawn` are the secrets that get new values by that."""

    new: str
    drawn: tuple[str, ...]


@dataclass(frozen=True)
class Witness:
    """What the lock of before this run, whose file is called `name`, says about a mesh for a CAS."""

    check: MeshCheck
    lock: Lock
    name: str
    cas: str

    @cached_property
    def entry(self) -> LockedMesh | None:
        """The entry of this mesh."""
        return earlier(self.lock, self.check, self.cas, place(self.check, self.name))

    @property
    def known(self) -> Known:
        """Whose sessions are whose."""
        wrote = {name: session.hash for name, session in self.entry.sessions.items()} if self.entry else {}
        others = (entry for entry in self.lock.meshes.items() if entry[0] != self.check.mesh.policy.namespace)
        return Known(wrote, frozenset(name for key, entry in others for name in (key, *entry.sessions)))

    def look(self, prune: Prune, store: SessionStore, updates: Sequence[Update]) -> LeftBehind:
        """Return what is left behind. Raises `CasError`, and `PlanImpossible` for what is named in vain."""
        left = look_around(store, updates, self.known, prune)
        faults = list(self._in_vain(prune, left, updates))
        if faults:
            raise PlanImpossible("not every session that is named can be retired", findings=faults)
        return left

    def require_upload(self, prune: Prune, plan: MeshPlan) -> None:
        """Raise `PlanImpossible` if something is to be retired, and the sessions are shipped instead of uploaded."""
        if prune != Prune() and not plan.upload:
            message = f"in mode {plan.mode} nothing is uploaded here, so that nothing can be retired"
            found = [self._fault(message, "use `sconectl session retire`, or mode Upload")]
            raise PlanImpossible("the sessions in the CAS are not known", findings=found)

    def renames(self, left: LeftBehind, updates: Sequence[Update]) -> dict[str, Rename]:
        """Return, by orphan, the new session that it looks like: of the same image, with the same secrets."""
        new = [update for update in updates[1:] if update.outcome == "create"]
        found = {}
        for orphan in left.orphans:
            alike = [update for update in new if self._is_alike(orphan, update)]
            if orphan.session and len(alike) == 1:
                (update,) = alike
                drawn = tuple(secret.name for secret in update.wanted.secrets if secret.generated)
                found[orphan.name] = Rename(update.name, drawn)
        return found

    def remarks(self, left: LeftBehind, updates: Sequence[Update]) -> Iterator[Finding]:
        """Yield a warning for each session of this mesh that stays, and for what is left in another CAS."""
        renames = self.renames(left, updates)
        for orphan in left.staying:
            if orphan.origin != "unknown" or orphan.importers:
                yield self._finding(_said(orphan, renames.get(orphan.name)), _remedy(orphan, renames.get(orphan.name)))
        before = self.lock.meshes.get(self.check.mesh.policy.namespace)
        if before and before.sessions and before.cas != self.cas:
            names = " ".join(reversed(before.sessions))
            message = (
                f"this mesh was applied to CAS {before.cas} before, and its sessions there still give their secrets"
            )
            yield self._finding(message, f"when nothing uses them any more, retire them there: {names}")

    def _is_alike(self, orphan: Orphan, update: Update) -> bool:
        if orphan.session is None or _names(orphan.session) != _names(update.wanted):
            return False
        measured = [
            {each for service in one.services for each in service.measurements}
            for one in (orphan.session, update.wanted)
        ]
        images = {
            session_name(self.check.mesh.policy.namespace, each.session): with_tag(each.image)
            for each in self.check.mesh.services
        }
        before = self.entry.services.get(orphan.name.rpartition("/")[2]) if self.entry else None
        return bool(measured[0] & measured[1]) or (before is not None and before == images.get(update.name))

    def _in_vain(self, prune: Prune, left: LeftBehind, updates: Sequence[Update]) -> Iterator[Finding]:
        orphans = {orphan.name: orphan for orphan in left.orphans}
        for name in prune.named:
            if any(name == update.name for update in updates):
                yield self._fault(f"session {name} belongs to this mesh", "take its service out of the mesh first")
            elif name in orphans and orphans[name].session is None:
                yield self._fault(f"session {name} may not be read with your identity", "ask its owner to retire it")
            elif name in orphans and orphans[name].importers:
                yield self._fault(_imported(orphans[name]), "let the mesh import that from another session first")
            elif name not in left.present:
                hint = did_you_mean(name, sorted(orphans)) or "give the whole name, as `sconectl plan` shows it"
                yield self._fault(f"there is no session {name} in namespace {updates[0].name}", hint)
            elif name in self.known.others:
                yield self._fault(
                    f"session {name} belongs to another mesh, as the lock says", "apply that mesh with --prune"
                )

    def _finding(self, message: str, hint: str) -> Finding:
        return self.check.manifest.document.finding("warning", LEFT, _WHERE, message, hint)

    def _fault(self, message: str, hint: str) -> Finding:
        return self.check.manifest.document.finding("error", LEFT, _WHERE, message, hint)


def _names(session: Session) -> set[str]:
    return {secret.name for secret in session.secrets}


def _said(orphan: Orphan, rename: Rename | None) -> str:
    whose = {
        "mesh": ", which this mesh wrote",
        "changed": ", which this mesh wrote and which was changed since",
        "unknown": "",
    }[orphan.origin]
    text = f"no service owns session {orphan.name} any more{whose}"
    if orphan.session is None:
        return f"{text}; what it gives cannot be told, because it may not be read with your identity"
    text += f": {', '.join(_gifts(orphan))}"
    if rename:
        service, new = orphan.name.rpartition("/")[2], rename.new.rpartition("/")[2]
        text += f". Service {service} looks like it was renamed to {new}"
        text += f", for which the CAS makes new values of {', '.join(rename.drawn)}" if rename.drawn else ""
    return text if not orphan.importers else f"{text}; {_imported(orphan)}"


def _gifts(orphan: Orphan) -> Iterator[str]:
    if orphan.programs:
        yield f"{', '.join(orphan.programs)} may still start with it"
    for name, who in (*orphan.secrets.items(), *orphan.volumes.items()):
        others = [each for each in who if not each.startswith("service ")]
        if others:
            yield f"{', '.join(others)} may still have {name}"


def _imported(orphan: Orphan) -> str:
    importers = ", ".join(orphan.importers)
    return f"{importers} of this mesh still imports from session {orphan.name}, so that it is not retired"


def _remedy(orphan: Orphan, rename: Rename | None) -> str:
    if orphan.importers:
        return "let the mesh import that from another session; then retire it"
    if orphan.session is None:
        return "ask its owner to retire it"
    how = "--prune" if orphan.origin == "mesh" else f"--prune-session {orphan.name}"
    remedy = f"when nothing uses it any more: `sconectl apply {how}`"
    if rename and rename.drawn:
        name = orphan.name.rpartition("/")[2]
        new = rename.new.rpartition("/")[2]
        return f"to keep the values, put `renamed_from: {name}` into service {new}; or, {remedy}"
    return remedy
