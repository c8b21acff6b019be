"""Enclave parameters from SCONE_* variables: normalised, with defaults, the measured ones only.

In: the local environment of a service manifest. Out: parameters as text (sizes in bytes), as the measurement takes
them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from sconectl.manifest.fields import NamedValue

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZES = {"SCONE_HEAP": "64M", "SCONE_MIN_HEAP": "20M", "SCONE_STACK": "2M"}
_NUMBERS = {
    "SCONE_ALLOW_DLOPEN": "0",
    "SCONE_FORK": "0",
    "SCONE_ISVPRODID": "0",
    "SCONE_ISVSVN": "0",
    "SCONE_MPROTECT": "0",
    "SCONE_SYSLIBS": "0",
    "SCONE_TCS": "8",
}


def enclave_parameters(local: Iterable[NamedValue], *, mode: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the parameters and the problems by variable name. `mode` is `production` or `debug`."""
    given = {variable.name: variable.value.strip() for variable in local}
    parameters = {"mode": mode}
    problems: dict[str, str] = {}
    for name, default in {**_SIZES, **_NUMBERS}.items():
        text = given.get(name, default)
        value = _bytes(text) if name in _SIZES else (int(text) if text.isdecimal() else None)
        if value is None:
            expected = "a size like 64M (suffixes K, M, G)" if name in _SIZES else "a whole number"
            problems[name] = f"expected {expected}"
        else:
            parameters[name.removeprefix("SCONE_").lower()] = str(value)
    return parameters, problems


def log_level(variables: Mapping[str, str]) -> str:
    """Return the level of the launcher's log that SCONE_LOG asks for, in lower case."""
    return variables.get("SCONE_LOG", "warning").strip().lower() or "warning"


def _bytes(text: str) -> int | None:
    match = re.match(r"([0-9]+)([KMG]?)\Z", text.upper())
    return int(match[1]) * _UNITS[match[2]] if match else None
