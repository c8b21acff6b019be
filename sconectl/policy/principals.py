"""Who may do what: the principals of an access policy.

In: one entry as written. Out: `CREATOR`, `ANY`, `NONE`, a key hash or a normalised PEM certificate. Raises rule
violations (G1-G3, G5); what is valid but not enforced yet is refused.
"""

from __future__ import annotations

import re
from typing import Any

from sconectl.key_hash import SIGNER_VERSION, decode_base58check, is_key_hash, normal_certificate
from sconectl.policy.placeholders import START
from sconectl.policy.violation import not_available, violation

KEYWORDS = frozenset({"CREATOR", "ANY", "NONE"})
_HINT = "write CREATOR, ANY, NONE, a PEM certificate, or a key hash as `sconectl cas show-identification` prints it"
_GOVERNANCE = re.compile(r"require-(all|at-least-\d+)\Z")


def principals(value: Any, operation: str) -> tuple[str, ...]:
    """Return the checked principals of one operation of an access policy."""
    if isinstance(value, str) and value.startswith(START):
        raise not_available("references in access_policy")
    entries = value if isinstance(value, (list, tuple)) else [value]
    if not entries:
        raise violation("G5", "the list is empty", "write NONE for nobody")
    found = tuple(_principal(entry, operation) for entry in entries)
    keyword_alone(found)
    return found


def keyword_alone(found: tuple[str, ...]) -> None:
    """G1: ANY and NONE stand alone."""
    if len(found) > 1 and not {"ANY", "NONE"}.isdisjoint(found):
        raise violation("G1", "ANY and NONE must be the only entry", "remove it, or remove the others")


def _principal(entry: Any, operation: str) -> str:
    if isinstance(entry, dict):
        no_signer_or_rule_in_read(entry, operation)
        if "signer" in entry:
            raise not_available("signers as principals")
        if any(_GOVERNANCE.match(str(key)) for key in entry):
            raise not_available("governance rules (require-all, require-at-least-N)")
    if not isinstance(entry, str):
        raise violation("G5", "this is no principal", _HINT)
    return _named(entry.strip())


def no_signer_or_rule_in_read(entry: dict[str, Any], operation: str) -> None:
    """G2, G3: reading is granted to keys, not to signers or governance rules (reads carry no signatures)."""
    if operation in {"read", "list_sessions"}:
        if "signer" in entry:
            raise violation("G2", f"a signer cannot be allowed to {operation}", _HINT)
        if any(_GOVERNANCE.match(str(key)) for key in entry):
            raise violation("G3", f"governance rules are not possible for {operation}", _HINT)


def _named(text: str) -> str:
    """G5: a principal is a keyword, a certificate or a key hash."""
    if text in KEYWORDS or is_key_hash(text):
        return text
    if text.startswith("-----BEGIN CERTIFICATE-----"):
        return certificate(text)
    if text.startswith(START):
        raise not_available("references in access_policy")
    try:
        version, _ = decode_base58check(text)
    except ValueError:
        version = -1
    if version == SIGNER_VERSION:
        raise not_available("signers as principals")
    raise violation("G5", "this is no principal", _HINT)


def creator(value: Any) -> Any:
    """Check the creator: a certificate; a signing creator comes later."""
    if isinstance(value, dict) and "signer" in value:
        raise not_available("sessions created by a signer")
    return certificate(value) if isinstance(value, str) else value


def certificate(text: str) -> str:
    """G5: a certificate is one PEM block with a usable public key; returns it in normal spelling."""
    try:
        return normal_certificate(text.strip() + "\n")
    except ValueError as error:
        raise violation("G5", "this is no PEM certificate with a usable public key", _HINT) from error
