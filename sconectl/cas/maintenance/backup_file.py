"""Unpacks the file of a backup into a directory, and finds out whether a CAS can go on from it.

In: a tar file, and an empty directory. Out: its description and the keys of its CAS. Raises the caller's error for the
first fault. `restore` checks before it replaces anything, `backup` before it calls the file a backup.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sqlite3
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sconectl.cas.audit.entries import Head
from sconectl.cas.audit.verification import Verdict
from sconectl.cas.disk.private_files import private_directory
from sconectl.cas.disk.sealing import SealBroken, Sealer
from sconectl.cas.keys import cas_keys as keys
from sconectl.cas.keys import master_key, simulated_machine
from sconectl.cas.keys.cas_keys import CasKeys, load_or_create
from sconectl.cas.maintenance.audit_check import verify_log
from sconectl.cas.store import audit_segments, schema, store
from sconectl.cas.store.session_cache import SessionCache
from sconectl.cas.store.store import Transaction
from sconectl.errors import CasError

FORMAT = 1
DESCRIPTION = "backup.json"
_REQUIRED = (store.FILE, keys.FILE)
_OPTIONAL = (master_key.FILE, simulated_machine.FILE)
_SEGMENT = re.compile(f"{audit_segments.FOLDER}/{audit_segments.NAME.pattern}")
_SMALL = 1 << 20
_CHUNK = 1 << 20

Complaint = Callable[[str], CasError]
"""Makes the error out of the words for a fault."""


def unpacked(file: Path, staging: Path, complaint: Complaint) -> tuple[dict[str, Any], CasKeys]:
    """Unpack the backup `file` into `staging` and return its description and its keys, once everything was checked.

    Raises the error that `complaint` makes of the first fault, or `CasError` if the master key is missing.
    """
    described = _unpack(file, staging, complaint)
    own = _keys(file, staging, described, complaint)
    _check_store(staging / store.FILE, own, described, complaint)
    return described, own


def _unpack(file: Path, staging: Path, complaint: Complaint) -> dict[str, Any]:
    """Unpack exactly what a backup holds, and return its description."""
    digests: dict[str, str] = {}
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                if member.type != tarfile.REGTYPE or member.name in digests:
                    raise complaint(f"its member {member.name!r} is not expected")
                is_segment = _SEGMENT.fullmatch(member.name) is not None
                if member.name not in (DESCRIPTION, *_REQUIRED, *_OPTIONAL) and not is_segment:
                    raise complaint(f"its member {member.name!r} is not expected")
                if member.name != store.FILE and not is_segment and member.size > _SMALL:
                    raise complaint(f"its member {member.name} is too large")
                if is_segment:
                    private_directory(staging / audit_segments.FOLDER)
                digests[member.name] = _extract(tar, member, staging / member.name)
        described = json.loads((staging / DESCRIPTION).read_bytes())
        (staging / DESCRIPTION).unlink()
        del digests[DESCRIPTION]
        if described["format"] != FORMAT:
            raise complaint(f"it was made by another version of sconectl (format {described['format']})")
        if {name: entry["sha256"] for name, entry in described["members"].items()} != digests:
            raise complaint("its members are not those that it was made with")
        Head(int(described["audit"]["sequence"]), str(described["audit"]["signature"]))
    except FileNotFoundError as error:
        raise complaint("it does not exist" if not file.exists() else "it holds no description") from error
    except (tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise complaint("it is damaged, or something else") from error
    if any(name not in digests for name in _REQUIRED):
        raise complaint("it is incomplete")
    return dict(described)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> str:
    digest = hashlib.sha256()
    source = tar.extractfile(member)
    if source is None:
        raise tarfile.ReadError
    with source, os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())
    return digest.hexdigest()


def _keys(file: Path, staging: Path, described: dict[str, Any], complaint: Complaint) -> CasKeys:
    try:
        document = json.loads((staging / keys.FILE).read_bytes())
        source = document["master"]["source"]
        named = keys.cas_key_hash_of((staging / keys.FILE).read_bytes())
    except (ValueError, KeyError, TypeError) as error:
        raise complaint("its keys are damaged") from error
    if named != described.get("cas_key"):
        raise complaint("its keys belong to another CAS")
    if source == "directory" and not os.environ.get(master_key.VARIABLE) and not master_key.lies_in(staging):
        raise CasError(
            f"the backup {file} does not hold the master key", hint=f"set {master_key.VARIABLE} to where the key is"
        )
    return load_or_create(staging)


def _check_store(path: Path, own: CasKeys, described: dict[str, Any], complaint: Complaint) -> None:
    """Find out whether the database is sound and ours, everything sealed in it opens, and its log is complete."""
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != schema.VERSION or _schema(connection) != _expected_schema():
                raise complaint(f"its database is of another version of sconectl (schema {version})")
            if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                raise complaint("its database is damaged")
            latest = Head(described["audit"]["sequence"], described["audit"]["signature"])
            report = verify_log(connection, own, latest, path.parent)
            Transaction(connection, Sealer(own.sealing), own.audit, _now, SessionCache()).open_everything()
        except sqlite3.Error as error:
            raise complaint("its database is damaged") from error
        except SealBroken as error:
            raise complaint("a stored value in it was changed or belongs to another CAS") from error
    # Older segments may have been moved off before; the others have no gap.
    report.forgive(Verdict.OLDEST_MISSING)
    if report.verdict is not Verdict.CORRECT:
        raise complaint(f"its audit log does not verify: {report.faults[0]}")


def _now() -> datetime:
    return datetime.now(UTC)


def _schema(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    return [(str(name), str(sql)) for name, sql in connection.execute(query)]


def _expected_schema() -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema.create(connection)
        return _schema(connection)
