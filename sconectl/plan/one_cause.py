"""One cause, one finding: what several stages say about the same slip is said once, where it was made.

In: everything that was found in the manifests of a run. Out: the same without what only follows from something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from sconectl.findings import Finding

_UNKNOWN_HERE = re.compile(r"the secret (?P<name>\S+) is neither defined nor imported here\Z")
_UNKNOWN_IN_MESH = re.compile(r"secret (?P<name>\S+) of service \S+ is used, but neither defined nor imported\Z")
_UNUSED = re.compile(r"the secret (?P<name>\S+) is used nowhere\b")
_IN_VARIABLE = re.compile(r"the secret (?P<name>\S+) is given in the variable\b")
_MEANT = re.compile(r"did you mean (?P<name>\S+?)\?")


def one_cause(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings without those that follow from a misspelt secret of a service that is among them.

    What the mesh says about it makes the finding in the service an error. That the secret that was meant is used
    nowhere, and that the misspelt one is given in a variable, follows, too.
    """
    found = list(findings)
    misspelt = {name: finding for finding in found if (name := _name(_UNKNOWN_HERE, finding, "SC1006"))}
    if not misspelt:
        return found
    wrong = {name for finding in found if (name := _name(_UNKNOWN_IN_MESH, finding, "SC2004"))} & misspelt.keys()
    meant = {match["name"] for finding in misspelt.values() if (match := _MEANT.search(finding.hint))}
    kept = []
    for finding in found:
        if _name(_UNKNOWN_IN_MESH, finding, "SC2004") in wrong or _name(_UNUSED, finding, "SC4010") in meant:
            continue
        if _name(_IN_VARIABLE, finding, "SC4011") in misspelt:
            continue
        is_wrong = _name(_UNKNOWN_HERE, finding, "SC1006") in wrong
        kept.append(replace(finding, severity="error") if is_wrong else finding)
    return kept


def _name(form: re.Pattern[str], finding: Finding, code: str) -> str | None:
    match = form.match(finding.message) if finding.code == code else None
    return match["name"] if match else None
