"""How a broken rule of the session language is raised, and the finding code of each rule.

In: a rule id of the language (`N2`, `K15`, …) and what was expected. Out: an error that pydantic collects, and
the stable `SC3xxx` code that findings carry.
"""

from __future__ import annotations

import re

from pydantic_core import PydanticCustomError

LATER = "later"
"""The pseudo rule of everything that the language knows and this version does not enforce yet."""

_BASES = {
    "D": 3000, "N": 3010, "V": 3020, "H": 3025, "S": 3030, "A": 3040, "K": 3050, "P": 3070,
    "X": 3075, "W": 3080, "G": 3085, "C": 3090, "E": 3097,
}  # fmt: skip


def code_of(rule: str) -> str:
    """Return the finding code of a rule id, like `SC3012` for `N2`."""
    match = re.fullmatch(r"([A-Z])(\d+)", rule)
    return f"SC{_BASES[match[1]] + int(match[2])}" if match else "SC3099"


def violation(rule: str, message: str, hint: str = "") -> PydanticCustomError:
    """Return the error that says `rule` is broken; `message` must not hold a secret value."""
    return PydanticCustomError(rule, "{message}", {"message": message, "hint": hint})


def not_available(what: str, hint: str = "remove it, or wait for a version that enforces it") -> PydanticCustomError:
    """Return the error for something valid that the CAS could not enforce and therefore must not store."""
    return violation(LATER, f"{what}: not available in this version", hint)
