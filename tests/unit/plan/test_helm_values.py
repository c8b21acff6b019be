"""`helm_extra_values`: whose they are, which types they have, and what the chart does not know."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.builders import TOOLCHAINS, facts, mesh_text, read_mesh

from sconectl.artefacts.chart import render_chart
from sconectl.errors import PlanImpossible
from sconectl.plan.mesh.mesh import MeshInput, MeshPlan, plan_mesh
from sconectl.plan.values.scalars import typed

WEB, DB = facts("web"), facts("db").model_copy(update={"name": "mariadb-scone"})


def plan(extra: str, service: str = "") -> MeshPlan:
    text = mesh_text(["web", "db"]) + extra
    if service:
        image = '    image: "registry.example.org/db:1"'
        text = text.replace(image, f"{image}\n{service}")
    mesh, manifest = read_mesh(text)
    return plan_mesh(MeshInput(mesh, manifest.document, {"web": WEB, "db": DB}, {}, "", "0", toolchains=TOOLCHAINS))


def values(extra: str, service: str = "") -> dict[str, Any]:
    chart = plan(extra, service).chart
    render_chart(chart)
    return {entry.name: dict(entry.extra_values) for entry in chart.services}


def faults(extra: str, service: str = "") -> list[tuple[str, str, int, str, str]]:
    with pytest.raises(PlanImpossible) as caught:
        plan(extra, service)
    return [(f.code, f.path, f.position.line, f.message, f.hint) for f in caught.value.findings]


@pytest.mark.parametrize("key", ["db", "mariadb-scone", "db-scone"])
def test_a_key_is_a_service_or_its_chart(key: str) -> None:
    assert values(f"helm_extra_values: {{{key}: {{replicaCount: 2}}}}\n") == {"web": {}, "db": {"replicaCount": 2}}


def test_a_chart_of_two_services_is_both() -> None:
    mesh, manifest = read_mesh(mesh_text(["a", "b"]) + "helm_extra_values: {web: {replicaCount: 3}}\n")
    both = plan_mesh(
        MeshInput(mesh, manifest.document, {"a": WEB, "b": WEB}, {}, "", "0", toolchains=TOOLCHAINS)
    ).chart.services
    assert [entry.extra_values for entry in both] == [{"replicaCount": 3}] * 2


def test_a_text_is_the_same_as_a_mapping() -> None:
    mapping = 'helm_extra_values:\n  web: {replicaCount: 2, podAnnotations: {a: "2"}}\n'
    text = 'helm_extra_values: |\n  web: {replicaCount: 2, podAnnotations: {a: "2"}}\n'
    assert values(mapping) == values(text) == {"web": {"replicaCount": 2, "podAnnotations": {"a": "2"}}, "db": {}}


def test_values_of_a_service_win_and_are_merged() -> None:
    extra = "helm_extra_values: {db: {replicaCount: 2, service: {type: NodePort, nodePort: 30000}}}\n"
    own = "    helm_extra_values: {replicaCount: 3, service: {nodePort: null}}"
    assert values(extra, own)["db"] == {"replicaCount": 3, "service": {"type": "NodePort", "nodePort": None}}


def test_values_for_all_services_go_into_the_umbrella() -> None:
    chart = plan("helm_extra_values: {global: {imagePullSecrets: [{name: all}]}}\n").chart
    text = render_chart(chart)["values.yaml"].decode()
    assert "global:\n  imagePullSecrets:\n    - name: all\n" in text


def test_values_for_all_services_that_no_chart_reads() -> None:
    found = faults("helm_extra_values: {global: {replicaCount: 7, imagePullSecrets: regcred}}\n")
    assert [(code, path, message) for code, path, _, message, _ in found] == [
        (
            "SC2012",
            "helm_extra_values.global.replicaCount",
            "no chart of this mesh reads this value, so that it would have no effect",
        ),
        ("SC2012", "helm_extra_values.global.imagePullSecrets", "expected a list of {name: …}"),
    ]


def test_upstream_values_of_a_database() -> None:
    extra = """
helm_extra_values:
  mariadb-scone:
    persistence:
      enabled: true
      existingClaim: maria-data-pvc
      size: 1Gi
      mountPath: /var/lib/mysql
      accessModes:
        - ReadWriteOnce
    extraVolumes:
      - name: external
        persistentVolumeClaim:
          claimName: maria-external-pvc
"""
    found = values(extra)["db"]
    assert found["persistence"]["enabled"] is True
    assert found["persistence"]["size"] == "1Gi"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("true", True), ("False", False), ("0", 0), ("-12", -12), ("1.5", 1.5), ("0760", "0760"), ("1e3", "1e3")),
        *(("yes", "yes"), ("0x1f", "0x1f"), ("1Gi", "1Gi"), ("", ""), ("9" * 30, "9" * 30), ("1_000", "1_000")),
    ],
)
def test_text_without_quotes_has_a_type_where_all_readers_agree(text: str, value: object) -> None:
    found = typed(text)
    assert (found, type(found)) == (value, type(value))


def test_names_of_nobody() -> None:
    (found,) = faults("helm_extra_values:\n  wbe: {replicaCount: 2}\n")
    assert found[:3] == ("SC2011", "helm_extra_values.wbe", 15)
    assert found[4] == "did you mean web?"


def test_values_that_the_chart_does_not_know_stand_where_they_are_written() -> None:
    extra = """helm_extra_values:
  web:
    replicas: 2
    egress: {enabled: true}
    service: {type: clusterip, port: 99999}
    resources: text
    replicaCount: "2"
    podAnnotations: {a: 1}
    memory: {sizeLimit: lots}
    persistence: {enabled: yes}
    extraEnv: [{value: x}, {name: PASSWORD}, {name: SCONE_LOG}]
    scone: null
"""
    found = faults(extra)
    assert {code for code, *_ in found} == {"SC2012"}
    assert [(path.removeprefix("helm_extra_values.web."), line) for _, path, line, *_ in found] == [
        ("replicas", 16),
        ("egress", 17),
        ("service.type", 18),
        ("service.port", 18),
        ("resources", 19),
        ("replicaCount", 20),
        ("podAnnotations.a", 21),
        ("memory.sizeLimit", 22),
        ("persistence.enabled", 23),
        ("extraEnv[0]", 24),
        ("extraEnv[1].name", 24),
        ("extraEnv[2].name", 24),
        ("scone", 25),
    ]
    hints = {path.rpartition(".")[2]: hint for _, path, _, _, hint in found}
    assert hints["replicas"] == "did you mean replicaCount?"
    assert hints["egress"] == "did you mean ingress?"


def test_faults_in_a_text_are_said_of_the_field() -> None:
    (found,) = faults("helm_extra_values: |\n  web:\n    replicas: 2\n")
    assert found[:2] == ("SC2012", "helm_extra_values.web.replicas")


def test_sections_that_are_no_mappings() -> None:
    found = faults("helm_extra_values: {web: 3, db: [a]}\n")
    assert [entry[:2] for entry in found] == [("SC2012", f"helm_extra_values.{name}") for name in ("web", "db")]
    assert values("helm_extra_values: {web: null}\n") == {"web": {}, "db": {}}
