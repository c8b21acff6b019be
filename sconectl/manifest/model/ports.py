"""TCP ports that a program listens on: a number, or a number with a name."""

# Annotations are no texts here (no `from __future__ import annotations`): pydantic would compile each at every start.

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from sconectl.manifest.model.faults import Misfit, Unfit
from sconectl.manifest.model.fields import Maybe, Sparse, is_late, matching
from sconectl.text.marks import SHOWN

HIGHEST = 65535
_NAME = r"(?!.{16})(?=.*[a-z])[a-z0-9](?:-?[a-z0-9])*\Z"


def port_number(text: str) -> int | None:
    """Return the number of a port in a text; None if there is no such port."""
    text = text.strip()
    number = int(text) if re.fullmatch("[0-9]{1,5}", text, re.ASCII) else 0
    return number if 0 < number <= HIGHEST else None


def _number(value: Any) -> Any:
    """Read a number that is written as one or as text."""
    if isinstance(value, str) and is_late(value):
        return value
    number = port_number(str(value)) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
    if number is None:
        raise Unfit(f"expected the number of a port, from 1 to {HIGHEST}")
    return number


def port_entry(value: Any) -> Any:
    """Bring a number alone into the form of a port."""
    return {"number": value} if isinstance(value, (str, int)) else value


PortNumber = Annotated[int | str, BeforeValidator(_number), SHOWN]
PortName = Annotated[
    str, matching(_NAME, "at most 15 lower-case letters, digits and inner hyphens, with a letter"), SHOWN
]


class Port(Sparse):
    """A TCP port that the program listens on."""

    name: Maybe[PortName] = Field(
        None,
        description="Its name in the chart, and in its Service object; without it `api` for the first port, and "
        "`port-NUMBER` for others.",
        examples=["https"],
    )
    number: PortNumber = Field(
        description="Its number. In a service manifest it may be a `{{name}}` that the mesh fills in.", examples=[8443]
    )


Ports = Annotated[
    tuple[Annotated[Port, BeforeValidator(port_entry)], ...],
    BeforeValidator(lambda value: () if value is None else value),
]
"""Ports of one program; a number alone is a port without a name."""


def port_misfits(part: Any) -> Iterator[Misfit]:
    """Yield the ports in a part with the field `ports` whose number or name is that of another one."""
    entries = part.get("ports") if isinstance(part, dict) else None
    seen: dict[str, set[str]] = {"number": set(), "name": set()}
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        for field, known in seen.items():
            value = (port_entry(entry) or {}).get(field) if isinstance(entry, (str, int, dict)) else None
            if value and str(value) in known:
                path = ("ports", index, field) if isinstance(entry, dict) else ("ports", index)
                yield Misfit(path, f"two ports have the same {field}", "keep one of them, or change it", True)
            known.add(str(value))
