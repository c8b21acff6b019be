"""Whether a CAS holds what was committed: the versions of the sessions of a mesh, each beside the commit that has it.

In: a session store, a namespace, and what locks said about its sessions. Out: an `Audit`. Nothing is written.

A version is recorded if a lock holds its keyed hash. The hash covers the version before, so that a record vouches for
the whole chain up to it; but only what was there when the record began needs no commit of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Literal

from sconectl.apply.lock.lock_file import keyed
from sconectl.apply.lock.past_locks import LockHistory, Sessions
from sconectl.apply.session_history import BrokenHistory, PastVersion, history
from sconectl.errors import CasRefused, PlanImpossible, UsageError
from sconectl.policy.diff.diff import Change, differences
from sconectl.policy.retired import is_retired
from sconectl.policy.serialized.canonical import same_content
from sconectl.ports import Commit, SessionStore

Reason = Literal["commit", "working tree", "before", "retired", "nothing"]
_FORBIDDEN = 403


@dataclass(frozen=True)
class AuditedVersion:
    """A version of a session, by the keyed hash that a lock has for it, and what explains it.

    `reason`: a `commit`; the lock of the `working tree`, which is not committed; it was there `before` the record
    began; it is `retired`, and gives nothing to anybody; or `nothing` does. Then `changes` say what it changed;
    with `access_only`, that is only who may read and change it.
    """

    number: int
    hash: str
    reason: Reason
    commit: Commit | None = None
    changes: tuple[Change, ...] = ()
    access_only: bool = False


@dataclass(frozen=True)
class Remark:
    """Something else about a session; no alarm if that is as it may be."""

    session: str
    message: str
    hint: str = ""
    alarm: bool = True


@dataclass(frozen=True)
class Audit:
    """The versions of each session, the active one first, and remarks."""

    sessions: Mapping[str, tuple[AuditedVersion, ...]]
    remarks: tuple[Remark, ...]

    @property
    def unexplained(self) -> list[tuple[str, AuditedVersion]]:
        """The versions that nothing explains, each with the name of its session."""
        return [(name, each) for name, found in self.sessions.items() for each in found if each.reason == "nothing"]

    @property
    def alarms(self) -> list[Remark]:
        """The remarks that are an alarm."""
        return [remark for remark in self.remarks if remark.alarm]


def audit(store: SessionStore, namespace: str, locks: LockHistory, foreign: Collection[str] = ()) -> Audit:
    """Return what explains the versions of the sessions of a mesh; `foreign` ones in its namespace are none of them.

    Raises `PlanImpossible` if no lock knows the mesh, `UsageError` if one knows a foreign session, and `CasError`, also
    if the namespace may not be read or listed.
    """
    if not locks.begun:
        hint = "apply it, and commit the lock with the manifests; or name the lock with --lock"
        raise PlanImpossible(f"{locks.file} has never known sessions of the mesh {namespace}", hint=hint)
    root = history(store, namespace)
    if not root:
        return Audit({}, (Remark(namespace, f"CAS {store.address} has no such session", _elsewhere(locks, store)),))
    salts = tuple(dict.fromkeys(each.session.salt for each in root if each.session.salt is not None))
    record = _Record(namespace, locks, salts, root)
    for name in sorted(record.ever & set(foreign)):
        raise UsageError(f"--foreign {name}: a lock has this session", hint="it is one of the mesh")
    listed = {session.name for session in store.list_sessions(namespace)}
    others = (locks.known - record.ever) | set(foreign)
    sessions: dict[str, tuple[AuditedVersion, ...]] = {}
    remarks = [*_about_history(namespace, locks)]
    for name in (namespace, *sorted((listed | set(locks.head) | set(locks.working)) - others - {namespace})):
        try:
            versions = root if name == namespace else history(store, name)
        except BrokenHistory as error:
            remarks.append(Remark(name, error.message, error.hint))
            continue
        except CasRefused as error:
            if error.status != _FORBIDDEN:
                raise
            remarks.append(Remark(name, "you may not read it, so that its versions are not known", error.hint))
            continue
        sessions[name] = tuple(record.explained(name, versions))
        remarks += record.remarks(name, versions, sessions[name], store)
    return Audit(sessions, tuple(remarks))


@dataclass(frozen=True)
class _Record:
    """What the locks say about the sessions of a mesh, to be compared with what a CAS has."""

    namespace: str
    locks: LockHistory
    salts: Sequence[str]
    root: Sequence[PastVersion]

    @cached_property
    def ever(self) -> frozenset[str]:
        """The sessions that any lock had for this mesh."""
        found = {name for lock in self.locks.past for name in lock.sessions}
        return frozenset(found | set(self.locks.head) | set(self.locks.working) | {self.namespace})

    @cached_property
    def commits(self) -> Mapping[tuple[str, str], Commit]:
        """The first commit whose lock has a version, by session and keyed hash."""
        found: dict[tuple[str, str], Commit] = {}
        for lock in self.locks.past:
            for name, entry in lock.sessions.items():
                found.setdefault((name, entry.hash), lock.commit)
        return found

    @cached_property
    def first(self) -> Sessions:
        """The sessions in the lock with which the record begins: the first one that is about this CAS."""
        known = {hash_ for version in self.root for hash_ in self.hashes(version)}
        for sessions in (*(lock.sessions for lock in self.locks.past), self.locks.working):
            entry = sessions.get(self.namespace)
            if entry and entry.hash in known:
                return sessions
        return {}

    def hashes(self, version: PastVersion) -> tuple[str, ...]:
        """Return what a lock may call a version; the salt of the namespace can have been changed."""
        return tuple(keyed(salt, version.hash) for salt in self.salts)

    def is_at(self, sessions: Sessions, name: str, version: PastVersion) -> bool:
        """Say whether a lock has this version of a session."""
        entry = sessions.get(name)
        return entry is not None and entry.hash in self.hashes(version)

    def explained(self, name: str, versions: Sequence[PastVersion]) -> Iterator[AuditedVersion]:
        """Yield the versions of a session, the active one first, each with what explains it."""
        begin = self._begin(name, versions)
        over = name not in self.ever and is_retired(versions[0].session) if versions else False
        for version, before in zip_longest(versions, versions[1:]):
            hashes = self.hashes(version)
            shown = hashes[0] if hashes else ""  # never the session's own hash, with which its values can be tried
            commits = ((hash_, self.commits.get((name, hash_))) for hash_ in hashes)
            recorded = next(((hash_, commit) for hash_, commit in commits if commit), None)
            if recorded:
                yield AuditedVersion(version.number, recorded[0], "commit", recorded[1])
            elif self.is_at(self.locks.working, name, version):
                yield AuditedVersion(version.number, shown, "working tree")
            elif version.number < begin:
                yield AuditedVersion(version.number, shown, "before")
            elif over or is_retired(version.session):
                yield AuditedVersion(version.number, shown, "retired")
            else:
                yield _unexplained(version, before, shown)

    def _begin(self, name: str, versions: Sequence[PastVersion]) -> int:
        """Return the number of the version with which the record of a session begins; 0 if none may be before it.

        In a history that is cut, the first lock may not be the first one that there was.
        """
        for at, version in enumerate(versions):
            if self.is_at(self.first, name, version):
                before = self.first[name].predecessor
                named = at + 1 < len(versions) and before in self.hashes(versions[at + 1])
                return version.number if self.locks.since or (named and not self.locks.cut) else 0
        return 0

    def remarks(
        self, name: str, versions: Sequence[PastVersion], found: Sequence[AuditedVersion], store: SessionStore
    ) -> Iterator[Remark]:
        """Yield what is to be said about the active version of a session."""
        locks, head = self.locks, self.locks.head
        if not versions:
            yield Remark(name, f"is in the lock, and CAS {store.address} has no such session", _elsewhere(locks, store))
        elif self.is_at(head, name, versions[0]):
            return
        elif self.is_at(locks.working, name, versions[0]):
            message = f"v{versions[0].number} is active, and is not committed yet"
            yield Remark(name, message, f"commit {locks.file}", alarm=False)
        elif name in head:
            at_head = next((version for version in versions if self.is_at(head, name, version)), None)
            if at_head is None:
                message = f"CAS {store.address} does not have the version that the lock at HEAD names"
                yield Remark(name, message, _elsewhere(locks, store))
            elif found[0].reason != "nothing":  # which is an alarm already
                message = f"v{versions[0].number} is active, and the lock at HEAD names v{at_head.number}"
                yield Remark(name, message, "apply the manifests of HEAD, and commit the lock")
        elif is_retired(versions[0].session):
            return
        elif name not in self.ever:
            hint = (
                f"give --foreign {name} if it is not of this mesh; `sconectl session retire {name}`, if nobody needs it"
            )
            yield Remark(name, "no lock has ever known this session", hint)
        else:
            message = "the lock at HEAD has it no more, and it still gives what it gave"
            yield Remark(name, message, f"`sconectl session retire {name}`, if nobody needs it", alarm=False)


def _unexplained(version: PastVersion, before: PastVersion | None, shown: str) -> AuditedVersion:
    session = version.session
    if before is None:
        return AuditedVersion(version.number, shown, "nothing", changes=tuple(differences(None, session)))
    other_access = {"access_policy": before.session.access_policy, "creator": before.session.creator}
    only = same_content(before.session, session.model_copy(update=other_access))
    return AuditedVersion(version.number, shown, "nothing", changes=version.changes, access_only=only)


def _about_history(namespace: str, locks: LockHistory) -> Iterator[Remark]:
    if locks.cut:
        hint = "get the whole history with git; or say with --since from which commit on versions need one"
        yield Remark(namespace, "the history of this clone is cut, older commits are not at hand", hint, alarm=False)
    for commit in locks.unreadable:
        message = f"the lock in commit {commit.id[:7]} cannot be read, and explains nothing"
        yield Remark(namespace, message, alarm=False)


def _elsewhere(locks: LockHistory, store: SessionStore) -> str:
    """Return what may be the reason that the CAS does not have what the lock names."""
    if locks.cas and locks.cas != store.address:
        return f"the lock at HEAD is about CAS {locks.cas}; or this CAS was put back to an older state"
    return "ask whoever runs the CAS whether it was put back to an older state"
