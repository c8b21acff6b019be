"""The audit log of a CAS on this machine: reading it while the CAS runs, and verifying it or a copy of it.

In: the directory of the CAS, or an exported file and the key hash of a CAS. Out: lines, and reports. Nothing is
changed, and no CAS is made where there is none.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sconectl.cas.audit import database_table
from sconectl.cas.audit.anchor import Anchor, default_anchor
from sconectl.cas.audit.entries import AuditError, Head, OtherCas, audit_key_in, parse
from sconectl.cas.audit.verification import MOVED, AuditReport, Known, Verdict, verify
from sconectl.cas.keys.cas_keys import CasKeys, load_or_create
from sconectl.cas.store import audit_segments
from sconectl.cas.store.schema import VERSION
from sconectl.cas.store.store import FILE
from sconectl.errors import CasError, UsageError


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[sqlite3.Connection]:
    """Give the database of the CAS in `directory` as it is at one moment; raises `CasError` if there is none."""
    path = directory / FILE
    if not path.is_file():
        raise CasError(f"there is no CAS in {directory}", hint="name its directory with --dir")
    try:
        with contextlib.closing(_connected(path)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                raise CasError(
                    f"the store in {directory} has schema {version} and no audit log",
                    hint="start the CAS once with this version of sconectl, which migrates it",
                )
            yield connection
    except sqlite3.Error as error:
        raise CasError(f"the database {path} cannot be used: {error}") from error


def _connected(path: Path) -> sqlite3.Connection:
    """Return a connection that reads, within a transaction; nothing is written for it if the disk has no room."""
    try:
        return _reading(f"{path.absolute().as_uri()}?mode=rw")
    except sqlite3.Error:
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size > 0:
            raise
        # SQLite needs files of its own beside a database that it shares. Nobody uses this one: there is no log.
        return _reading(f"{path.absolute().as_uri()}?mode=ro&immutable=1")


def _reading(place: str) -> sqlite3.Connection:
    connection = sqlite3.connect(place, uri=True, timeout=30, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        connection.execute("PRAGMA user_version").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def verify_directory(
    directory: Path,
    *,
    anchor: Path | None = None,
    segments: Path | None = None,
    predecessor: str | None = None,
    show: Callable[[str], None] | None = None,
) -> AuditReport:
    """Verify the log of the CAS in `directory` against its freshness anchor; `show` gets each line.

    `segments` is where its older segments were moved. `predecessor` is the signature of the entry before the oldest
    one that is still there.
    """
    keys = _keys(directory)
    # The anchor first: the log is never behind it, but may move on while we look.
    remembered = _anchor(keys, anchor).read()
    with opened(directory) as connection:
        places = (directory, segments) if segments is not None else (directory,)
        report = verify_log(
            connection, keys, database_table.newest(connection), *places, predecessor=predecessor, show=show
        )
        if remembered is None:
            report.blame(Verdict.NOT_EXCLUDED, "there is no freshness anchor, so a rollback cannot be excluded")
        elif audit_segments.signature_of(connection, directory, remembered.sequence) != remembered.signature:
            report.blame(Verdict.ROLLED_BACK, f"the log lacks entry {remembered.sequence}, which the anchor remembers")
    return report


def verify_log(
    connection: sqlite3.Connection,
    keys: CasKeys,
    latest: Head,
    *places: Path,
    predecessor: str | None = None,
    show: Callable[[str], None] | None = None,
) -> AuditReport:
    """Verify the log in a database and in the segments that are in `places`."""
    closed: dict[str, str] = {}
    lines = _closing(_shown(audit_segments.lines(connection, *places), show), closed)
    key = keys.audit.private.public_key()
    report = verify(lines, key, keys.cas_key_hash, latest, predecessor=predecessor)
    if report.verdict < Verdict.OTHER_CAS:
        if predecessor is not None:  # the segments before it are somewhere else
            closed = {name: digest for name, digest in closed.items() if not _is_before(name, report.first)}
        _check_segments(report, audit_segments.sealed(connection, *places), closed)
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
            database_table.newest(connection),
            known=_known(connection, directory),
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
    """Take `last` for the signature of the newest entry."""
    if report.last is not None and report.last.signature == last:
        report.forgive(Verdict.NOT_EXCLUDED)
    else:
        report.blame(Verdict.MISSING, "the log does not end with the entry that was given as the last one")


def _other(fault: str) -> AuditReport:
    report = AuditReport()
    report.blame(Verdict.OTHER_CAS, fault)
    return report


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn an `AuditError` about a segment into `CasError`."""
    try:
        yield
    except AuditError as error:
        raise CasError(f"the audit log cannot be read: {error}", hint="`cas verify-audit-log` says more") from error


def _known(connection: sqlite3.Connection, directory: Path) -> Known:
    def known(sequence: int) -> str | None:
        oldest = next((segment.first for segment in audit_segments.sealed(connection, directory)), None)
        if sequence < (oldest or database_table.oldest(connection) or 1):
            return MOVED
        return audit_segments.signature_of(connection, directory, sequence)

    return known


def _closing(lines: Iterable[str | bytes], closed: dict[str, str]) -> Iterator[str | bytes]:
    """Pass `lines` on, and note the digests of the segments that were closed in them."""
    for line in lines:
        if isinstance(line, str) and audit_segments.CLOSED in line:
            with contextlib.suppress(AuditError):
                fields = parse(line).fields
                if fields["event"] == audit_segments.CLOSED:
                    closed[str(fields["file"])] = str(fields["sha256"])
        yield line


def _check_segments(report: AuditReport, found: list[audit_segments.Segment], closed: dict[str, str]) -> None:
    """Compare the segments with the digests that the CAS signed when it closed them."""
    names = {segment.path.name for segment in found}
    whole = Verdict.MISSING not in report.found  # else the entry that closes a segment may be missing
    for segment in found:
        expected = closed.get(segment.path.name)
        if audit_segments.digest(segment.path) != expected and (whole or expected is not None):
            report.blame(Verdict.FORGED, f"the segment {segment.path.name} is not as it was closed")
    for name in sorted(closed.keys() - names):
        verdict = Verdict.OLDEST_MISSING if _is_before(name, report.first) else Verdict.MISSING
        report.blame(verdict, f"the segment {name} is not there; if it was moved, say where with --segments")


def _is_before(name: str, first: int | None) -> bool:
    found = audit_segments.NAME.fullmatch(name)
    return found is not None and first is not None and int(found[2]) < first


def _keys(directory: Path) -> CasKeys:
    if not (directory / FILE).is_file():
        raise CasError(f"there is no CAS in {directory}", hint="name its directory with --dir")
    return load_or_create(directory)


def _anchor(keys: CasKeys, path: Path | None) -> Anchor:
    return Anchor(path or default_anchor(keys.cas_key_hash), keys.sealing)


@contextlib.contextmanager
def _lines(file: Path) -> Iterator[Iterable[str | bytes]]:
    try:
        if file.suffix == ".gz":
            yield audit_segments.read(file)
            return
        with file.open("rb") as stream:
            yield (line for line in stream if line.strip())
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", hint="name an exported audit log") from error


def _shown(lines: Iterable[str | bytes], show: Callable[[str], None] | None) -> Iterable[str | bytes]:
    for line in lines:
        if show is not None:
            show(line.decode(errors="replace").rstrip("\n") if isinstance(line, bytes) else line)
        yield line
