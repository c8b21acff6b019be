"""Reads and writes the files of cases below tests/golden/bad: one change of a valid manifest each, and what is said.

    @ service.yaml: what is wrong
    -old text, one or more whole lines or parts of them
    +new text
    =
    service.yaml:9:3: error SC1002: …

A line with a single full stop divides changes where there are several.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "bad"
VALID = ("service.yaml", "mesh.yaml", "database.yaml")
BAD, ADVICE, OLDER = ("service", "mesh"), "advice", "older"
GROUPS = (*BAD, ADVICE, OLDER)


@dataclass(frozen=True)
class BadCase:
    """A case: what it is about, the manifest that is changed, the changes, and what is to be said about it."""

    name: str
    base: str
    changes: tuple[tuple[str, str], ...]
    expected: str

    def text(self) -> str:
        """Return the faulty manifest."""
        text = (FOLDER / self.base).read_text()
        for old, new in self.changes:
            assert old in text, f"{self.name}: the valid manifest does not hold {old!r}"
            text = text.replace(old, new, 1)
        return text

    def render(self) -> str:
        """Return the case as it stands in its file."""
        changes = [
            "\n".join([*(f"-{line}" for line in old.split("\n")), *(f"+{line}" for line in new.split("\n") if new)])
            for old, new in self.changes
        ]
        return f"@ {self.base}: {self.name}\n" + "\n.\n".join(changes) + f"\n=\n{self.expected}"


def read_cases(group: str) -> list[BadCase]:
    """Return the cases of a group."""
    text = (FOLDER / f"{group}.cases").read_text()
    return [_case(part) for part in re.split("^@ ", text, flags=re.MULTILINE)[1:]]


def write_cases(group: str, cases: list[BadCase]) -> None:
    """Write the cases of a group."""
    (FOLDER / f"{group}.cases").write_text("\n".join(case.render() for case in cases))


def _case(part: str) -> BadCase:
    head, _, expected = part.partition("\n=\n")
    title, _, rest = head.partition("\n")
    base, _, name = title.partition(": ")
    changes = []
    for change in rest.split("\n.\n"):
        lines = change.split("\n")
        old = "\n".join(line[1:] for line in lines if line.startswith("-"))
        changes.append((old, "\n".join(line[1:] for line in lines if line.startswith("+"))))
    said = expected.strip("\n")
    return BadCase(name, base, tuple(changes), f"{said}\n" if said else "")
