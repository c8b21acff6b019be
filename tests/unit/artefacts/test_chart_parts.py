"""Parts of the chart that come from the user or from sessions: Helm renders them, and never as templates of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
from fakes.builders import TOOLCHAINS
from ruamel.yaml import YAML

from sconectl.artefacts.chart import render_chart
from sconectl.artefacts.policy_resources import chart_policies, policy_resource, resource_name
from sconectl.errors import Refused
from sconectl.plan.mesh.chart_plan import ChartPlan, ChartService, ServicePort
from sconectl.plan.mesh.own_chart import OwnChart, read_own_chart
from sconectl.policy.signed_session import EncryptedSession, Signature, SignedSession

TEMPLATE = b"""apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-{{ .Chart.Name }}}
data:
  image: {{ .Values.image | quote }}
  port: {{ .Values.port | quote }}
  toolchain: {{ .Values.scone.toolchain | quote }}
  all: {{ .Values.global.a | quote }}
"""
FILES = {
    "Chart.yaml": b"apiVersion: v2\nname: mine\nversion: 1.10.3\nannotations: {own: x}\n",
    "values.yaml.template": b"image: {{image_name}}\nport: {{PORT}}\n",
    "templates/map.yaml": TEMPLATE,
}
NAMES = {"image_name": "example/web:1", "PORT": "8080"}
FACTS: dict[str, Any] = {"config_id": "shop/web/main", "cas_address": "cas.example.org", "cas_key": ""}
FACTS |= {
    "toolchain": TOOLCHAINS["sim"],
    "measurement": "ab" * 32,
    "ports": (ServicePort("api", 8080),),
    "pull_secret": "",
    "log_level": "",
}


def own() -> OwnChart:
    return read_own_chart(FILES, "mine", NAMES.get)


def service(**changes: Any) -> ChartService:
    given = {
        "name": "web",
        "image": "example/web:1",
        "toolchain": TOOLCHAINS["sim"],
        "extra_values": {},
        "own_chart": own(),
    }
    return ChartService(**{**FACTS, **given, **changes})


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def render(folder: Path) -> dict[str, str]:
    report = helm.lint(str(folder), strict=True, with_subcharts=True)
    assert report["errors"] == []
    with helm.Chart.load(str(folder)) as chart:
        return dict(chart.render(None, name="demo", namespace="prod"))


def test_a_chart_of_ones_own_is_a_subchart_called_like_the_service(tmp_path: Path) -> None:
    plain = service(name="db", own_chart=None)
    mine = service(extra_values={"port": 99}, configuration="12" * 16)
    plan = ChartPlan("shop", "0", (mine, plain), {"a": "b"})
    files = render_chart(plan)
    assert files["charts/web/templates/map.yaml"] == TEMPLATE
    head = YAML(typ="safe").load(files["charts/web/Chart.yaml"])
    assert (head["name"], head["version"], head["annotations"]["own"]) == ("web", "1.10.3", "x")
    assert head["annotations"]["sconectl.io/simulation"] == "true"
    assert head["annotations"]["sconectl.io/configuration"] == "12" * 16
    rendered = render(write(tmp_path, files))
    data = YAML(typ="safe").load(rendered["shop/charts/web/templates/map.yaml"])
    assert data["metadata"]["name"] == "demo-web"
    assert data["data"] == {"image": "example/web:1", "port": "99", "toolchain": "sim", "all": "b"}
    assert "  - web\n" in rendered["shop/templates/NOTES.txt"]
    assert any("charts/db/templates/workload.yaml" in path for path in rendered)


def test_a_chart_of_ones_own_may_hold_the_templates_of_ours(tmp_path: Path) -> None:
    ours = render_chart(ChartPlan("shop", "0", (service(own_chart=None),)))
    copied = {path.removeprefix("charts/web/"): ours[path] for path in ours if path.startswith("charts/web/")}
    chart = read_own_chart(copied, "mine", NAMES.get)
    folder = write(tmp_path, render_chart(ChartPlan("shop", "0", (service(name="api", own_chart=chart),))))
    names = {
        item["metadata"]["name"]
        for path, text in render(folder).items()
        if path.endswith(".yaml") and "/templates/tests/" not in path
        for item in YAML(typ="safe").load_all(text)
        if item
    }
    assert names == {"demo-api"}


@pytest.mark.parametrize("extra", [{"scone": {"toolchain": "scone"}}, {"scone": None}, {"scone": {"toolchain": None}}])
def test_no_value_hides_a_simulation_of_a_chart_of_ones_own(extra: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        render_chart(ChartPlan("shop", "0", (service(extra_values=extra),)))


@pytest.mark.parametrize(
    "text", ["name: x\n", "a: {{ .Values.x }}\n", '{{ fail "rendered" }}\n---\nkind: x\n', "é\u2028"]
)
def test_sessions_are_data_for_helm(tmp_path: Path, text: str) -> None:
    signed = SignedSession(text, (Signature("KEY", b"\x00\xff"),))
    resources = {name: policy_resource(f"shop/{name}", "cas.example.org:99", signed) for name in ("b", "a")}
    files = {**render_chart(ChartPlan("shop", "0", ())), **chart_policies(resources)}
    found = [
        item
        for item in YAML(typ="safe").load_all(render(write(tmp_path, files))["shop/templates/policies.yaml"])
        if item
    ]
    assert [item["metadata"]["name"] for item in found] == ["shop-a", "shop-b"]
    weights = {item["metadata"]["name"]: item["metadata"]["annotations"]["helm.sh/hook-weight"] for item in found}
    assert weights == {"shop-b": "0", "shop-a": "1"}
    for item in found:
        assert item["spec"] == {
            "casAddress": "https://cas.example.org:99",
            "policy": text,
            "signatures": [{"signer": "KEY", "signature": "AP8="}],
        }


def test_an_encrypted_session_as_a_resource() -> None:
    found = policy_resource("shop/web", "cas", EncryptedSession(b"\x00", "ab" * 32))
    assert found["spec"] == {"casAddress": "https://cas:8081", "policy": "AA==", "encryptionKey": "ab" * 32}
    assert chart_policies({}) == {}


def test_names_of_resources() -> None:
    assert resource_name("Acme/My_shop.1~x") == "acme-my-shop-1-x"
    names = {resource_name("a" * 300 + end) for end in "bc"}
    assert len(names) == 2 and all(len(name) <= 253 for name in names)
