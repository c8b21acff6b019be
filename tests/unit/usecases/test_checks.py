"""What is said about valid manifests offline: all of it, nothing raised, nothing that may be untrue."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from fakes.builders import SIM, mesh_text, service_text

from sconectl.cli.wiring import toolchains_of
from sconectl.manifest.reading.reader import Manifest, read_manifest
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.text.findings import Finding
from sconectl.usecases.check_mesh import check_mesh
from sconectl.usecases.check_service import ServiceCheck, check_service
from sconectl.usecases.terms import Terms


def read(text: str) -> Manifest:
    return read_manifest(text, "file.yaml", {})


def service(text: str, mode: str = "production") -> ServiceCheck:
    return check_service(read(text), mode=mode, bases={}, toolchain=SIM)


def image(text: str, mode: str = "production") -> ImageFacts:
    facts = service(text, mode).facts
    assert facts is not None
    return facts


def said(text: str, facts: Mapping[str, ImageFacts]) -> list[Finding]:
    terms = Terms("production", date(2026, 1, 1), lambda _flags: None, {}, toolchains_of(SIM.name), release="any")
    check = check_mesh(read(text), lambda _mesh, _document: facts, terms)
    return [*check.findings, *check.broken_rules()]


def about_mesh(text: str, facts: Mapping[str, ImageFacts]) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.code, finding.path) for finding in said(text, facts)]


def test_everything_about_a_service_is_said_at_once_and_in_order() -> None:
    text = service_text(
        dirs=["/"],
        gen_policy={"policy": "x"},
        environment={"local": [{"name": "SCONE_HEAP", "value": "much"}, {"name": "SCONE_STACK", "value": "9M"}]},
    )
    check = service(text)
    assert [(finding.severity, finding.code, finding.path) for finding in check.findings] == [
        ("error", "SC1004", "build.dirs[0]"),
        ("error", "SC1004", "environment.local[0].value"),
    ]
    assert [(finding.severity, finding.code, finding.path) for finding in check.limits] == [
        ("warning", "SC2001", "build.gen_policy")
    ]
    assert [finding.position for finding in check.findings] == sorted(finding.position for finding in check.findings)
    assert check.facts is None


def test_an_image_will_have_the_facts_of_its_manifest() -> None:
    facts = image(service_text(dirs=["/data"], environment={"global": [{"name": "A"}]}))
    assert [variable.name for variable in facts.environment.global_] == ["A"]
    assert facts.fspf is not None
    assert set(facts.measurement) == {"0"}
    assert image(service_text(), "debug").parameters["mode"] == "debug"


def test_missing_values_are_found_if_every_image_is_known() -> None:
    needs = image(service_text("web", environment={"global": [{"name": "NEEDED"}]}))
    plain = image(service_text("db"))
    both = mesh_text(["web", "db"])
    assert ("error", "SC2005") in {found[:2] for found in about_mesh(both, {"web": needs, "db": plain})}
    assert about_mesh(both, {"web": needs}) == []  # the image of db may have a default
    assert about_mesh(both, {}) == []


def test_names_are_checked_without_any_image() -> None:
    text = mesh_text(["web", "web"], env={"wbe": {"A": "x"}})
    assert [(severity, code) for severity, code, _ in about_mesh(text, {})] == [
        ("error", "SC2003"),
        ("error", "SC2002"),
    ]


def test_the_release_is_known_later() -> None:
    facts = {"web": image(service_text("web", environment={"local": [{"name": "A", "value": "{{release}}"}]}))}
    assert about_mesh(mesh_text(["web"]), facts) == []


def test_policies_that_would_break_a_rule_are_named_where_they_come_from() -> None:
    text = mesh_text(["web"]).replace("namespace: ", "namespace: ../")
    found = said(text, {"web": image(service_text("web"))})
    assert [(finding.code, finding.path) for finding in found] == [
        ("SC3014", "policy.namespace"),
        ("SC3014", "services[0]"),
    ]
    assert found[1].message.startswith("the policy of web would break a rule: ")
