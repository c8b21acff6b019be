"""Values of options that have a form of their own. Raises `UsageError`."""

from __future__ import annotations

from sconectl.errors import UsageError
from sconectl.plan.service.base_images import check_kinds


def pairs(option: str, values: list[str]) -> dict[str, str]:
    """Return what a repeated option NAME=VALUE gives; the last one of a name counts."""
    found = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not sign or not name:
            raise UsageError(f"{option} takes NAME=VALUE")
        found[name] = text
    return found


def base_images(values: list[str]) -> dict[str, str]:
    """Return what a repeated option `--base-image KIND=IMAGE` gives."""
    found = pairs("--base-image", values)
    check_kinds(found, "--base-image")
    return found


def attestation_flags(flags: str) -> object:
    """Return the flags of the field `tolerance`. Raises `UsageError`."""
    from sconectl.cas.client.tolerance import parse

    return parse(flags)
