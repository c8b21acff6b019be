"""The TCP ports that an image says it listens on (EXPOSE).

In: the configuration of an image, which may say anything. Out: port numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sconectl.cas_address import PORT


def exposed_ports(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the numbers, sorted; what is no TCP port is left out."""
    given = config.get("ExposedPorts")
    names = (str(name).partition("/") for name in given) if isinstance(given, Mapping) else ()
    return tuple(
        sorted({int(number) for number, _, protocol in names if protocol in ("", "tcp") and re.fullmatch(PORT, number)})
    )
