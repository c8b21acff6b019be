"""Configurations as a CAS would send them, for the tests of the launcher."""

from __future__ import annotations

from typing import Any

from sconectl.protect.index import Index
from sconectl.runtime.configuration import Configuration


def configuration(**changes: Any) -> Configuration:
    values: dict[str, Any] = {
        "session": "acme/app",
        "service": "app",
        "argv": ("app",),
        "environment": {},
        "pwd": "/",
        "files": (),
        "fspf": None,
    }
    return Configuration(**values | changes)


def index(**changes: Any) -> Index:
    values: dict[str, Any] = {"outside": (), "sealed": (), "entries": {}}
    return Index(**values | changes)
