"""The lines about the results of `apply`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sconectl.apply.sessions import Uploaded


def session_lines(sessions: Iterable[Uploaded], address: str) -> list[str]:
    """Return a line for each session."""
    return [f"session {entry.name}: {entry.outcome} (CAS {address})" for entry in sessions]


def files_line(changed: int, target: Path) -> str:
    """Return the line about the target directory."""
    return f"{target}: {f'{changed} files written' if changed else 'unchanged'}"
