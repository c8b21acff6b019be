"""Values of options that have a form of their own. Raises `UsageError`."""

from __future__ import annotations

from sconectl.errors import UsageError


def pairs(option: str, values: list[str], form: str = "NAME=VALUE") -> dict[str, str]:
    """Return the names and values of a repeated option NAME=VALUE; the last one of a name counts."""
    found = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not sign or not name:
            raise UsageError(f"{option} takes {form}")
        found[name] = text
    return found


def attestation_flags(flags: str) -> object:
    """Return the flags of the field `tolerance`. Raises `UsageError`."""
    from sconectl.cas.client.tolerance import parse

    return parse(flags)
