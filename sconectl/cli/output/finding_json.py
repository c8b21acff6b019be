"""Findings as plain values: the form of `--output json`, for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sconectl.text.findings import Finding


def plain(finding: Finding) -> dict[str, Any]:
    """Return a finding as plain values."""
    position = finding.position
    return {
        "severity": finding.severity,
        "code": finding.code,
        "file": position.file,
        "line": position.line,
        "column": position.column,
        "path": finding.path,
        "message": finding.message,
        "hint": finding.hint,
    }


def as_json(findings: Iterable[Finding]) -> str:
    """Return findings as a JSON text."""
    return json.dumps({"findings": [plain(finding) for finding in findings]}, indent=2)
