"""One cause, one finding: what several stages say about the same slip is said once, where it was made.

In: everything that was found in the manifests of a run. Out: the same without what only follows from something else.
Only the `cause` of findings is looked at, never their words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sconectl.text.findings import Finding, Name, Position, Severity


def one_cause(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings without those that follow from others among them, in the order given.

    A name that nothing has is told where it was written; it is an error there if any finding that follows from it is
    one. A finding about a name is dropped if another finding says that this name was meant.
    """
    return _without_explained(_where_written(list(findings)))


def _where_written(found: list[Finding]) -> list[Finding]:
    """Tell of each name that nothing has at the place where it was written, if one is known."""
    lacking = [(finding, cause) for finding in found if (cause := finding.cause) and cause.lacks]
    names = {cause.name for _, cause in lacking}
    written = {cause.name for _, cause in lacking if cause.written}
    meant: dict[Name, dict[Name, None]] = {}
    for _, cause in lacking:
        meant.setdefault(cause.name, {}).update(dict.fromkeys(cause.meant))
    wrong = {cause.name for finding, cause in lacking if finding.severity == "error"}
    told: set[tuple[str, str, Position]] = set()
    kept = []
    for finding in found:
        cause = finding.cause
        if cause and not cause.lacks and cause.name in names:
            continue
        if cause and cause.lacks and cause.name in written:
            place = (cause.name.kind, cause.name.name, finding.position)  # a value that several services get
            if not cause.written or place in told:
                continue
            told.add(place)
            severity: Severity = "error" if cause.name in wrong else finding.severity
            finding = replace(finding, severity=severity, cause=cause._replace(meant=tuple(meant[cause.name])))
        kept.append(finding)
    return kept


def _without_explained(found: list[Finding]) -> list[Finding]:
    """Drop findings that another one explains; of those that explain each other the first stays."""
    explaining: dict[Name, list[int]] = {}
    for number, finding in enumerate(found):
        for name in finding.cause.meant if finding.cause else ():
            explaining.setdefault(name, []).append(number)
    gone: set[int] = set()
    for number in reversed(range(len(found))):
        cause = found[number].cause
        if cause:
            names = (cause.name, cause.name._replace(owner=""))
            others = (other for name in names for other in explaining.get(name, ()))
            if any(other != number and other not in gone for other in others):
                gone.add(number)
    return [finding for number, finding in enumerate(found) if number not in gone]
