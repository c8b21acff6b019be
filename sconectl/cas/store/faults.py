"""Explains errors of the database and of its disk.

In: errors of SQLite and of the system. Out: errors with a remedy for whoever asked, and for the public one of a few
classes, which name no place on the machine.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.errors import CasError, LocalFault

FULL = "its disk is full"
READ_ONLY = "its store is read-only"
LOCKED = "its store is locked by another program"
DAMAGED = "its store is damaged"
UNUSABLE = "its store cannot be used"

_CONDITIONS = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_READONLY: READ_ONLY,
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}
_ERRNOS = {errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EROFS: READ_ONLY, errno.EACCES: READ_ONLY}


def explained(error: sqlite3.Error, path: Path) -> CasRefusal | CasError:
    """Return our error for an error of the database `path`: `CasRefusal` 507 if its disk is full, else `CasError`."""
    code = _code(error)
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and is_full(path.parent)):
        return CasRefusal(
            507,
            "The CAS cannot store this: its disk is full",
            f"Make room on the file system of {path.parent}; nothing was changed",
        )
    return LocalFault(f"the database {path} cannot be used: {error}", hint="check its owner, its rights and its disk")


def condition(error: CasRefusal | CasError) -> str:
    """Return the condition of a store whose transaction raised `error`: one of the constants of this module."""
    if isinstance(error, CasRefusal):
        return FULL if error.status == 507 else UNUSABLE
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return _CONDITIONS.get(_code(cause), UNUSABLE)
    if isinstance(cause, OSError):
        return _ERRNOS.get(cause.errno or 0, UNUSABLE)
    return UNUSABLE


def is_full(directory: Path) -> bool:
    """Say whether the file system of `directory` has no room for anything."""
    try:
        return os.statvfs(directory).f_bavail < 16
    except OSError:
        return False


def _code(error: sqlite3.Error) -> int:
    # Some errors of sqlite3 have no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
