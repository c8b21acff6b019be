"""What Kubernetes or Helm refuse or change in values of a chart although their form is right.

Names that are there twice, probes with two questions, a character that is not kept.

In: the values of one service. Out: the place of each fault, what is wrong, and a hint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str | int, ...]
Fault = tuple[Path, str, str]

_HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_NEXT_LINE = "\x85"
_OWN = "sconectl-"
_KEYS = {"extraEnv": "name", "extraVolumes": "name", "extraContainers": "name", "extraVolumeMounts": "mountPath"}
_TAKEN = {"extraContainers": ("api",), "extraVolumeMounts": ("/dev/shm", "/scone/memory")}  # noqa: S108 - in the container


def faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults in the values of one service."""
    for section, key in _KEYS.items():
        entries = values.get(section)
        yield from _twice(entries if isinstance(entries, list) else [], section, key)
    for path, text in _texts(values, ()):
        if _NEXT_LINE in text:
            yield path, "holds U+0085, which Helm would make another character of", "remove it"
    for name in _PROBES:
        probe = values.get(name)
        asked = [each for each in _HANDLERS if isinstance(probe, Mapping) and probe.get(each)]
        if len(asked) > 1:
            yield (name,), f"asks in several ways: {', '.join(asked)}", "keep one of them"


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    below = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in below:
        if isinstance(key, str):
            yield (*path, key), key
        if isinstance(item, str):
            yield (*path, key), item
        yield from _texts(item, (*path, key))


def _twice(entries: list[Any], section: str, key: str) -> Iterator[Fault]:
    seen = set(_TAKEN.get(section, ()))
    for number, entry in enumerate(entries):
        name = entry.get(key) if isinstance(entry, Mapping) else None
        if not isinstance(name, str):
            continue
        if name in seen or (section == "extraVolumes" and name.startswith(_OWN)):
            yield (section, number, key), f"{name} is there already", "choose another one"
        seen.add(name)
