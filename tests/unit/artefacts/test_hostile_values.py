"""A text in any field of a chart's plan or values reaches Kubernetes as that text: never as markup or template.

A chart is rendered twice, with a harmless mark and with a hostile text in every field that takes text. The objects must
be the same but for that text, by Helm and without it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import TOOLCHAINS

from sconectl.artefacts.manifests import manifest_files
from sconectl.plan.mesh.chart_plan import ChartPlan, ChartService, Workload

from .test_chart import HOSTILE
from .test_manifests import VOLUMES, WEB, by_helm, objects

MARK = "harmless-mark"
NEXT_LINE = "\x85"
"""Helm does not keep it where values are written as YAML; so it is refused there when compiling (SC2012)."""
MORE = [
    *(text.replace(NEXT_LINE, "") for text in HOSTILE),
    "---\nkind: Secret\n---\n",
    "!!python/object/apply:os.system [id]",
    "!<tag:yaml.org,2002:int> 1",
    "{{ .Release.Name }}{{/* */}}{{ template \"x\" }}",
    "${jndi:ldap://x} %{x} $$SCONE::x$$ `id`",
    "\"}],\"command\":[\"sh\"],\"x\":[{\"y\":\"",
    " leading and trailing \t",
    "\r\n\r",
    "yes", "null", "~", "0x1F", "1e3", "12:30:45",
    "é" * 50_000,
]  # fmt: skip


def hostile(text: str, kind: Workload) -> ChartService:
    """Return a service with this text wherever text may stand."""
    extra: dict[str, Any] = {
        "podAnnotations": {"note": text},
        "service": {"annotations": {"note": text}},
        "serviceAccount": {"name": text, "annotations": {"note": text}},
        "ingress": {"enabled": True, "className": text, "hosts": [text], "annotations": {"note": text}},
        "gateway": {
            "enabled": True, "apiVersion": text, "hostnames": [text], "parentRefs": [{"name": text}],
        },
        "networkPolicy": {"from": [{"podSelector": {"matchLabels": {"a": text}}}]},
        "initContainers": {"image": text, "container1": {"enabled": True, "host": text, "port": 1}},
        "priorityClassName": text,
        "runtimeClassName": text,
        "hostAliases": [{"ip": text, "hostnames": [text]}],
        "tolerations": [{"key": text}],
        "topologySpreadConstraints": [{"maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway", "topologyKey": text}],
        "writable": [f"/writable/{text}"],
        "scone": {"las": text, "edmm": text},
        "persistence": {"enabled": True, "mountPath": f"/{text}", "storageClass": text, "annotations": {"n": text}},
        "volumev1": {"persistence": {"enabled": True, "storageClass": text, "annotations": {"n": text}}},
        "volumelogs": {"mountPath": f"/{text}", "persistence": {"enabled": True, "existingClaim": text}},
        "extraEnv": [{"name": "SCONE_X", "value": text}],
        "extraVolumes": [{"name": text, "configMap": {"name": text}}],
        "extraContainers": [{"name": text, "image": text, "args": [text]}],
    }  # fmt: skip
    fields = dict.fromkeys(("image", "config_id", "cas_address", "cas_key", "log_level", "pull_secret"), text)
    return replace(
        WEB,
        toolchain=TOOLCHAINS["scone"],
        workload=kind,
        schedule=text,
        callers=(text,),
        volume_values=VOLUMES,
        extra_values=extra,
        **fields,  # type: ignore[arg-type]
    )


def swapped(value: Any, text: str) -> Any:
    """Return a value with the text in the place of the mark."""
    if isinstance(value, dict):
        return {key: swapped(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [swapped(item, text) for item in value]
    return value.replace(MARK, text) if isinstance(value, str) else value


@pytest.mark.parametrize("kind", ["deployment", "statefulset", "cronjob"])
@pytest.mark.parametrize("text", MORE, ids=range(len(MORE)))
def test_a_hostile_text_is_that_text(tmp_path: Path, text: str, kind: Workload) -> None:
    found: dict[str, dict[tuple[str, str], Any]] = {}
    for name, written in (("harmless", MARK), ("hostile", text)):
        plan = ChartPlan("shop", written, (hostile(written, kind),))
        found[name] = by_helm(tmp_path / name, plan, "demo")
        assert objects(manifest_files(plan, "demo", {})["web.yaml"].decode()) == found[name]
    expected = {(key[0], swapped(key[1], text)): swapped(item, text) for key, item in found["harmless"].items()}
    assert found["hostile"] == expected
