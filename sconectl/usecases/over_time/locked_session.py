"""What the lock says about one session of a mesh: its active version, and the one before.

In: a session beside what the CAS had, and the hash of the version that is active now. Out: an entry of the lock.
"""

from __future__ import annotations

from sconectl.apply.lock.lock_file import LockedSession, keyed, read_lock
from sconectl.apply.sessions import Update
from sconectl.ports import LockFile


def locked_session(update: Update, active: str, salt: str) -> LockedSession:
    """Return the entry of a session whose active version has the hash `active`."""
    before = update.before.hash if update.before else None
    if update.before and update.seen and active == update.before.hash:
        before = update.seen.predecessor
    return LockedSession(hash=keyed(salt, active), predecessor=keyed(salt, before) if before else None)


def lock_session(file: LockFile, namespace: str, update: Update, active: str, salt: str) -> bool:
    """Write one session of a mesh, whose active version has the hash `active`, into the lock, which knows the mesh.

    Says if that changes the lock. Raises `BuildFailed` and `Refused`.
    """

    def change(raw: bytes | None) -> bytes:
        lock = read_lock(raw, file.name)
        mesh = lock.meshes[namespace]
        sessions = {**mesh.sessions, update.name: locked_session(update, active, salt)}
        return lock.with_mesh(namespace, mesh.model_copy(update={"sessions": sessions})).to_bytes()

    return file.update(change)
