"""Findings as SARIF 2.1.0, the form in which code scanning takes them.

In: findings. Out: a JSON text. Files are named relative to the current directory; lines and columns count characters.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import sconectl
from sconectl.codes.all_codes import all_codes
from sconectl.codes.code import Code
from sconectl.text.findings import Finding, Severity

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "deprecation": "note"}


def as_sarif(findings: Sequence[Finding], *, exit_code: int) -> str:
    """Return findings as a SARIF log of one run that ended with `exit_code`."""
    codes = sorted({finding.code for finding in findings})
    driver = {
        "name": "sconectl",
        "semanticVersion": sconectl.__version__,
        "rules": list(_rules(codes)),
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True, "exitCode": exit_code}],
        "results": list(_results(findings, codes)),
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rules(codes: Iterable[str]) -> Iterable[dict[str, Any]]:
    known = all_codes()
    for code in codes:
        explained = known.get(code, Code(code, "There is nothing more to say about this code."))
        yield {
            "id": code,
            "shortDescription": {"text": explained.title},
            "fullDescription": {"text": explained.text},
            "help": {"text": _help(explained), "markdown": _help(explained, "```yaml\n", "\n```")},
        }


def _help(code: Code, before: str = "", after: str = "") -> str:
    parts = [code.text]
    for word, example in (("Wrong", code.wrong), ("Right", code.right)):
        if example:
            parts.append(f"{word}:\n\n{before}{example}{after}")
    return "\n\n".join(parts)


def _results(findings: Iterable[Finding], codes: Sequence[str]) -> Iterable[dict[str, Any]]:
    seen: Counter[tuple[str, str, str]] = Counter()
    for finding in findings:
        uri = _uri(finding.position.file)
        same = (finding.code, uri, finding.path)
        location: dict[str, Any] = {
            "physicalLocation": {
                "artifactLocation": {"uri": uri},
                "region": {"startLine": finding.position.line, "startColumn": finding.position.column},
            }
        }
        if finding.path:
            location["logicalLocations"] = [{"fullyQualifiedName": finding.path}]
        yield {
            "ruleId": finding.code,
            "ruleIndex": codes.index(finding.code),
            "level": _LEVELS[finding.severity],
            "message": {"text": f"{finding.message}. {finding.hint}" if finding.hint else finding.message},
            "locations": [location],
            "partialFingerprints": {"sconectl/v1": _fingerprint(same, seen[same])},
        }
        seen[same] += 1


def _fingerprint(same: tuple[str, str, str], number: int) -> str:
    """Return a hash that stays when lines move: of code, file and field, and the number among equal ones."""
    return hashlib.sha256("\0".join([*same, str(number)]).encode()).hexdigest()[:32]


def _uri(file: str) -> str:
    """Return a relative reference to a file; stdin is called so."""
    if file.startswith("<"):
        return quote(file.strip("<>"))
    return quote(os.path.relpath(file).replace(os.sep, "/"))
