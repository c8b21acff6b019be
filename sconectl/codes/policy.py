"""Codes SC3xxx, rules of the session language."""

from __future__ import annotations

from sconectl.codes import Code

CODES: dict[str, Code] = {}
