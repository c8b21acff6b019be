"""The audit log of a CAS on this machine: reading it while the CAS runs, and verifying it or a copy of it.

In: the directory of the CAS, or an exported file and the key hash of a CAS. Out: lines, and reports. Nothing is
changed, and no CAS is made where there is none.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sconectl.cas import audit_table
from sconectl.cas.anchor import Anchor, default_anchor
from sconectl.cas.audit import AuditError, OtherCas, audit_key_in
from sconectl.cas.audit_report import AuditReport, Known, Verdict, verify
from sconectl.cas.keys import CasKeys, load_or_create
from sconectl.cas.store import FILE
from sconectl.cas.store_schema import VERSION
from sconectl.errors import CasError, UsageError


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[sqlite3.Connection]:
    """Give the database of the CAS in `directory` as it is at one moment; raises `CasError` if there is none."""
    path = directory / FILE
    if not path.is_file():
        raise CasError(f"there is no CAS in {directory}", hint="name its directory with --dir")
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                raise CasError(
                    f"the store in {directory} has schema {version} and no audit log",
                    hint="start the CAS once with this version of sconectl, which migrates it",
                )
            yield connection
    except sqlite3.Error as error:
        raise CasError(f"the database {path} cannot be used: {error}") from error


def verify_directory(
    directory: Path, *, anchor: Path | None = None, show: Callable[[str], None] | None = None
) -> AuditReport:
    """Verify the log of the CAS in `directory` against its freshness anchor; `show` gets each line."""
    keys = _keys(directory)
    # The anchor first: the log is never behind it, but may move on while we look.
    remembered = _anchor(keys, anchor).read()
    with opened(directory) as connection:
        lines = _shown(audit_table.lines(connection), show)
        newest = audit_table.newest(connection)
        report = verify(lines, keys.audit.private.public_key(), keys.cas_key_hash, newest)
        if remembered is None:
            report.blame(Verdict.NOT_EXCLUDED, "there is no freshness anchor, so a rollback cannot be excluded")
        elif audit_table.signature_of(connection, remembered.sequence) != remembered.signature:
            report.blame(Verdict.ROLLED_BACK, f"the log lacks entry {remembered.sequence}, which the anchor remembers")
    return report


def verify_file(
    file: Path,
    *,
    cas_key_hash: str | None = None,
    directory: Path | None = None,
    last: str | None = None,
    predecessor: str | None = None,
    show: Callable[[str], None] | None = None,
) -> AuditReport:
    """Verify an exported log.

    The authority is the CAS in `directory`, or without it `cas_key_hash`; then `last` is the signature of the newest
    entry, as known from elsewhere. `predecessor` is the signature before the first line of a partial log.
    """
    if directory is None:
        if cas_key_hash is None:
            raise UsageError("nothing says whose log this is", hint="give the key hash of the CAS with -c, or --dir")
        return _verify_by_key(file, cas_key_hash, last, predecessor, show)
    keys = _keys(directory)
    if cas_key_hash not in (None, keys.cas_key_hash):
        return _other(f"the CAS in {directory} is {keys.cas_key_hash}")
    with opened(directory) as connection, _lines(file) as lines:
        return verify(
            _shown(lines, show),
            keys.audit.private.public_key(),
            keys.cas_key_hash,
            audit_table.newest(connection),
            known=_known(connection),
            predecessor=predecessor,
        )


def _verify_by_key(
    file: Path, cas_key_hash: str, last: str | None, predecessor: str | None, show: Callable[[str], None] | None
) -> AuditReport:
    try:
        with _lines(file) as lines:
            key = audit_key_in(lines, cas_key_hash)
    except OtherCas as error:
        return _other(str(error))
    except AuditError as error:
        report = AuditReport()
        report.blame(Verdict.FORGED, str(error))
        return report
    with _lines(file) as lines:
        report = verify(_shown(lines, show), key, cas_key_hash, None, predecessor=predecessor)
    if last is not None and report.verdict < Verdict.OTHER_CAS:
        _compare_last(report, last)
    return report


def _compare_last(report: AuditReport, last: str) -> None:
    """Take `last` as what says which entry is the newest."""
    if report.last is not None and report.last.signature == last:
        report.forgive(Verdict.NOT_EXCLUDED)
    else:
        report.blame(Verdict.MISSING, "the log does not end with the entry that was given as the last one")


def _other(fault: str) -> AuditReport:
    report = AuditReport()
    report.blame(Verdict.OTHER_CAS, fault)
    return report


def _known(connection: sqlite3.Connection) -> Known:
    return lambda sequence: audit_table.signature_of(connection, sequence)


def _keys(directory: Path) -> CasKeys:
    if not (directory / FILE).is_file():
        raise CasError(f"there is no CAS in {directory}", hint="name its directory with --dir")
    return load_or_create(directory)


def _anchor(keys: CasKeys, path: Path | None) -> Anchor:
    return Anchor(path or default_anchor(keys.cas_key_hash), keys.sealing)


@contextlib.contextmanager
def _lines(file: Path) -> Iterator[Iterable[bytes]]:
    try:
        with file.open("rb") as stream:
            yield (line for line in stream if line.strip())
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", hint="name an exported audit log") from error


def _shown(lines: Iterable[str | bytes], show: Callable[[str], None] | None) -> Iterable[str | bytes]:
    for line in lines:
        if show is not None:
            show(line.decode(errors="replace").rstrip("\n") if isinstance(line, bytes) else line)
        yield line
