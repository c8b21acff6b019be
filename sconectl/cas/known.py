"""Which CASes a client knows: those whose key was pinned.

In: the cas-config directory. Out: their addresses.
"""

from __future__ import annotations

import json
from pathlib import Path

from sconectl.cas.private_files import read_private
from sconectl.errors import CasError

_PINS = "sconectl_cas_keys"


def known_addresses(directory: Path) -> tuple[str, ...]:
    """Return the addresses (host:port) of the known CASes in order; raises `CasError` if the file is unusable."""
    file = directory / "config.json"
    try:
        config = json.loads(read_private(file) or b"{}")
        return tuple(sorted(config.get(_PINS, {})))
    except (ValueError, TypeError, AttributeError) as error:
        raise CasError(f"cannot use {file}: it holds no list of CASes", hint="restore it from a backup") from error
