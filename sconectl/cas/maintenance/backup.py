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

from sconectl.cas.audit import database_table
from sconectl.cas.audit.anchor import Anchor, default_anchor
from sconectl.cas.audit.entries import Head
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.disk.directory_lock import STATE_FILE, writer
from sconectl.cas.disk.private_files import private_directory, sync_directory
from sconectl.cas.keys import cas_keys as keys
from sconectl.cas.keys import master_key, simulated_machine
from sconectl.cas.keys.cas_keys import CasKeys, load_or_create
from sconectl.cas.maintenance import audit_check, backup_file
from sconectl.cas.store import audit_segments, store
from sconectl.cas.store.faults import is_full
from sconectl.cas.store.store import Store
from sconectl.errors import CasError, Refused, SconectlError

_NOT_STATE = frozenset({".lock", STATE_FILE, "server.log"})


@dataclass(frozen=True)
class Made:
    """What a backup holds: everything up to this audit entry; `recorded` says whether the log has an entry of it."""

    head: Head
    recorded: bool


@dataclass(frozen=True)
class Restored:
    """The result of a restore: the CAS that is there now, its newest entry, and where the former directory is."""

    cas_key_hash: str
    head: Head
    aside: Path | None


def backup(directory: Path, file: Path, *, anchor: Path | None = None) -> Made:
    """Write a backup of the CAS in `directory` to `file`; a server may be running, and its disk may be full.

    The file holds the master key if that lies in the directory. It is checked as `restore` would, before it gets its
    name. Raises `CasError` if anything cannot be read or written, or is damaged; then `file` is unchanged.
    """
    with audit_check.opened(directory):
        pass  # there is a store of this version
    own = load_or_create(directory)
    recorded = _recorded(directory, own, anchor)
    with _explained(f"cannot write {file}"), tempfile.TemporaryDirectory(dir=file.absolute().parent) as name:
        place = Path(name)
        copy = place / store.FILE
        head = _copied(directory, copy, file)
        members = {store.FILE: copy, keys.FILE: directory / keys.FILE}
        if master_key.lies_in(directory):
            members[master_key.FILE] = directory / master_key.FILE
        if (directory / simulated_machine.FILE).exists():
            members[simulated_machine.FILE] = directory / simulated_machine.FILE
        with audit_check.opened(place) as connection:
            segments = audit_segments.sealed(connection, directory)
        members |= {f"{audit_segments.FOLDER}/{segment.path.name}": segment.path for segment in segments}
        description = {
            "format": backup_file.FORMAT,
            "cas_key": own.cas_key_hash,
            "audit": {"sequence": head.sequence, "signature": head.signature},
            "members": {name: {"size": path.stat().st_size, "sha256": _digest(path)} for name, path in members.items()},
        }
        described = place / backup_file.DESCRIPTION
        described.write_text(json.dumps(description, indent=2) + "\n")
        archive = place / "archive"
        with os.fdopen(os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for member, path in {backup_file.DESCRIPTION: described, **members}.items():
                    tar.add(path, member, filter=_anonymous)
            stream.flush()
            os.fsync(stream.fileno())
        copy.unlink()
        backup_file.unpacked(archive, private_directory(place / "check"), lambda fault: _no_source(directory, fault))
        archive.replace(file)
        sync_directory(file.absolute().parent)
    return Made(head, recorded)


def restore(file: Path, directory: Path, *, replace: bool = False, anchor: Path | None = None) -> Restored:
    """Make the CAS in the backup `file` the one in `directory`.

    A former directory is kept beside it, as DIR.replaced-N. Raises `Refused` if something is there and `replace` is not
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
        manifest, own = backup_file.unpacked(file, staging, lambda fault: _no_backup(file, fault))
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


def _recorded(directory: Path, own: CasKeys, anchor: Path | None) -> bool:
    """Add the entry that a backup is made; say whether there was room for it."""
    try:
        with contextlib.closing(_open(directory, own, anchor)) as opened, opened.writing() as transaction:
            transaction.record("backup_made")
    except CasRefusal:
        return False  # a full disk is when a backup is needed most
    return True


def _copied(directory: Path, copy: Path, file: Path) -> Head:
    """Copy the database as it is at one moment, and return its newest audit entry."""
    with audit_check.opened(directory) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.execute("COMMIT")
        try:
            source.backup(target)
        except sqlite3.Error as error:
            if is_full(copy.parent):
                raise CasError(f"cannot write {file}: no space left", hint="choose a place with more space") from error
            raise
        return database_table.newest(target)


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


def _record_restored(staging: Path, own: CasKeys, anchor: Path, manifest: dict[str, Any], target: Anchor) -> Head:
    """Add the entry that says that this state was put back."""
    try:
        before = target.read()
    except SconectlError:
        before = None  # of no use, and about to be replaced
    with contextlib.closing(_open(staging, own, anchor)) as opened:
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


def _no_source(directory: Path, reason: str) -> CasError:
    return CasError(
        f"the CAS in {directory} cannot be backed up: {reason}",
        hint="no backup was written; go back to the last good one with `sconectl cas restore FILE --replace`",
    )


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CasError(f"{what}: {error.strerror or error}", hint="check the path, its owner and the space") from error
