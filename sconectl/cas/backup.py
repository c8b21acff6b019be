"""Backups of a CAS: one file out of a running one, and a directory out of the file.

In: the directory of a CAS and a tar file of mode 0600. Out: the other one of them. A restore is the deliberate way
back to an older state: it moves the freshness anchor, and the audit log says so. Nothing is replaced before the whole
archive was found to be good.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sconectl.cas import audit_check, audit_table, keys, master_key, platform, store, store_schema
from sconectl.cas.anchor import Anchor, default_anchor
from sconectl.cas.audit import Head
from sconectl.cas.audit_report import Verdict, verify
from sconectl.cas.exclusive import STATE_FILE, writer
from sconectl.cas.keys import CasKeys, load_or_create
from sconectl.cas.private_files import private_directory, sync_directory
from sconectl.cas.store import Store
from sconectl.errors import CasError, Refused, SconectlError

FORMAT = 1
_MANIFEST = "backup.json"
_REQUIRED = (store.FILE, keys.FILE)
_OPTIONAL = (master_key.FILE, platform.FILE)
_SMALL = 1 << 20
_CHUNK = 1 << 20
_NOT_STATE = frozenset({".lock", STATE_FILE, "server.log"})


@dataclass(frozen=True)
class Restored:
    """What a restore did: the CAS that is there now, its newest entry, and where the former directory is."""

    cas_key_hash: str
    head: Head
    aside: Path | None


def backup(directory: Path, file: Path, *, anchor: Path | None = None) -> Head:
    """Write a backup of the CAS in `directory` to `file` and return its newest audit entry; a server may be running.

    The file holds the master key if that lies in the directory. Raises `CasError` if anything cannot be read or
    written; then `file` is what it was.
    """
    with audit_check.opened(directory):
        pass  # there is a store of this version
    own = load_or_create(directory)
    with contextlib.closing(_open(directory, own, anchor)) as opened, opened.writing() as transaction:
        transaction.record("backup_made")
    with _explained(f"cannot write {file}"), tempfile.TemporaryDirectory(dir=file.absolute().parent) as name:
        copy = Path(name) / store.FILE
        head = _copied(directory, copy)
        members = {store.FILE: copy, keys.FILE: directory / keys.FILE}
        if master_key.lies_in(directory):
            members[master_key.FILE] = directory / master_key.FILE
        if (directory / platform.FILE).exists():
            members[platform.FILE] = directory / platform.FILE
        manifest = {
            "format": FORMAT,
            "cas_key": own.cas_key_hash,
            "audit": {"sequence": head.sequence, "signature": head.signature},
            "members": {name: {"size": path.stat().st_size, "sha256": _digest(path)} for name, path in members.items()},
        }
        described = Path(name) / _MANIFEST
        described.write_text(json.dumps(manifest, indent=2) + "\n")
        archive = Path(name) / "archive"
        with os.fdopen(os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for member, path in {_MANIFEST: described, **members}.items():
                    tar.add(path, member, filter=_anonymous)
            stream.flush()
            os.fsync(stream.fileno())
        archive.replace(file)
        sync_directory(file.absolute().parent)
    return head


def restore(file: Path, directory: Path, *, replace: bool = False, anchor: Path | None = None) -> Restored:
    """Make the CAS in the backup `file` the one in `directory`.

    What was there is kept beside it, as DIR.replaced-N. Raises `Refused` if something is there and `replace` is not
    given, and `CasError` if a server runs on it or the backup is not good; then nothing has changed.
    """
    directory = directory.absolute()
    occupied = _occupied(directory)
    if occupied and not replace:
        raise Refused(
            f"there is something in {directory} already",
            hint="give --replace to put it aside, or another directory with --dir",
        )
    private_directory(directory)
    with (
        writer(directory),
        _explained(f"cannot restore {directory}"),
        contextlib.ExitStack() as held,
        tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.restore-") as name,
    ):
        staging = private_directory(Path(name) / "cas")
        manifest = _unpack(file, staging)
        own = _keys(file, staging, manifest)
        _check_store(file, staging, own, manifest)
        target = Anchor(anchor or default_anchor(own.cas_key_hash), own.sealing)
        target.claim(directory)
        held.callback(target.release)
        head = _record_restored(staging, own, Path(name) / "anchor", manifest, target)
        aside = _put_aside(directory, keep=occupied)
        staging.rename(directory)
        sync_directory(directory.parent)
        target.replace(head)
    return Restored(own.cas_key_hash, head, aside)


def _open(directory: Path, own: CasKeys, anchor: Path | None) -> Store:
    return Store(
        directory,
        own.sealing,
        audit_key=own.audit,
        anchor=Anchor(anchor or default_anchor(own.cas_key_hash), own.sealing),
        starting=False,
    )


def _copied(directory: Path, copy: Path) -> Head:
    """Copy the database as it is at one moment, and return its newest audit entry."""
    with audit_check.opened(directory) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.execute("COMMIT")
        source.backup(target)
        return audit_table.newest(target)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mode, member.uid, member.gid, member.uname, member.gname = 0o600, 0, 0, "", ""
    return member


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _occupied(directory: Path) -> bool:
    return directory.exists() and (
        not directory.is_dir() or any(path.name not in _NOT_STATE for path in directory.iterdir())
    )


def _unpack(file: Path, staging: Path) -> dict[str, Any]:
    """Unpack exactly what a backup holds, and return its manifest; raises `CasError` for anything else."""
    digests: dict[str, str] = {}
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                if member.type != tarfile.REGTYPE or member.name in digests:
                    raise _no_backup(file, f"its member {member.name!r} is not expected")
                if member.name not in (_MANIFEST, *_REQUIRED, *_OPTIONAL):
                    raise _no_backup(file, f"its member {member.name!r} is not expected")
                if member.name != store.FILE and member.size > _SMALL:
                    raise _no_backup(file, f"its member {member.name} is too large")
                digests[member.name] = _extract(tar, member, staging / member.name)
        manifest = json.loads((staging / _MANIFEST).read_bytes())
        (staging / _MANIFEST).unlink()
        del digests[_MANIFEST]
        if manifest["format"] != FORMAT:
            raise _no_backup(file, f"it was made by another version of sconectl (format {manifest['format']})")
        if {name: entry["sha256"] for name, entry in manifest["members"].items()} != digests:
            raise _no_backup(file, "its members are not those that it was made with")
        Head(int(manifest["audit"]["sequence"]), str(manifest["audit"]["signature"]))
    except FileNotFoundError as error:
        raise _no_backup(file, "it does not exist" if not file.exists() else "it holds no description") from error
    except (tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_backup(file, "it is damaged, or something else") from error
    if any(name not in digests for name in _REQUIRED):
        raise _no_backup(file, "it is incomplete")
    return dict(manifest)


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


def _keys(file: Path, staging: Path, manifest: dict[str, Any]) -> CasKeys:
    try:
        document = json.loads((staging / keys.FILE).read_bytes())
        source = document["master"]["source"]
        named = keys.cas_key_hash_of((staging / keys.FILE).read_bytes())
    except (ValueError, KeyError, TypeError) as error:
        raise _no_backup(file, "its keys are damaged") from error
    if named != manifest.get("cas_key"):
        raise _no_backup(file, "its keys belong to another CAS")
    if source == "directory" and not os.environ.get(master_key.VARIABLE) and not master_key.lies_in(staging):
        raise CasError(
            f"the backup {file} does not hold the master key", hint=f"set {master_key.VARIABLE} to where the key is"
        )
    return load_or_create(staging)


def _check_store(file: Path, staging: Path, own: CasKeys, manifest: dict[str, Any]) -> None:
    """Raise `CasError` unless the database is sound, ours, and has a complete audit log."""
    path = staging / store.FILE
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != store_schema.VERSION or _schema(connection) != _expected_schema():
                raise _no_backup(file, f"its database is of another version of sconectl (schema {version})")
            if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                raise _no_backup(file, "its database is damaged")
            latest = Head(manifest["audit"]["sequence"], manifest["audit"]["signature"])
            lines = audit_table.lines(connection)
            report = verify(lines, own.audit.private.public_key(), own.cas_key_hash, latest)
        except sqlite3.Error as error:
            raise _no_backup(file, "its database is damaged") from error
    if report.verdict is not Verdict.CORRECT:
        raise _no_backup(file, f"its audit log does not verify: {report.faults[0]}")


def _schema(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    return [(str(name), str(sql)) for name, sql in connection.execute(query)]


def _expected_schema() -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        store_schema.create(connection)
        return _schema(connection)


def _record_restored(staging: Path, own: CasKeys, anchor: Path, manifest: dict[str, Any], target: Anchor) -> Head:
    """Check that everything sealed opens, and add the entry that says that this state was put back."""
    try:
        before = target.read()
    except SconectlError:
        before = None  # of no use, and about to be replaced
    with contextlib.closing(_open(staging, own, anchor)) as opened:
        with opened.reading() as transaction:
            for session in transaction.names():
                transaction.session(session)
                transaction.stored(session)
        with opened.writing() as transaction:
            discarded = {} if before is None else {"newest_before": before.sequence}
            transaction.record("store_restored", backup=manifest["audit"]["sequence"], **discarded)
        head = transaction.recorded
    if head is None:
        raise CasError("the restore could not be recorded")
    return head


def _put_aside(directory: Path, *, keep: bool) -> Path | None:
    if not keep:
        shutil.rmtree(directory)
        return None
    number = 1
    while (aside := directory.with_name(f"{directory.name}.replaced-{number}")).exists():
        number += 1
    directory.rename(aside)
    return aside


def _no_backup(file: Path, reason: str) -> CasError:
    return CasError(f"{file} cannot be restored: {reason}", hint="name a file that `sconectl cas backup` has written")


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CasError(f"{what}: {error.strerror or error}", hint="check the path, its owner and the space") from error
