"""Codes SC4xxx, security advice."""

from __future__ import annotations

from sconectl.codes import Code

CODES: dict[str, Code] = {}
