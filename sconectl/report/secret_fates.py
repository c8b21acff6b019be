"""The fate of a secret in words, and in the form that programs read.

In: a `SecretFate`, or its plain values. Out: plain values, or a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sconectl.policy.diff.fates import SecretFate

_UNTOUCHED = frozenset({"kept", "imported", "made at use"})


def fate_document(fate: SecretFate) -> dict[str, Any]:
    """Return the fate as plain values; no value of a secret is among them."""
    return {
        "name": fate.name,
        "kind": fate.kind,
        "fate": fate.fate,
        "rule": fate.rule,
        "loss": fate.loss,
        "gains": list(fate.gains),
        "loses": list(fate.loses),
    }


def fate_line(fate: Mapping[str, Any]) -> str:
    """Return what becomes of a secret, the rule behind it, and who may have it from now on or no longer."""
    line = f"{fate['name']}: {fate['fate']}, {fate['rule']}"
    if fate["gains"]:
        line += f"; {'for' if fate['fate'] == 'new' else 'from now on also for'} {', '.join(fate['gains'])}"
    if fate["loses"]:
        line += f"; no longer for {', '.join(fate['loses'])}"
    return line


def is_touched(fate: Mapping[str, Any]) -> bool:
    """Say whether a secret, or who may have it, does not stay as it was."""
    return fate["fate"] not in _UNTOUCHED or bool(fate["gains"] or fate["loses"])
