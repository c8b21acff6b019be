"""Enclave parameters from SCONE_* variables: normalised, with defaults, the ones that are measured or signed only.

In: the local environment of a service manifest. Out: parameters as text (sizes in bytes), as measurement and signature
take them; problems and remarks by variable name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from sconectl.manifest.model.fields import NamedValue
from sconectl.manifest.model.reload import Reload
from sconectl.manifest.model.volumes import Volume

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZES = {
    "SCONE_HEAP": ("64M", "8M", "60G"),
    "SCONE_MIN_HEAP": ("20M", "8M", "60G"),
    "SCONE_STACK": ("2M", "32K", "8M"),
}
"""Default, and what enclaves are known to work with; other sizes are taken, with a remark."""
_NUMBERS = {
    "SCONE_ALLOW_DLOPEN": (0, 0, 2),
    "SCONE_FORK": (0, 0, 1),
    "SCONE_ISVPRODID": (0, 0, 65535),
    "SCONE_ISVSVN": (0, 0, 65535),
    "SCONE_MPROTECT": (0, 0, 1),
    "SCONE_SYSLIBS": (0, 0, 1),
    "SCONE_TCS": (8, 1, 65535),
}
"""Default, lowest and highest value; others are faults."""
_EXTENSIONS = "SCONE_EXTENSIONS_PATH"
OPEN_VARIABLES = frozenset((*_SIZES, *_NUMBERS, _EXTENSIONS, "SCONE_LOG"))
"""Variables whose values everybody may see: the image's label has most of them."""


def enclave_parameters(local: Iterable[NamedValue], *, mode: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the parameters and the problems by variable name. `mode` is `production` or `debug`."""
    given = _given(local)
    parameters = {"mode": mode}
    problems: dict[str, str] = {}
    for name, (default, _, _) in _SIZES.items():
        size = _bytes(given.get(name, default))
        if size is None:
            problems[name] = "expected a size like 64M (suffixes K, M, G)"
        parameters[_parameter(name)] = str(size)
    for name, (standard, lowest, highest) in _NUMBERS.items():
        number = _number(given.get(name, str(standard)))
        if number is None or not lowest <= number <= highest:
            problems[name] = f"expected a whole number from {lowest} to {highest}"
        parameters[_parameter(name)] = str(number)
    extensions = given.get(_EXTENSIONS, "")
    if extensions:
        if not all(path.startswith("/") and path.isprintable() for path in extensions.split(":")):
            problems[_EXTENSIONS] = "expected absolute paths of libraries, separated by :"
        parameters[_parameter(_EXTENSIONS)] = extensions
    return parameters, problems


def volume_parameters(volumes: Iterable[Volume]) -> dict[str, str]:
    """Return the parameter `volumes`: what the launcher has to know of them that is not the default, as JSON."""
    given = {volume.name: {"tags": volume.tags} for volume in volumes if volume.tags not in (None, "strict")}
    return {"volumes": json.dumps(given, separators=(",", ":"), sort_keys=True)} if given else {}


def reload_parameters(reload: Reload | None) -> dict[str, str]:
    """Return the parameter `reload`: how the launcher tells the program that its files were renewed, as JSON.

    `{}` is there, too, for a program that looks by itself: who uses the image has to know that.
    """
    if reload is None:
        return {}
    given: dict[str, str | list[str]] = {}
    if reload.signal:
        given["signal"] = reload.signal
    if reload.command:
        given["command"] = list(reload.command.words)
    return {"reload": json.dumps(given, separators=(",", ":"))}


def unusual_sizes(local: Iterable[NamedValue]) -> dict[str, str]:
    """Return by variable name what is unusual about a size."""
    given = _given(local)
    remarks = {}
    for name, (_, lowest, highest) in _SIZES.items():
        size, least, most = (_bytes(text) for text in (given.get(name, lowest), lowest, highest))
        if size is not None and least is not None and most is not None and not least <= size <= most:
            remarks[name] = f"enclaves are known to work with {lowest} to {highest}"
    return remarks


def log_level(variables: Mapping[str, str]) -> str:
    """Return the level of the launcher's log that SCONE_LOG asks for, in lower case."""
    return variables.get("SCONE_LOG", "warning").strip().lower() or "warning"


def _given(local: Iterable[NamedValue]) -> dict[str, str]:
    return {variable.name: variable.value.strip() for variable in local}


def _parameter(name: str) -> str:
    return name.removeprefix("SCONE_").lower()


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,15}", text) else None


def _bytes(text: str) -> int | None:
    match = re.fullmatch("([0-9]{1,15})([KMG]?)", text.upper())
    return int(match[1]) * _UNITS[match[2]] if match else None
