"""What else follows from a mesh: sessions, attestation, the chart's facts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.builders import MEASUREMENT, TOOLCHAINS, compiled, environment, facts, mesh_text, read_mesh, session

from sconectl.errors import PlanImpossible
from sconectl.plan.mesh.availability import refuse, remarks, unavailable_in_mesh
from sconectl.plan.mesh.mesh import FSPF_SECRET, IMAGE_KEY_SECRET, MeshInput, image_cas, main_cas, plan_mesh
from sconectl.usecases.apply_mesh import check_sessions


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
    assert document["security"]["attestation"] == {"mode": "simulation"}


def test_tolerated_and_ignored() -> None:
    policy = 'namespace: shop\n  tolerate: "outdated-tcb, hyperthreading,"\n  ignore_advisories: "{}"'
    for given, expected in (("*", "*"), ("INTEL-SA-00001,INTEL-SA-00002", ["INTEL-SA-00001", "INTEL-SA-00002"])):
        document = session(compiled(facts(), text=changed("namespace: shop", policy.format(given))), "web")
        assert document["security"]["attestation"] == {
            "mode": "simulation",
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
    assert [(share.facts, share.sessions) for share in plan.shares] == [(image, ("shop/web",))]
    check_sessions(plan)


def test_services_of_one_image_share_its_key_at_once() -> None:
    web = facts(dirs=["/app/data"])
    plan = compiled(facts("db"), web, web.model_copy(update={"name": "copy"}))
    assert [(share.facts, share.sessions) for share in plan.shares] == [(web, ("shop/web", "shop/copy"))]


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
    assert (service.ports[0].number, service.pull_secret, service.log_level) == (443, "regcred", "info")
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


def test_everything_that_is_not_available_yet_is_planned_and_refused_together() -> None:
    text = changed(
        "namespace: shop",
        "namespace: shop\nrepo: {destination: registry.example.org/x, config_id: cosign/sign/cosign}",
    ).replace("cas_url: cas.example.org", "cas_url: cas.example.org\n    mode: SignOnline")
    mesh, manifest = read_mesh(text)
    with pytest.raises(PlanImpossible) as caught:
        refuse(unavailable_in_mesh(mesh, manifest.document))
    expected = {("SC2001", path) for path in ["cas[0].mode", "repo.config_id"]}
    assert {(f.code, f.path) for f in caught.value.findings} == expected
    assert all(finding.hint for finding in caught.value.findings)
    plan = compiled(facts(), text=text)
    assert {(f.severity, f.code, f.path) for f in plan.limits} == {("warning", *entry) for entry in expected}
    assert plan.repo is not None and plan.repo.destination == "registry.example.org/x"
    assert not plan.upload and not plan.signed
    mesh, manifest = read_mesh(mesh_text())
    refuse(unavailable_in_mesh(mesh, manifest.document))
    assert compiled(facts()).limits == ()


def test_images_that_are_not_copied_need_nothing() -> None:
    mesh, manifest = read_mesh(mesh_text() + "repo: {destination: registry.example.org/x, push: false}\n")
    refuse(unavailable_in_mesh(mesh, manifest.document))
    (remark,) = remarks(mesh, manifest.document)
    assert (remark.code, remark.path) == ("SC2010", "repo")


def test_what_the_images_cannot_do_when_they_run_is_planned_with_a_warning() -> None:
    image = facts(volumes=[{"name": "data", "path": "/data"}])
    plan = compiled(image, text=changed("namespace: shop", "namespace: shop\n  maa: https://x.attest.azure.net"))
    assert [(f.severity, f.code, f.path) for f in plan.limits] == [
        ("warning", "SC2001", "policy.maa"),
    ]
    hardware = image.model_copy(update={"toolchain": "scone"})
    assert compiled(hardware).limits == ()


def test_azure_attests_instead_of_intel() -> None:
    url = "https://x.attest.azure.net"
    plan = compiled(
        facts(), text=changed("namespace: shop", f"namespace: shop\n  maa: {url}\n  tolerate: hyperthreading")
    )
    assert session(plan, "web")["security"]["attestation"] == {
        "mode": "maa",
        "url": url,
        "tolerate": ["hyperthreading", "maa-managed-tcb"],
    }
    check_sessions(plan)


def test_words_that_attestation_does_not_know() -> None:
    policy = (
        'namespace: shop\n  tolerate: "hyperthreding, outdated-tcb"\n  ignore_advisories: INTEL-SA-1, INTEL-SA-00615'
    )
    found = refused(changed("namespace: shop", policy))
    assert [(code, path, line) for code, path, line, _, _ in found] == [
        ("SC2013", "policy.tolerate", 8),
        ("SC2013", "policy.ignore_advisories", 9),
    ]
    assert found[0][4] == "did you mean hyperthreading?"


# --- fragments of other sessions --------------------------------------------------------------------------------------


def test_fragments_are_imported_and_referred_to() -> None:
    policy = "namespace: shop\n  access_policy_name: security/policies/access\n  security_policy_name: security/top/all"
    plan = compiled(facts(), text=changed("namespace: shop", policy))
    document = session(plan, "web")
    assert document["access_policy"] == "$$SCONE::sconectl-access-policy$$"
    assert document["security"] == "$$SCONE::sconectl-security-policy$$"
    imports = {"access": ("security/policies", "access"), "security": ("security/top", "all")}
    assert document["secrets"] == [
        {
            "name": f"sconectl-{role}-policy",
            "kind": "config-fragment",
            "import": {"session": source, "secret": secret},
        }
        for role, (source, secret) in imports.items()
    ]
    check_sessions(plan)


def test_a_fragment_of_the_attestation_stands_below_security() -> None:
    policy = "namespace: shop\n  attestation_policy_name: security/attestation\n  tolerate: hyperthreading"
    text = changed("namespace: shop", policy)
    plan = compiled(facts(), text=text)
    assert session(plan, "web")["security"] == {"attestation": "$$SCONE::sconectl-attestation-policy$$"}
    check_sessions(plan)
    mesh, manifest = read_mesh(text)
    (remark,) = remarks(mesh, manifest.document)
    assert (remark.code, remark.path) == ("SC2010", "policy.tolerate")


def test_a_fragment_in_another_cas_is_named_with_its_key() -> None:
    other = "cas_url: cas.example.org\n  - {name: access, cas_url: 'https://other.example.org:1', cas_key: KEY}"
    text = changed("namespace: shop", "namespace: shop\n  access_policy_name: a/b").replace(
        "cas_url: cas.example.org", other
    )
    (secret,) = session(compiled(facts(), text=text), "web")["secrets"]
    assert secret["import"] == {
        "session": "a",
        "secret": "b",
        "cas_url": "other.example.org:1",
        "cas_key": "KEY",
    }
    found = refused(text.replace(", cas_key: KEY", ""))
    assert [(code, path) for code, path, *_ in found] == [("SC2014", "cas[1]")]


def test_fragments_that_name_nothing() -> None:
    policy = "namespace: shop\n  access_policy_name: alone\n  security_policy_name: a/b\n  attestation_policy_name: c/d"
    found = refused(changed("namespace: shop", policy))
    assert [(code, path) for code, path, *_ in found] == [("SC2014", "policy.access_policy_name")]


def test_the_fragment_of_the_whole_section_holds_the_attestation() -> None:
    text = changed("namespace: shop", "namespace: shop\n  security_policy_name: a/b\n  attestation_policy_name: c/d")
    document = session(compiled(facts(), text=text), "web")
    assert document["security"] == "$$SCONE::sconectl-security-policy$$"
    assert [secret["import"] for secret in document["secrets"]] == [{"session": "a", "secret": "b"}]
    mesh, manifest = read_mesh(text)
    [remark] = remarks(mesh, manifest.document)
    assert (remark.code, remark.path) == ("SC2010", "policy.attestation_policy_name")


# --- upload modes -----------------------------------------------------------------------------------------------------


def in_mode(mode: str, key: str = "") -> str:
    more = f"\n    cas_encryption_key: {key}" if key else ""
    return changed("cas.example.org", f"cas.example.org\n    mode: {mode}{more}")


@pytest.mark.parametrize(
    ("mode", "upload", "signed", "installed"),
    [
        ("Upload", True, False, False),
        ("NoUpload", False, False, False),
        ("SignedManifest", False, True, True),
        ("EncryptedManifest", False, True, True),
        ("EncryptedOnly", False, True, False),
    ],
)
def test_modes(mode: str, upload: bool, signed: bool, installed: bool) -> None:
    plan = compiled(facts(), text=in_mode(mode))
    assert (plan.mode, plan.upload, plan.signed, plan.installed) == (mode, upload, signed, installed)
    reader = "NONE" if signed else "CREATOR"
    assert [entry.document["access_policy"]["read"] for entry in plan.sessions] == [[reader]] * 2
    check_sessions(plan)


def test_a_signed_session_holds_no_secret() -> None:
    secrets = {
        "global": [
            {"name": "given", "kind": "ascii", "value": "hunter2"},
            {"name": "made", "kind": "ascii"},
            {"name": "open", "kind": "config-fragment", "value": "x"},
        ]
    }
    image = facts(secrets=secrets)
    (found,) = refused(in_mode("SignedManifest"), image)
    assert (found[0], found[1]) == ("SC2017", "cas[0].mode")
    assert "value of given" in found[3] and "made" not in found[3] and "hunter2" not in str(found)
    assert compiled(image, text=in_mode("EncryptedManifest", "ab" * 32)).signed


def test_an_encryption_key_that_is_none_or_unused() -> None:
    (found,) = refused(in_mode("EncryptedManifest", "abc"))
    assert (found[0], found[1]) == ("SC2017", "cas[0].cas_encryption_key")
    mesh, manifest = read_mesh(in_mode("Upload", "ab" * 32))
    assert [(f.code, f.path) for f in remarks(mesh, manifest.document)] == [("SC2010", "cas[0].cas_encryption_key")]
    mesh, manifest = read_mesh(in_mode("SignedManifest"))
    assert [(f.code, f.path) for f in remarks(mesh, manifest.document)] == [("SC2019", "cas[0].mode")]


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_that_are_one_in_the_chart() -> None:
    text = changed("name: web", "name: Maria_DB", ("web", "db")).replace("name: db", "name: maria-db")
    images = {name: facts(name) for name in ("web", "db")}
    mesh, manifest = read_mesh(text)
    known = {"Maria_DB": images["web"], "maria-db": images["db"]}
    with pytest.raises(PlanImpossible) as caught:
        plan_mesh(MeshInput(mesh, manifest.document, known, {}, "", "0", toolchains=TOOLCHAINS))
    (finding,) = caught.value.findings
    assert (finding.code, finding.path) == ("SC2002", "services[1].name")
    assert "Maria_DB" in finding.message


def test_a_name_with_other_letters_becomes_a_label_in_the_chart_only() -> None:
    text = changed("name: web", "name: maria_DB")
    mesh, manifest = read_mesh(text)
    plan = plan_mesh(MeshInput(mesh, manifest.document, {"maria_DB": facts()}, {}, "", "0", toolchains=TOOLCHAINS))
    assert plan.sessions[1].name == "shop/maria_DB"
    assert plan.chart.services[0].name == "maria-db"
    assert plan.chart.services[0].config_id == "shop/maria_DB/python3"


def test_a_missing_variable_names_what_the_mesh_gives_instead() -> None:
    image = facts(environment={"global": [{"name": "API_USER"}, {"name": "OTHER", "value": "x"}]})
    with pytest.raises(PlanImpossible) as caught:
        compiled(image, env={"global": {"API_USR": "me"}})
    (finding,) = caught.value.findings
    assert finding.code == "SC2005" and "did you mean API_USR?" in finding.hint


def test_a_name_without_a_value_stands_where_it_is_written() -> None:
    image = facts(environment={"global": [{"name": "URL"}]})
    with pytest.raises(PlanImpossible) as caught:
        compiled(image, env={"global": {"HOST": "h"}, "web": {"URL": "https://{{HOTS}}/"}})
    (finding,) = caught.value.findings
    assert (finding.code, finding.path) == ("SC2006", "env[1].env[0].value")
    assert finding.hint == "did you mean HOST?"


def test_later_sections_override_earlier_ones() -> None:
    text = changed(
        "env: []",
        """env:
  - {service: web, env: [{name: X, value: first}]}
  - {service: global, env: [{name: X, value: shared}]}
  - {service: web, env: [{name: X, value: second}]}""",
    )
    image = facts(environment={"global": [{"name": "X"}]})
    assert environment(compiled(image, text=text), "web")["X"] == "second"
