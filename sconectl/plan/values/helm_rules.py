"""What Kubernetes or Helm refuse or change in values of a chart although their form is right.

Names that are there twice, probes with two questions, a character that is not kept.

In: the values of one service: what a manifest gives, or all that its chart has. Out: the place of each fault, what is
wrong, and a hint.
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
_MEMORY = ("/dev/shm", "/scone/memory")  # noqa: S108 - in the container
_TAKEN = {"extraContainers": ("api", "wait-container1", "wait-container2"), "extraVolumeMounts": _MEMORY}


def faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults in the values of one service."""
    for section, key in _KEYS.items():
        yield from _twice(values.get(section), (section,), key)
    if isinstance(service := values.get("service"), Mapping):
        yield from _twice(service.get("ports"), ("service", "ports"), "name")
        yield from _twice(service.get("ports"), ("service", "ports"), "port")
    for path, text in _texts(values, ()):
        if _NEXT_LINE in text:
            yield path, "holds U+0085, which Helm would make another character of", "remove it"
    for name in _PROBES:
        probe = values.get(name)
        asked = [each for each in _HANDLERS if isinstance(probe, Mapping) and probe.get(each)]
        if len(asked) > 1:
            yield (name,), f"asks in several ways: {', '.join(asked)}", "keep one of them"


def faults_of_all(values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield the faults that only show in all values of a service, which fit the schema of the chart."""
    seen = set(_MEMORY)
    for path, mounted in _mounts(values):
        if mounted in seen:
            yield path, f"something is mounted at {mounted} already"
        seen.add(mounted)


def _mounts(values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    yield from ((("writable", number), path) for number, path in enumerate(values.get("writable") or ()))
    if values["persistence"]["enabled"]:
        yield ("persistence", "mountPath"), values["persistence"]["mountPath"]
    for number, mount in enumerate(values.get("extraVolumeMounts") or ()):
        yield ("extraVolumeMounts", number, "mountPath"), mount["mountPath"]


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    below = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in below:
        if isinstance(key, str):
            yield (*path, key), key
        if isinstance(item, str):
            yield (*path, key), item
        yield from _texts(item, (*path, key))


def _twice(entries: Any, path: Path, key: str) -> Iterator[Fault]:
    section = path[-1]
    seen: set[str | int] = set(_TAKEN.get(str(section), ()))
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        name = entry.get(key) if isinstance(entry, Mapping) else None
        if not isinstance(name, str | int):
            continue
        if name in seen or (section == "extraVolumes" and str(name).startswith(_OWN)):
            yield (*path, number, key), f"{name} is there already", "choose another one"
        seen.add(name)
