"""Codes SC2xxx, what is wrong with the wiring of a mesh."""

from __future__ import annotations

from sconectl.codes import Code

CODES: dict[str, Code] = {}
