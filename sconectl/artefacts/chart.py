"""Writes the Helm chart of a mesh: an umbrella with one subchart for each service.

In: a `ChartPlan`. Out: the content of each file below target/helm. Templates are copied as they are; everything
that differs between two meshes stands in Chart.yaml and values.yaml, where Helm reads it as data only.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from sconectl import assets
from sconectl.artefacts.chart_readme import mesh_readme, service_line
from sconectl.artefacts.chart_values import each_values, merged, workload_kind
from sconectl.artefacts.chart_version import CONTENT, content_digest, next_version, written_version
from sconectl.artefacts.installed import Installed, image_tag
from sconectl.artefacts.workload import check_workload
from sconectl.errors import PlanImpossible, Refused
from sconectl.plan.mesh.chart_plan import ChartPlan, ChartService
from sconectl.plan.mesh.own_chart import CHART_FILE, OwnChart
from sconectl.plan.values.chart_schema import ChartSchema
from sconectl.plan.values.helm_rules import faults_of_all
from sconectl.text import yaml_text
from sconectl.text.yaml_tree import show_path

SCHEMA_FILE = "values.schema.json"

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
# Helm gives this section of the values to every subchart, so no subchart can be called so.
_RESERVED = "global"
_WRITTEN_BY = "Written by sconectl from the mesh manifest; the next `sconectl apply` writes it again."
_UMBRELLA_COMMENT = f"""{_WRITTEN_BY}

One section for each service. What stands here wins over charts/<service>/values.yaml; README.md says what each
value means. Better keep your own values in a file of your own: helm install RELEASE target/helm -f my-values.yaml"""
_SERVICE_COMMENT = f"""{_WRITTEN_BY}

README.md of the umbrella chart says what each value means. No value may hold a secret: secrets come from the CAS."""


@dataclass(frozen=True)
class ChartContent:
    """A chart that has no version yet: every file but those called Chart.yaml."""

    plan: ChartPlan
    files: Mapping[str, bytes]

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of everything but the versions."""
        return content_digest(self.files, _heads(self.plan, ""))

    def with_version(self, version: str) -> dict[str, bytes]:
        """Return the files of the umbrella chart by their POSIX paths relative to target/helm."""
        heads = _heads(self.plan, version)
        heads[CHART_FILE]["annotations"][CONTENT] = self.digest
        return {**{path: _yaml(head, _WRITTEN_BY) for path, head in heads.items()}, **self.files}

    def alone(self, service: str) -> tuple[dict[str, bytes], dict[str, Any]]:
        """Return one subchart as a chart by itself: its files but Chart.yaml, and the content of that."""
        folder = f"charts/{service}/"
        files = {path.removeprefix(folder): text for path, text in self.files.items() if path.startswith(folder)}
        return files, _heads(self.plan, "")[folder + CHART_FILE]


def chart_head(head: Mapping[str, Any], files: Mapping[str, bytes], before: bytes | None) -> bytes:
    """Return Chart.yaml of a chart by itself, with a version that follows that of the Chart.yaml `before`."""
    digest = content_digest(files, {CHART_FILE: head})
    previous, known = written_version(before)
    annotations = {**head["annotations"], CONTENT: digest}
    version = next_version(previous, known == digest)
    return _yaml({**head, "version": version, "annotations": annotations}, _WRITTEN_BY)


def render_chart(plan: ChartPlan) -> dict[str, bytes]:
    """Return the files of the umbrella chart in the version of the plan. Raises what `chart_content` raises."""
    return chart_content(plan).with_version(plan.chart_version)


def chart_content(plan: ChartPlan, more: Mapping[str, bytes] = MappingProxyType({})) -> ChartContent:
    """Return the content of the umbrella chart, with `more` files that other parts of sconectl add.

    The same plan gives the same bytes. Raises `PlanImpossible` for names that no chart can have and for extra
    values that the chart does not know, and `Refused` for extra values that would hide how an image is protected.
    """
    service_files = assets.read_tree("charts_templates/service")
    schema = json.loads(service_files[SCHEMA_FILE])
    _check_names(plan)
    known = ChartSchema()
    texts, lines, wrong = dict[str, bytes](), dict[str, dict[str, str]](), list[str]()
    for service, values in each_values(plan):
        _check_toolchain(service, values.get("scone"))
        wrong += _wrong(Installed(plan, service, plan.release, values), known)
        if not wrong:
            texts[service.name] = _yaml(values, _SERVICE_COMMENT)
            lines[service.name] = service_line(service, values)
    if wrong:
        hint = "docs/chart.md explains them, and README.md of the chart lists them"
        raise PlanImpossible(f"these extra Helm values are not possible: {'; '.join(wrong)}", hint=hint)
    files = {
        "values.yaml": _yaml(umbrella_values(plan), _UMBRELLA_COMMENT),
        "values.schema.json": _umbrella_schema(plan),
        **assets.read_tree("charts_templates/umbrella"),
        "README.md": mesh_readme((lines.get(s.name) or service_line(s, None) for s in plan.services), schema),
        **more,
    }
    for service in plan.services:
        folder = f"charts/{service.name}/"
        if service.own_chart is not None:
            _check_toolchain(service, _scone_above(service))
            files.update({folder + name: content for name, content in service.own_chart.files.items()})
            continue
        files[f"{folder}values.yaml"] = texts[service.name]
        files.update({folder + name: content for name, content in service_files.items()})
    return ChartContent(plan, files)


def _heads(plan: ChartPlan, version: str) -> dict[str, dict[str, Any]]:
    """Return the content of each Chart.yaml by its path."""
    icon = "data:image/svg+xml;base64," + base64.b64encode(assets.read("charts_templates/icon.svg")).decode()
    found = {CHART_FILE: _umbrella_chart(plan, icon, version)}
    for service in plan.services:
        own = service.own_chart
        head = own_chart_head(plan, service, own) if own else _service_chart(plan, service, icon, version)
        found[f"charts/{service.name}/{CHART_FILE}"] = head
    return found


def _yaml(value: Mapping[str, Any], comment: str) -> bytes:
    return yaml_text.dump(value, comment=comment).encode()


def _umbrella_chart(plan: ChartPlan, icon: str, version: str) -> dict[str, Any]:
    simulated = any(service.toolchain.simulated for service in plan.services)
    return {
        "apiVersion": "v2",
        "name": plan.name,
        "description": "Confidential services that attest themselves before they get secrets",
        "type": "application",
        "version": version,
        "icon": icon,
        "annotations": {
            "sconectl.io/version": plan.version,
            **({"sconectl.io/release": plan.release} if plan.release else {}),
            **({"sconectl.io/simulation": "true"} if simulated else {}),
        },
        # Without a repository Helm takes a dependency from charts/, where it already is.
        "dependencies": [{"name": service.name, "version": _version(service, version)} for service in plan.services],
    }


def _version(service: ChartService, version: str) -> str:
    return str(service.own_chart.head["version"]) if service.own_chart else version


def umbrella_values(plan: ChartPlan) -> dict[str, Any]:
    """Return the values of the umbrella: those for all services, and those of charts that sconectl does not write."""
    return {"global": dict(plan.shared_values), **{service.name: _values_above(service) for service in plan.services}}


def _values_above(service: ChartService) -> dict[str, Any]:
    if service.own_chart is None:
        return {}
    # NOTES.txt reads from here which services are simulated.
    return merged(service.extra_values, {"scone": {"toolchain": service.toolchain.name}})


def own_chart_head(plan: ChartPlan, service: ChartService, chart: OwnChart) -> dict[str, Any]:
    """Return Chart.yaml of a chart of the user's own: called like the service, and with the facts about its image."""
    given = chart.head.get("annotations")
    mark = {"sconectl.io/configuration": service.configuration} if service.configuration else {}
    annotations = {**(given if isinstance(given, Mapping) else {}), **_annotations(plan, service), **mark}
    return {**chart.head, "name": service.name, "annotations": annotations}


def _umbrella_schema(plan: ChartPlan) -> bytes:
    """Close the sections: without this, Helm silently ignores values for a service whose name is misspelt."""
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the mesh: one section for each service",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: {"type": "object"} for name in umbrella_values(plan)},
    }
    return (json.dumps(schema, indent=2) + "\n").encode()


def _service_chart(plan: ChartPlan, service: ChartService, icon: str, version: str) -> dict[str, Any]:
    tag = image_tag(service.image)
    return {
        "apiVersion": "v2",
        "name": service.name,
        "description": f"The confidential service {service.name}",
        "type": "application",
        "version": version,
        **({"appVersion": tag} if tag else {}),
        "icon": icon,
        "annotations": _annotations(plan, service),
    }


def _annotations(plan: ChartPlan, service: ChartService) -> dict[str, str]:
    return {
        "sconectl.io/version": plan.version,
        "sconectl.io/mesh": plan.name,
        "sconectl.io/toolchain": service.toolchain.name,
        **({"sconectl.io/simulation": "true"} if service.toolchain.simulated else {}),
    }


def _check_names(plan: ChartPlan) -> None:
    """Names become folders of target/helm, so they are checked here again, whatever the plan has checked."""
    names = [service.name for service in plan.services]
    wrong = [name for name in (plan.name, *names) if not _DNS_LABEL.match(name)]
    if wrong:
        raise PlanImpossible(
            f"a chart cannot be called {', '.join(map(repr, wrong))}",
            hint="use at most 63 lower-case letters, digits and inner hyphens",
        )
    if _RESERVED in names:
        raise PlanImpossible(
            f"a service cannot be called {_RESERVED}: Helm gives values of this name to every service",
            hint="choose another name",
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise PlanImpossible(f"services have the same name: {', '.join(twice)}", hint="rename one of them")
    own = (service for service in plan.services if service.own_chart is None)
    taken = {f"{service.name}-pods" for service in own if workload_kind(service) == "statefulset"}.intersection(names)
    if taken:
        raise PlanImpossible(
            f"a service cannot be called {', '.join(sorted(taken))}: a StatefulSet has a Service of this name",
            hint="rename it",
        )


def _scone_above(service: ChartService) -> Any:
    """Return the section `scone` of the values over a chart of the user's own."""
    given = service.extra_values.get("scone", {})
    return {"toolchain": service.toolchain.name, **given} if isinstance(given, Mapping) else given


def _check_toolchain(service: ChartService, scone: Any) -> None:
    """Refuse values of the section `scone` that hide how the image was built."""
    if not isinstance(scone, Mapping) or scone.get("toolchain") != service.toolchain.name:
        raise Refused(
            f"the extra Helm values of {service.name} change scone.toolchain, which says how the image was built",
            hint="remove the value; to use another toolchain, build the image with it",
        )


def _wrong(of: Installed, known: ChartSchema) -> Iterator[str]:
    """Yield what is wrong with the values of a chart to which others were added."""
    if not of.service.extra_values:
        return
    found = [(fault.path, fault.message) for fault in known.faults(of.values, whole=True)]
    for path, message in found or faults_of_all(of.values):
        yield f"{show_path((of.service.name, *path))}: {message}"
    try:
        if not found:
            check_workload(of)
    except PlanImpossible as error:
        yield error.message
