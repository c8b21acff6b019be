"""`sconectl cas backup, restore, audit-log, verify-audit-log`: keep what a CAS knows, and see what it did.

In: command line options. Out: results on stdout, everything else on stderr. Failures are raised as `SconectlError`;
a log that does not verify is shown by the exit code.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sconectl.cli.cas.cas_boundary import explaining
from sconectl.cli.cas.cas_trust_cmd import Directory
from sconectl.cli.output.console import note, result
from sconectl.cli.wiring import cas_directory
from sconectl.errors import UsageError

Anchor = Annotated[
    Path | None,
    typer.Option("--anchor", metavar="FILE", help="The freshness anchor of the CAS, if it is not in the usual place."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `sconectl cas`."""
    app.command("backup")(explaining(backup))
    app.command("restore")(explaining(restore))
    app.command("audit-log")(explaining(audit_log))
    app.command("verify-audit-log")(explaining(verify_audit_log))


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tar file to write; only you can read it.")],
    directory: Directory = None,
    anchor: Anchor = None,
) -> None:
    """Write everything that the embedded CAS knows to one file; it may be running.

    If the master key lies in the directory it is in the file too:
    then whoever has the file has all secrets.
    """
    from sconectl.cas.keys import master_key
    from sconectl.cas.maintenance import backup as backups

    where = cas_directory(directory)
    made = backups.backup(where, file, anchor=anchor)
    result(str(file))
    if master_key.lies_in(where):
        note("  it holds the master key: keep it as safe as the directory itself")
    note(f"  newest audit entry: {made.head.sequence}")
    if not made.recorded:
        note("  the audit log has no entry of this backup: the disk of the CAS is full")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `cas backup` has written.")],
    directory: Directory = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put aside what is in the directory now.")] = False,
    anchor: Anchor = None,
) -> None:
    """Go back to the state in a backup: the deliberate way to an older state.

    No server may be running. The former directory stays beside the new one.
    """
    from sconectl.cas.maintenance import backup as backups

    where = cas_directory(directory)
    done = backups.restore(file, where, replace=replace, anchor=anchor)
    result(done.cas_key_hash)
    note(f"  restored to {where}; what happened after the backup is undone (audit entry {done.head.sequence})")
    if done.aside is not None:
        note(f"  the former directory is {done.aside}")


def audit_log(
    directory: Directory = None,
    output: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="Write to a file.")] = None,
) -> None:
    """Print the audit log of the embedded CAS: one JSON object per line, oldest first."""
    from sconectl.cas.maintenance import audit_check
    from sconectl.cas.store import audit_segments

    place = cas_directory(directory)
    with audit_check.opened(place) as connection, audit_check.explained():
        lines = audit_segments.lines(connection, place)
        if output is None:
            for line in lines:
                result(line)
            return
        try:
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                stream.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            raise UsageError(f"cannot write {output}: {error.strerror}", hint="choose another file") from error


def verify_audit_log(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="An exported log; default: the log of the CAS itself.")
    ] = None,
    directory: Directory = None,
    cas_key_hash: Annotated[
        str | None, typer.Option("-c", "--cas-key-hash", metavar="HASH", help="The CAS that the log is of.")
    ] = None,
    show: Annotated[bool, typer.Option("-p", "--print", help="Print the entries.")] = False,
    last: Annotated[
        str | None, typer.Option(metavar="SIGNATURE", help="The newest entry, if the CAS cannot be asked.")
    ] = None,
    predecessor: Annotated[
        str | None, typer.Option(metavar="SIGNATURE", help="The entry before the first one of a partial log.")
    ] = None,
    segments: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where older segments of the CAS's log were moved.")
    ] = None,
    anchor: Anchor = None,
) -> None:
    """Verify the audit log of a CAS, with all its segments.

    With -c and without --dir, FILE is verified by the key hash of its CAS alone.
    Exit codes: 0 correct and complete, 14 newest and 15 oldest entries missing,
    16 rollback not excluded, 17 entries missing or rolled back, 18 rolled back,
    19 log of another CAS, 20 forged or damaged.
    """
    from sconectl.cas.audit.verification import Verdict
    from sconectl.cas.maintenance import audit_check

    printed = result if show else None
    if file is None:
        if cas_key_hash or last:
            raise UsageError("-c and --last are for exported logs", hint="name the FILE")
        report = audit_check.verify_directory(
            cas_directory(directory), anchor=anchor, segments=segments, predecessor=predecessor, show=printed
        )
    else:
        if segments is not None:
            raise UsageError("--segments is for the log of the CAS itself", hint="leave out the FILE")
        where = directory if directory or cas_key_hash else cas_directory()
        if last is not None and where is not None:
            raise UsageError("the CAS itself says which entry is the last one", hint="leave out --last or --dir")
        report = audit_check.verify_file(
            file, cas_key_hash=cas_key_hash, directory=where, last=last, predecessor=predecessor, show=printed
        )
    for fault in report.faults:
        note(f"  {fault}")
    words = report.verdict.name.lower().replace("_", " ")
    if report.last is not None and report.verdict < Verdict.OTHER_CAS:
        note(f"{report.entries} signed entries, from {report.first} to {report.last.sequence}")
        note(f"  signature of the last one: {report.last.signature}")
    result(words)
    if report.verdict is not Verdict.CORRECT:
        raise typer.Exit(int(report.verdict))
