"""What the lock said about the sessions of a mesh, from commit to commit.

In: the lock's file and its history. Out: a `LockHistory`. Only the sessions are read, so that a lock can be of any
version of sconectl that wrote this format. Raises `Refused` for a lock that is none, where it counts: at HEAD, at the
start, and in the working tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sconectl.apply.lock.lock_file import LockedSession
from sconectl.errors import Refused
from sconectl.ports import Commit, FileHistory, LockFile

Sessions = Mapping[str, LockedSession]


class _Mesh(BaseModel):
    model_config = ConfigDict(extra="ignore")

    cas: str = ""
    sessions: dict[str, LockedSession] = {}


class _Lock(BaseModel):
    model_config = ConfigDict(extra="ignore")

    format: Literal[1]
    meshes: dict[str, _Mesh]


@dataclass(frozen=True)
class PastLock:
    """The sessions of the mesh in one commit. The first one with any of them is where the record begins."""

    commit: Commit
    sessions: Sessions


@dataclass(frozen=True)
class LockHistory:
    """The sessions of a mesh in the lock: in commits, parents first, and in the working tree.

    `known` names the sessions of all meshes that any lock knew, `cas` is where the lock at HEAD says that they are, and
    `unreadable` are commits whose lock is none. With `cut`, older commits are not at hand.
    """

    file: str
    past: tuple[PastLock, ...]
    head: Sessions
    working: Sessions
    known: frozenset[str]
    cas: str = ""
    since: str = ""
    cut: bool = False
    unreadable: tuple[Commit, ...] = ()

    @property
    def begun(self) -> bool:
        """Say whether any lock has sessions of the mesh."""
        return bool(self.working) or any(lock.sessions for lock in self.past)


def read_history(namespace: str, file: LockFile, history: FileHistory, since: str = "") -> LockHistory:
    """Return what locks said about the sessions of a mesh; with `since`, a revision, from there on.

    Raises `PlanImpossible` without a repository, `UsageError` for a revision that is none, `BuildFailed` and `Refused`.
    """
    start = history.start(since) if since else None
    at_head = _required(history.at("HEAD"), f"{file.name} at HEAD")
    working = _required(file.read(), file.name)
    known = {*_names(at_head), *_names(working)}
    past, unreadable = [], []
    if start:
        at_start = _required(history.at(start.id), f"{file.name} at {since}")
        known |= _names(at_start)
        past.append(PastLock(start, _sessions(at_start, namespace)))
    for commit, raw in history.changes(start.id if start else ""):
        try:
            lock = _read(raw)
        except ValidationError:
            unreadable.append(commit)
            continue
        known |= _names(lock)
        past.append(PastLock(commit, _sessions(lock, namespace)))
    mesh = at_head.meshes.get(namespace) if at_head else None
    return LockHistory(
        file=file.name,
        past=tuple(past),
        head=_sessions(at_head, namespace),
        working=_sessions(working, namespace),
        known=frozenset(known),
        cas=mesh.cas if mesh else "",
        since=since,
        cut=history.is_cut(),
        unreadable=tuple(unreadable),
    )


def _read(raw: bytes) -> _Lock:
    """Return a lock; raises `ValidationError` if it is none."""
    return _Lock.model_validate_json(raw)


def _required(raw: bytes | None, name: str) -> _Lock | None:
    if raw is None:
        return None
    try:
        return _read(raw)
    except ValidationError as error:
        hint = "take an older version from Git, and apply again"
        raise Refused(f"{name} is no lock of this version", hint=hint) from error


def _sessions(lock: _Lock | None, namespace: str) -> Sessions:
    mesh = lock.meshes.get(namespace) if lock else None
    return mesh.sessions if mesh else {}


def _names(lock: _Lock | None) -> set[str]:
    return {name for mesh in lock.meshes.values() for name in mesh.sessions} if lock else set()
