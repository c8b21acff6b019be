"""What else follows from a mesh: sessions, attestation, the chart's facts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.builders import MEASUREMENT, compiled, facts, mesh_text, read_mesh, session

from sconectl.apply.mesh import check_sessions
from sconectl.errors import PlanImpossible
from sconectl.plan.availability import require_available
from sconectl.plan.mesh import FSPF_SECRET, IMAGE_KEY_SECRET, image_cas, main_cas


def changed(old: str, new: str, services: tuple[str, ...] = ("web",)) -> str:
    text = mesh_text(services)
    assert old in text
    return text.replace(old, new)


def refused(text: str, *images: Any) -> list[tuple[str, str, int, str, str]]:
    with pytest.raises(PlanImpossible) as caught:
        compiled(*(images or (facts(),)), text=text)
    return [(f.code, f.path, f.position.line, f.message, f.hint) for f in caught.value.findings]


def test_the_namespace_comes_first_and_services_keep_their_order() -> None:
    plan = compiled(facts("web"), facts("db"), facts("app"))
    assert [s.name for s in plan.sessions] == ["shop", "shop/web", "shop/db", "shop/app"]
    assert [s.file for s in plan.sessions] == ["namespace", "web", "db", "app"]
    check_sessions(plan)


def test_a_session_names_only_its_measurement_and_creator() -> None:
    document = session(compiled(facts()), "web")
    assert document["access_policy"] == {"read": ["CREATOR"], "update": ["CREATOR"]}
    assert document["services"][0]["attestation"] == [{"mrenclave": [MEASUREMENT]}]
    assert document["security"]["attestation"] == {"mode": "hardware"}


def test_tolerated_and_ignored() -> None:
    policy = 'namespace: shop\n  tolerate: "outdated-tcb, hyperthreading,"\n  ignore_advisories: "{}"'
    for given, expected in (("*", "*"), ("INTEL-SA-00001,INTEL-SA-00002", ["INTEL-SA-00001", "INTEL-SA-00002"])):
        document = session(compiled(facts(), text=changed("namespace: shop", policy.format(given))), "web")
        assert document["security"]["attestation"] == {
            "mode": "hardware",
            "tolerate": ["outdated-tcb", "hyperthreading"],
            "ignore_advisories": expected,
        }


def test_debug_images_are_tolerated_only_where_they_are_used() -> None:
    image = facts("web")
    debug = image.model_copy(update={"parameters": {**image.parameters, "mode": "debug"}})
    plan = compiled(debug, facts("db"))
    assert session(plan, "web")["security"]["attestation"]["tolerate"] == ["debug-mode"]
    assert "tolerate" not in session(plan, "db")["security"]["attestation"]


def test_encrypted_files_import_their_key_from_the_image_session() -> None:
    image = facts(dirs=["/app/data"])
    plan = compiled(image)
    document = session(plan, "web")
    assert document["services"][0]["fspf_key"] == f"$$SCONE::{FSPF_SECRET}$$"
    assert document["secrets"] == [
        {
            "name": FSPF_SECRET,
            "kind": "binary",
            "import": {"session": image.image_session, "secret": IMAGE_KEY_SECRET},
        }
    ]
    assert [(share.facts, share.session) for share in plan.shares] == [(image, "shop/web")]
    check_sessions(plan)


def test_faults_of_the_wiring_carry_code_place_and_hint() -> None:
    text = changed("env: []", "env:\n  - {service: wob, env: []}\n  - {service: global}", ("web", "web"))
    found = refused(text)
    assert [(code, path, line) for code, path, line, _, _ in found] == [
        ("SC2003", "env[0].service", 9),
        ("SC2002", "services[1].name", 14),
    ]
    assert found[0][4] == "did you mean web?"


@pytest.mark.parametrize("name", ["global", "helm", "namespace"])
def test_names_that_would_be_mixed_up_are_refused(name: str) -> None:
    assert [(code, path) for code, path, *_ in refused(mesh_text([name]), facts(name))] == [
        ("SC2002", "services[0].name")
    ]


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", "1.5", "99999999999999999999"])
def test_a_port_that_is_none(port: str) -> None:
    with pytest.raises(PlanImpossible) as caught:
        compiled(facts(), env={"global": {"APP_SERVICE_PORT": port}})
    (finding,) = caught.value.findings
    assert finding.code == "SC2007" and finding.path.startswith("env[0].env[")
    assert "from 1 to 65535" in finding.message


def test_the_chart_knows_where_but_not_what() -> None:
    image = facts(environment={"local": [{"name": "SCONE_LOG", "value": " INFO "}, {"name": "P", "value": "hunter2"}]})
    env = {"global": {"APP_SERVICE_PORT": " 443 ", "imagePullSecrets": "regcred"}}
    (service,) = compiled(image, env=env).chart.services
    assert service.config_id == "shop/web/python3"
    assert service.cas_address == "cas.example.org"
    assert (service.port, service.pull_secret, service.log_level) == (443, "regcred", "info")
    assert "hunter2" not in repr(service)


def test_roles_of_cas() -> None:
    mesh, _ = read_mesh(
        changed(
            "- name: cas\n    cas_url: cas.example.org",
            "- {name: image, cas_url: a}\n  - {name: x, alias: [cas], cas_url: b}",
        )
    )
    assert main_cas(mesh).cas_url == "b"
    assert image_cas(mesh).cas_url == "a"
    mesh, _ = read_mesh(mesh_text())
    assert image_cas(mesh) == main_cas(mesh)


def test_without_upload() -> None:
    assert compiled(facts()).upload
    assert not compiled(facts(), text=changed("cas.example.org", "cas.example.org\n    mode: NoUpload")).upload


def test_everything_that_is_not_available_yet_is_refused_together() -> None:
    text = changed(
        "namespace: shop",
        "namespace: shop\n  maa: x\n  access_policy_name: x\nrepo: {destination: x}\nhelm_extra_values: {a: {}}",
    ).replace("cas_url: cas.example.org", "cas_url: cas.example.org\n    mode: SignedManifest")
    text = text.replace("    image:", "    helm_chart: x\n    image:")
    mesh, manifest = read_mesh(text)
    with pytest.raises(PlanImpossible) as caught:
        require_available(mesh, manifest.document)
    assert {(f.code, f.path) for f in caught.value.findings} == {
        ("SC2001", path)
        for path in [
            *("cas[0].mode", "policy.maa", "policy.access_policy_name", "services[0].helm_chart"),
            *("helm_extra_values", "repo"),
        ]
    }
    require_available(*_parts(mesh_text()))


def _parts(text: str) -> Any:
    mesh, manifest = read_mesh(text)
    return mesh, manifest.document
