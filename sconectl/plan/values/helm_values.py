"""`helm_extra_values` of a mesh and of its services: whose they are, their types, and whether the chart knows them.

In: a mesh and the names of its charts. Out: the values of each service, and findings. A key of the mesh's section is
the name of a service, the name of the image's chart, or that with the ending `-scone` of upstream's curated charts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sconectl.errors import InvalidInput
from sconectl.manifest.model.faults import did_you_mean
from sconectl.manifest.model.mesh import Mesh
from sconectl.plan.values.chart_schema import ChartSchema
from sconectl.plan.values.helm_rules import faults
from sconectl.plan.values.scalars import typed_values
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Document, Path, parse

CURATED_ENDING = "-scone"
GLOBAL = "global"
_FIELD = "helm_extra_values"
_SHARED = ("imagePullSecrets",)
"""Values in `global` that the charts of services read."""


@dataclass(frozen=True)
class HelmValues:
    """Values by service, those for all services, and what is wrong with them."""

    services: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def helm_values(mesh: Mesh, document: Document, charts: Mapping[str, str]) -> HelmValues:
    """Return the extra values; `charts` names the chart of each service, "" for one that the mesh replaces."""
    if not mesh.helm_extra_values and not any(service.helm_extra_values for service in mesh.services):
        return HelmValues()
    return _Collector(mesh, document, charts).collect()


def overlaid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge as Helm merges values, but keep None, which removes a value where both are applied at last."""
    result = dict(base)
    for key, item in over.items():
        below = result.get(key)
        if isinstance(item, Mapping) and isinstance(below, Mapping):
            result[key] = overlaid(below, item)
        else:
            result[key] = item
    return result


def has_removals(values: Any) -> bool:
    """Say whether any value is None, which removes that of the chart."""
    below = values.values() if isinstance(values, Mapping) else ()
    return values is None or any(map(has_removals, below))


def without_removals(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values without those that are None."""
    return {
        key: without_removals(item) if isinstance(item, Mapping) else item
        for key, item in values.items()
        if item is not None
    }


def removed_from(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a chart without those that are None in the values over them."""
    return {
        key: removed_from(item, below) if isinstance(item, Mapping) and isinstance(below, Mapping) else item
        for key, item in base.items()
        if (below := over.get(key, item)) is not None or (item is None and key not in over)
    }


class _Collector:
    def __init__(self, mesh: Mesh, document: Document, charts: Mapping[str, str]) -> None:
        self._mesh = mesh
        self._document = document
        self._charts = charts
        self._by_chart: dict[str, list[str]] = {}
        for service, chart in charts.items():
            self._by_chart.setdefault(chart, []).append(service)
        self._values: dict[str, dict[str, Any]] = {}
        self._shared: dict[str, Any] = {}
        self._findings: list[Finding] = []
        self._schema = ChartSchema()

    def collect(self) -> HelmValues:
        given = self._mesh.helm_extra_values
        if given:
            self._of_mesh(self._typed(given, (_FIELD,)))
        for number, service in enumerate(self._mesh.services):
            if service.helm_extra_values:
                path: Path = ("services", number, _FIELD)
                self._add([service.name], self._typed(service.helm_extra_values, path), path)
        return HelmValues(self._values, self._shared, tuple(self._findings))

    def _typed(self, given: Any, path: Path) -> Any:
        """Return the values with types; a text is read as YAML, and the faults in it are said of the whole field."""
        if not isinstance(given, str):
            written = path in self._document.positions
            # What an older spelling was rewritten to has no quotes, as with `helm --set`.
            return typed_values(given, self._document.is_plain if written else lambda _path: True, path)
        try:
            inner = parse(given, self._document.file)
        except InvalidInput as error:
            for fault in error.findings:
                self._fault(path, f"in line {fault.position.line} of this text: {fault.message}", fault.hint)
            return {}
        return typed_values(inner.value, inner.is_plain) or {}

    def _of_mesh(self, sections: Any) -> None:
        if not isinstance(sections, dict):
            self._fault((_FIELD,), "expected a mapping from services to their values", "write SERVICE: {VALUE: …}")
            return
        for key, values in sections.items():
            path: Path = (_FIELD, key)
            services = self._services(key)
            if key == GLOBAL and isinstance(values, dict):
                self._shared = values
                self._findings += self._unread(values, path)
            elif services or key == GLOBAL:
                self._add(services, values, path)
            else:
                known = [*self._charts, *filter(None, self._by_chart)]
                hint = did_you_mean(key, known) or f"services are {', '.join(list(self._charts)[:10])}"
                message = "neither a service nor the chart of a service has this name"
                self._findings.append(self._document.finding("error", "SC2011", path, message, hint, at_key=True))

    def _unread(self, values: Mapping[str, Any], path: Path) -> Iterator[Finding]:
        """Yield the values for all services that no chart reads; charts of the user's own may read any."""
        if not all(self._charts.values()):
            return
        for key in values:
            if key not in _SHARED:
                hint = f"global has {', '.join(_SHARED)}; give other values below the name of each service"
                message = "no chart of this mesh reads this value, so that it would have no effect"
                yield self._document.finding("error", "SC2012", (*path, key), message, hint, at_key=True)
        pull = values.get("imagePullSecrets")
        named = isinstance(pull, list) and all(isinstance(each, dict) and each.get("name") for each in pull)
        if pull is not None and not named:
            yield self._document.finding("error", "SC2012", (*path, "imagePullSecrets"), "expected a list of {name: …}")

    def _services(self, key: str) -> list[str]:
        if key in self._charts:
            return [key]
        if key in self._by_chart:
            return self._by_chart[key]
        stem = key.removesuffix(CURATED_ENDING)
        return [stem] if stem in self._charts else self._by_chart.get(stem, [])

    def _add(self, services: list[str], values: Any, path: Path) -> None:
        if values is None:
            return
        if not isinstance(values, dict):
            self._fault(path, "expected a mapping of values", "write VALUE: … below it")
            return
        if any(self._charts[service] for service in services):
            for each in self._schema.faults(values):
                self._fault((*path, *each.path), each.message, each.hint, at_key=each.at_key)
            for below, message, hint in faults(values):
                self._fault((*path, *below), message, hint)
        for service in services:
            self._values[service] = overlaid(self._values.get(service, {}), values)

    def _fault(self, path: Path, message: str, hint: str, *, at_key: bool = False) -> None:
        self._findings.append(self._document.finding("error", "SC2012", path, message, hint, at_key=at_key))
