"""Verifies an audit log: it may be forged, of another CAS, rolled back, or lack entries.

In: the lines of a log, and its newest entry as known from elsewhere. Out: a report with an exit code (API §10). The log
is read once, line by line, whatever its length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sconectl.cas.audit.entries import (
    EMPTY,
    STARTED,
    AuditError,
    Head,
    OtherCas,
    bound_key,
    check_signature,
    parse,
)

Known = Callable[[int], str | None]
"""The signature of the entry with a number in the log of the CAS itself, None if it has none, or `MOVED`."""

MOVED = ""
"""The CAS does not have the segment with this entry any more."""

_SHOWN = 20


class Verdict(IntEnum):
    """The result of a verification; the value is the exit code, and the greater the more severe (API §10)."""

    CORRECT = 0
    NEWEST_MISSING = 14
    OLDEST_MISSING = 15
    NOT_EXCLUDED = 16
    MISSING = 17
    ROLLED_BACK = 18
    OTHER_CAS = 19
    FORGED = 20


@dataclass
class AuditReport:
    """The result of a verification: how many entries were read, the first and last one, and all faults."""

    entries: int = 0
    first: int | None = None
    last: Head | None = None
    found: dict[Verdict, list[str]] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The most severe fault."""
        return max(self.found, default=Verdict.CORRECT)

    @property
    def faults(self) -> list[str]:
        """The faults in words, the most severe first."""
        return [fault for verdict in sorted(self.found, reverse=True) for fault in self.found[verdict]]

    def blame(self, verdict: Verdict, fault: str) -> None:
        """Add a fault; of each kind the first ones are kept."""
        faults = self.found.setdefault(verdict, [])
        if len(faults) < _SHOWN:
            faults.append(fault)

    def forgive(self, verdict: Verdict) -> None:
        """Take back the faults of one kind, because other evidence disproves them."""
        self.found.pop(verdict, None)


def verify(
    lines: Iterable[str | bytes],
    audit_public_key: Ed25519PublicKey,
    cas_key_hash: str,
    latest: Head | None,
    *,
    known: Known | None = None,
    predecessor: str | None = None,
) -> AuditReport:
    """Verify the log in `lines`, oldest first.

    `latest` is the newest entry of the CAS as known from elsewhere (None: unknown, then a rollback cannot be excluded);
    `known` looks into the CAS's own log; `predecessor` is the signature that the first line must follow, if the log
    does not start with entry 1.
    """
    report = AuditReport()
    number = 0
    try:
        for number, line in enumerate(lines, 1):  # noqa: B007  # the handlers below say how far it came
            entry = parse(line)
            check_signature(entry, audit_public_key)
            if entry.fields["event"] == STARTED:
                bound_key(entry.fields, cas_key_hash)
            if report.last is None:
                report.first = entry.sequence
                _check_first(report, entry.head, entry.previous, predecessor)
            else:
                _check_next(report, report.last, entry.head, entry.previous)
            if latest is not None:
                _compare(report, entry.head, latest)
            report.entries += 1
            report.last = entry.head
    except OtherCas as error:
        report.blame(Verdict.OTHER_CAS, f"line {number}: {error}")
        return report
    except AuditError as error:
        report.blame(Verdict.FORGED, f"line {number}: {error}")
        return report
    _check_end(report, latest, known)
    return report


def _check_first(report: AuditReport, head: Head, previous: str, predecessor: str | None) -> None:
    if previous != (predecessor if predecessor is not None else EMPTY.signature) or (
        predecessor is None and head.sequence != 1
    ):
        report.blame(Verdict.OLDEST_MISSING, f"the entries before {head.sequence} are missing")


def _check_next(report: AuditReport, last: Head, head: Head, previous: str) -> None:
    if head.sequence > last.sequence + 1:
        report.blame(Verdict.MISSING, f"entries are missing between {last.sequence} and {head.sequence}")
    elif head.sequence <= last.sequence:
        report.blame(Verdict.ROLLED_BACK, f"entry {last.sequence} is followed by another entry {head.sequence}")
    elif previous != last.signature:
        report.blame(Verdict.ROLLED_BACK, f"entry {head.sequence} does not follow the entry before it")


def _compare(report: AuditReport, head: Head, latest: Head) -> None:
    if head.sequence > latest.sequence:
        report.blame(
            Verdict.ROLLED_BACK, f"the CAS has no entry {head.sequence} any more: its newest is {latest.sequence}"
        )
    elif head.sequence == latest.sequence and head.signature != latest.signature:
        report.blame(Verdict.ROLLED_BACK, f"the CAS has another entry {head.sequence}")


def _check_end(report: AuditReport, latest: Head | None, known: Known | None) -> None:
    if latest is None:
        report.blame(Verdict.NOT_EXCLUDED, "nothing says which entry is the newest, so a rollback cannot be excluded")
    elif latest.sequence > (report.last or EMPTY).sequence:
        last = (report.last or EMPTY).sequence
        report.blame(Verdict.NEWEST_MISSING, f"the entries from {last + 1} to {latest.sequence} are missing")
    if known is None or report.last is None or latest is None or report.last.sequence > latest.sequence:
        return
    found = known(report.last.sequence)
    if found == MOVED:
        report.blame(Verdict.NOT_EXCLUDED, f"the segment with entry {report.last.sequence} was moved off the CAS")
    elif found != report.last.signature:
        report.blame(Verdict.ROLLED_BACK, f"the CAS has another entry {report.last.sequence}")
