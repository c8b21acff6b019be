"""Codes SC1xxx, what is wrong with a manifest."""

from __future__ import annotations

from sconectl.codes import Code

CODES: dict[str, Code] = {}
