"""The way back: earlier versions of the sessions of a mesh, from the history that the CAS keeps of each.

In: a session store, the names of the sessions, and which of them are to go how far back. Out: what is to be put, beside
what the CAS has. Nothing is written.

A rollout is taken back as a whole: by its number, the sessions show which of them it changed. Where nothing was rolled
out, no session shows to which release its version belongs, so they are named if there are several.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sconectl.apply.rolling.rollouts import names_in
from sconectl.apply.session_history import versions_before
from sconectl.apply.sessions import Update, document_of, with_content
from sconectl.artefacts.session import session_text
from sconectl.errors import PlanImpossible, Refused
from sconectl.policy.model.session import Session
from sconectl.policy.reading import parse_session
from sconectl.policy.rolling.first_version import first_version
from sconectl.policy.rolling.overlap import Overlap
from sconectl.policy.rolling.sharing import is_shared, share
from sconectl.policy.rolling.versions import Fault, versions_in
from sconectl.ports import SessionStore, StoredSession


@dataclass(frozen=True)
class Back:
    """Which sessions go back: by name, or by the `hash` of an earlier version of one of them; else the last rollout.

    With `alone`, nothing stays for pods of the version that is taken back.
    """

    sessions: tuple[str, ...] = ()
    hash: str = ""
    alone: bool = False


@dataclass(frozen=True)
class Return:
    """The sessions that are put, each beside the hash of the earlier version that it is again.

    `faults` are the reasons, by session, why pods of the version that is taken back start no more; `kept` are the
    sessions in which they do. `missing` is what the earlier versions import and nobody exports any more.
    """

    updates: tuple[Update, ...]
    hashes: Mapping[str, str]
    kept: tuple[str, ...] = ()
    faults: tuple[tuple[str, Fault], ...] = ()
    missing: tuple[tuple[str, Fault], ...] = ()


@dataclass(frozen=True)
class _Version:
    stored: StoredSession
    session: Session = field(repr=False)

    @property
    def numbers(self) -> list[int]:
        """The versions of the service, the one that was applied last first."""
        return list(versions_in(self.session, names_in(self.session.name)))


def look_back(store: SessionStore, names: Sequence[str], back: Back) -> Return:
    """Return what going back is. Raises `CasError`, `PlanImpossible`, and `Refused` if several things may be meant."""
    found = ((name, _version(store, name)) for name in names)
    active = {name: version for name, version in found if version is not None}
    goals = _goals(store, active, back)
    if not goals:
        raise PlanImpossible("no session of the mesh has an earlier version", hint="see `sconectl session history`")
    alone = _together(active, goals, keep=False)
    missing = tuple(_missing(goals, alone))
    both = alone if back.alone or missing else _together(active, goals, keep=True)
    faults = [] if both is alone else _faults(both)
    chosen = alone if faults else both
    kept = [name for name in goals if len(versions_in(_session(chosen[name]), names_in(name))) > 1]
    updates = [_update(active[name], overlap) for name, overlap in chosen.items()]
    return Return(
        tuple(update for update in updates if update.name in goals or update.outcome != "unchanged"),
        {name: version.stored.hash for name, version in goals.items()},
        tuple(kept),
        tuple(faults),
        (*missing, *_faults(alone)),
    )


def _version(store: SessionStore, name: str, hash_: str | None = None) -> _Version | None:
    stored = store.read(name, hash_)
    return _Version(stored, parse_session(stored.text, file=name)) if stored else None


def _earlier(store: SessionStore, version: _Version) -> Iterator[_Version]:
    """Yield the versions of a session before one, the youngest first."""
    for stored, session in versions_before(store, version.session, version.stored.hash):
        yield _Version(stored, session)


def _goals(store: SessionStore, active: Mapping[str, _Version], back: Back) -> dict[str, _Version]:
    """Return the earlier version that each session goes back to."""
    if back.hash:
        return _by_hash(store, active, back.hash)
    chosen = [name for name in active if name in back.sessions] if back.sessions else _last_rollout(active)
    found = {name: _goal(store, active[name]) for name in chosen or active}
    goals = {name: version for name, version in found.items() if version is not None}
    if not chosen and len(goals) > 1:
        services = " ".join(f"--service {name.rpartition('/')[2]}" for name in goals)
        raise Refused(
            f"{len(goals)} sessions have an earlier version, and nothing shows which of them were changed last: "
            "that was no rolling update",
            hint=f"name what that changed, of these: {services}",
        )
    return goals


def _by_hash(store: SessionStore, active: Mapping[str, _Version], hash_: str) -> dict[str, _Version]:
    for name, version in active.items():
        for before in _earlier(store, version):
            if before.stored.hash == hash_:
                return {name: before}
    raise PlanImpossible(
        f"no session of the mesh has an earlier version {hash_}", hint="see `sconectl session history`"
    )


def _last_rollout(active: Mapping[str, _Version]) -> list[str]:
    """Return the sessions that hold the version with the highest number; none if nothing was rolled out."""
    newest = max((number for version in active.values() for number in version.numbers), default=1)
    found = [name for name, version in active.items() if newest > 1 and newest in version.numbers]
    # Of a rollback that was cut off, some sessions are back already.
    return [name for name in found if active[name].numbers[0] == newest] or found


def _goal(store: SessionStore, version: _Version) -> _Version | None:
    """Return the youngest version before the rollout of a session, or the one before where nothing was rolled out."""
    numbers = version.numbers
    for before in _earlier(store, version):
        if max(numbers, default=1) == 1 or (before.numbers and before.numbers[0] != numbers[0]):
            return before
    return None


def _together(active: Mapping[str, _Version], goals: Mapping[str, _Version], *, keep: bool) -> dict[str, Overlap]:
    """Return all sessions, those with a goal as they were; to `keep` means that both versions start."""
    found = {}
    for name, version in active.items():
        names, seen = names_in(name), version.session
        wanted = first_version(goals[name].session, names) if name in goals else seen
        found[name] = overlap = Overlap(document_of(wanted), seen, wanted)
        if name not in goals:
            overlap.keep_uses(seen.services)  # its pods go on, and what they import
        elif keep and not _same_names(wanted, version):
            overlap.keep(versions_in(seen, names)[version.numbers[0]], names)
    share(found)
    return found


def _same_names(wanted: Session, version: _Version) -> bool:
    """Say whether no pod can tell the version that is taken back from that which it is again."""
    if not version.numbers:
        return True
    services = versions_in(version.session, names_in(wanted.name))[version.numbers[0]]
    return any(wanted.service(service.name) for service in services)


def _missing(goals: Collection[str], sessions: Mapping[str, Overlap]) -> Iterator[tuple[str, Fault]]:
    """Yield what the earlier versions import from other sessions of the mesh, which export it no longer."""
    for name in goals:
        for secret in sessions[name].wanted.secrets:
            source = secret.import_
            owner = sessions.get(source.session) if source and not source.cas_url else None
            if source is not None and owner is not None and not is_shared(_session(owner), source.secret, name):
                service = source.session.rpartition("/")[2]
                message = f"imports secret {source.secret} of {source.session}, which does not export it any more"
                yield name, Fault(message, f"take that back, too: --service {service}; or apply the earlier manifests")


def _faults(sessions: Mapping[str, Overlap]) -> list[tuple[str, Fault]]:
    return [(name, fault) for name, overlap in sessions.items() for fault in overlap.faults]


def _session(overlap: Overlap) -> Session:
    return parse_session(session_text(overlap.document), file=overlap.wanted.name)


def _update(active: _Version, overlap: Overlap) -> Update:
    return with_content(overlap.document, active.stored, active.session)
