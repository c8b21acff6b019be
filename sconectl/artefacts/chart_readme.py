"""Writes README.md of a chart: what is in it, and what each value means.

In: a line for each service of a mesh, and the schema of a service's values, whose descriptions are the words. Out: the
file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sconectl.plan.mesh.chart_plan import ChartService
from sconectl.text.rendering import render

_TEMPLATE = "artefacts/chart_readme.md"
_VOLUME = "volumeNAME"


def mesh_readme(services: Iterable[Mapping[str, str]], schema: Mapping[str, Any]) -> bytes:
    """Return README.md of an umbrella chart; `services` are lines of `service_line`."""
    return render(_TEMPLATE, _cell, mesh=True, services=services, values=list(_rows(schema))).encode()


def service_readme(schema: Mapping[str, Any]) -> bytes:
    """Return README.md of the chart of one converted image."""
    return render(_TEMPLATE, _cell, mesh=False, services=(), values=list(_rows(schema))).encode()


def service_line(service: ChartService, values: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what README.md says of a service; `values` are those of its chart, if it is written here."""
    if values is None:
        return {"name": service.name, "kind": "a chart of your own", "ports": "", "callers": ""}
    ports = ", ".join(f"{port['port']} ({port['name']})" for port in values["service"].get("ports") or ())
    policy = values["networkPolicy"]
    callers = ", ".join(policy.get("callers") or ()) or "nobody" if policy["enabled"] else "everybody"
    return {
        "name": service.name,
        "kind": str(values["workload"]["kind"]),
        "ports": ports or "none",
        "callers": callers,
    }


def _rows(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    patterns = schema.get("patternProperties", {})
    volumes = dict.fromkeys((_VOLUME,), next(iter(patterns.values()))) if patterns else {}
    for name, entry in {**schema["properties"], **volumes}.items():
        yield from _row(name, entry)


def _row(name: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    choices = ", ".join(f"`{each}`" for each in entry.get("enum", ()) if each)
    yield name, entry.get("description", "") + (f" One of {choices}." if choices else "")
    for key, below in entry.get("properties", {}).items():
        if "description" in below:
            yield from _row(f"{name}.{key}", below)


def _cell(value: Any) -> str:
    """Return a value as it stands in a cell of a table: in one line, and no end of it."""
    return re.sub(r"\s+", " ", str(value)).replace("|", r"\|")
