"""How a broken rule of the session language is raised, and the finding code of each rule.

In: a rule id of the language (`N2`, `K15`, …) and what was expected. Out: an error that pydantic collects, and
the stable `SC3xxx` code that findings carry.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import PydanticCustomError

_BASES = {
    "D": 3000, "N": 3010, "V": 3020, "H": 3025, "S": 3030, "A": 3040, "K": 3050, "P": 3070,
    "X": 3075, "W": 3080, "G": 3085, "C": 3090, "E": 3097,
}  # fmt: skip


def code_of(rule: str) -> str:
    """Return the finding code of a rule id, like `SC3012` for `N2`; raises `ValueError` for anything else."""
    match = re.fullmatch(r"([DNVHSAKPXWGCE])(\d{1,2})", rule)
    if match is None:
        raise ValueError("not the id of a rule")
    return f"SC{_BASES[match[1]] + int(match[2])}"


def violation(rule: str, message: str, hint: str = "", *, at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """Return the error for a broken `rule`; `message` must not hold a secret value.

    `at` leads from the validated part to the fault inside it.
    """
    context: dict[str, Any] = {"message": message, "hint": hint, "at": at}
    return PydanticCustomError(rule, "{message}", context)
