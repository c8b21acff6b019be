"""`sconectl validate`: everything at once, offline, with exit code 3 for errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import SIM, mesh_text, service_text

from .conftest import Run

SERVICE = """\
apiVersion: scone/5.8
kind: genservice
build:
  name: web
  kind: python
  to: registry.example.org/web:1
  command: python3 app.py
  pwd: /app
  copy: [app.py]
environment:
  local:
  - name: GREETING
    value: hello {{NAME}}
  global:
  - name: NAME
  - name: APP_SERVICE_PORT
    value: "8080"
secrets:
  import: [db-password]
"""
DATABASE = """\
apiVersion: scone/5.8
kind: genservice
build: {name: db, kind: python, to: "registry.example.org/db:1", command: python3 db.py}
environment: {}
injection_files:
- {path: /secrets/password, content: $$SCONE::db-password$$}
secrets:
  global:
  - {name: db-password, kind: ascii, size: 20}
"""
MESH = """\
apiVersion: scone/5.8
kind: mesh
cas:
- {name: cas, alias: [image], cas_url: local}
policy: {namespace: shop}
env:
- service: global
  env:
  - {name: NAME, value: world}
services:
- {name: web, image: "registry.example.org/web:1"}
- {name: db, image: "registry.example.org/db:1"}
"""


@pytest.fixture
def manifests(project: Path) -> Path:
    (project / "web.yaml").write_text(SERVICE)
    (project / "db.yaml").write_text(DATABASE)
    (project / "mesh.yaml").write_text(MESH)
    return project


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def found(run: Run, *words: str) -> list[dict[str, Any]]:
    outcome = run("validate", *words, "--output", "json")
    findings = json.loads(outcome.out)["findings"]
    assert outcome.code == (3 if any(finding["severity"] == "error" for finding in findings) else 0)
    assert isinstance(findings, list)
    return findings


def places(findings: list[dict[str, Any]], *, severity: str = "error") -> list[tuple[Any, ...]]:
    keys = ("file", "code", "line", "column", "path")
    return [tuple(finding[key] for key in keys) for finding in findings if finding["severity"] == severity]


ALL = ("-f", "web.yaml", "-f", "mesh.yaml", "-f", "db.yaml")


def test_valid_manifests_are_said_to_be_valid(manifests: Path, run: Run) -> None:
    outcome = run("validate", *ALL)
    assert outcome.code == 0
    assert outcome.out == "3 manifests valid\n"
    assert outcome.err == ""


def test_nothing_is_written(manifests: Path, run: Run) -> None:
    before = sorted(manifests.rglob("*"))
    run("validate", *ALL)
    assert sorted(manifests.rglob("*")) == before


def test_findings_of_all_files_come_in_one_list_in_order(manifests: Path, run: Run) -> None:
    change(manifests / "web.yaml", "  kind: python\n", "  kind: pyton\n")
    change(manifests / "web.yaml", "  pwd: /app\n", "  pwd: /app\n  colour: red\n")
    change(manifests / "mesh.yaml", "kind: mesh", "kind: mehs")
    findings = found(run, *ALL)
    assert places(findings) == [
        ("mesh.yaml", findings[0]["code"], 2, 7, "kind"),
        ("web.yaml", findings[1]["code"], 5, 9, "build.kind"),
        ("web.yaml", findings[2]["code"], 9, 3, "build.colour"),
    ]
    assert findings[0]["hint"] == "did you mean mesh?"


def test_a_fault_is_shown_with_its_line(manifests: Path, run: Run) -> None:
    change(manifests / "web.yaml", "  kind: python\n", "  kind: pyton\n")
    outcome = run("validate", "-f", "web.yaml")
    assert outcome.code == 3
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert lines[0].startswith("web.yaml:5:9: error SC1")
    assert lines[1:3] == ["     5 |   kind: pyton", "       |         ^^^^^"]
    assert lines[-1] == "error: 1 error found"


def test_a_mesh_is_checked_together_with_its_services(manifests: Path, run: Run) -> None:
    change(manifests / "mesh.yaml", "{name: NAME, value: world}", "{name: OTHER, value: world}")
    change(manifests / "db.yaml", "{name: db-password, kind: ascii, size: 20}", "{name: password, kind: ascii}")
    change(manifests / "db.yaml", "$$SCONE::db-password$$", "$$SCONE::password$$")
    findings = [finding for finding in found(run, *ALL) if finding["severity"] == "error"]
    assert {finding["file"] for finding in findings} == {"mesh.yaml"}
    text = json.dumps(findings)
    assert "db-password" in text
    assert "NAME" in text


def test_images_are_known_by_their_full_names(manifests: Path, run: Run) -> None:
    change(manifests / "db.yaml", '"registry.example.org/db:1"', "registry.example.org/db")
    change(manifests / "mesh.yaml", '"registry.example.org/db:1"', "registry.example.org/db:latest")
    assert run("validate", *ALL).err.count("nothing is known") == 0


def test_a_service_of_which_nothing_is_known_is_named_and_gives_no_error(manifests: Path, run: Run) -> None:
    outcome = run("validate", "-f", "mesh.yaml", "-f", "web.yaml")
    assert outcome.code == 0
    assert "note: mesh.yaml: nothing is known of the image of service db" in outcome.err
    assert "SC2" not in outcome.err


def test_a_mesh_alone_is_checked_as_far_as_possible(manifests: Path, run: Run) -> None:
    change(manifests / "mesh.yaml", "service: global", "service: wbe")
    findings = found(run, "-f", "mesh.yaml")
    assert places(findings) == [("mesh.yaml", "SC2003", 7, 12, "env[0].service")]
    assert findings[0]["hint"] == "did you mean web?"


@pytest.mark.parametrize("option", [("--facts", "target/images"), ("-t", "target"), ()])
def test_facts_of_built_images_are_used(manifests: Path, run: Run, option: tuple[str, ...]) -> None:
    from sconectl.manifest.reading.reader import read_manifest
    from sconectl.plan.facts.image_facts import BuildRecord
    from sconectl.usecases.check_service import check_service

    (manifests / "target/images").mkdir(parents=True)
    for name, text in (("web", SERVICE), ("db", DATABASE)):
        facts = check_service(read_manifest(text, name, {}), mode="production", bases={}, toolchain=SIM).facts
        assert facts is not None
        record = BuildRecord(image_id="sha256:0", inputs="", facts=facts)
        (manifests / f"target/images/{name}.json").write_text(record.to_text())
    change(manifests / "mesh.yaml", "{name: NAME, value: world}", "{name: OTHER, value: world}")
    findings = found(run, "-f", "mesh.yaml", *option)
    assert {finding["code"] for finding in findings if finding["severity"] == "error"} >= {"SC2005"}
    assert "nothing is known" not in run("validate", "-f", "mesh.yaml", *option).err


def test_facts_that_cannot_be_read_are_an_error_only_if_they_were_asked_for(manifests: Path, run: Run) -> None:
    (manifests / "target/images").mkdir(parents=True)
    (manifests / "target/images/web.json").write_text("{}")
    outcome = run("validate", "-f", "mesh.yaml")
    assert outcome.code == 0
    assert "note: target/images/web.json does not hold the facts of an image" in outcome.err
    assert run("validate", "-f", "mesh.yaml", "--facts", "target/images").code == 2


def test_the_policies_that_would_be_written_are_checked(manifests: Path, run: Run) -> None:
    change(manifests / "web.yaml", "secrets:\n", "secrets:\n  global: [{name: cert, kind: x509}]\n")
    findings = found(run, *ALL)
    codes = {finding["code"] for finding in findings if finding["severity"] == "error"}
    assert codes
    assert codes <= {"SC3054", *(f"SC10{number:02}" for number in range(50))}


def test_the_release_need_not_be_known(manifests: Path, run: Run) -> None:
    change(manifests / "web.yaml", "hello {{NAME}}", "hello {{release}}{{NAME}}")
    assert run("validate", *ALL).code == 0
    assert run("validate", *ALL, "--release", "shop").code == 0


def test_variables_are_filled_in(manifests: Path, run: Run) -> None:
    change(manifests / "mesh.yaml", "cas_url: local", "cas_url: $CAS")
    (manifests / "values").write_text("CAS=local\n")
    assert places(found(run, *ALL)) == [("mesh.yaml", "SC1003", 4, 40, "cas[0].cas_url")]
    assert found(run, *ALL, "--set", "CAS=local") == []
    assert found(run, *ALL, "--env-file", "values") == []


def test_the_mode_counts(manifests: Path, run: Run) -> None:
    assert run("validate", *ALL, "--mode", "debug").code == 0
    assert run("validate", *ALL, "--mode", "fast").code == 2


def test_a_namespace_can_be_given(manifests: Path, run: Run) -> None:
    assert run("validate", *ALL, "--policy-namespace", "another").code == 0
    assert run("validate", *ALL, "--policy-namespace", "no such").code == 2


def test_unknown_tolerance_of_a_cas_is_found(manifests: Path, run: Run) -> None:
    change(manifests / "mesh.yaml", "cas_url: local}", "cas_url: local, tolerance: --no-such-flag}")
    assert [place[1] for place in places(found(run, *ALL))] == ["SC1007"]


def test_advice_is_given_and_waived(manifests: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    change(manifests / "mesh.yaml", "namespace: shop}", 'namespace: shop, ignore_advisories: "*"}')
    findings = found(run, *ALL)
    assert [finding["code"][:3] for finding in findings] == ["SC4"]
    waiver = f'# sconectl:allow {findings[0]["code"]} until=2030-01-01 reason="test"'
    change(manifests / "mesh.yaml", 'ignore_advisories: "*"}', f'ignore_advisories: "*"}}  {waiver}')
    assert found(run, *ALL) == []
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1900000000")
    assert places(found(run, *ALL))


def test_a_secret_that_only_a_claim_of_a_token_names_is_used_and_checked(manifests: Path, run: Run) -> None:
    change(manifests / "db.yaml", "$$SCONE::db-password$$", "$$SCONE::token$$")
    with (manifests / "db.yaml").open("a") as file:
        file.write("  - {name: key, kind: private-key, key_type: P-384}\n")
        file.write("  - name: token\n    kind: jwt\n    signer: key\n    alg: ES384\n    validity: {for: 1h}\n")
        file.write("    payload:\n      aud: $$SCONE::db-password$$\n")
    assert found(run, "-f", "db.yaml") == []
    change(manifests / "db.yaml", "aud: $$SCONE::db-password$$", "aud: $$SCONE::db-password:hex$$")
    assert [(place[1], place[4]) for place in places(found(run, "-f", "db.yaml"))] == [
        ("SC1006", "secrets.global[2].payload.aud")
    ]


def test_stdin_is_read(manifests: Path, run: Run) -> None:
    assert run("validate", "-f", "missing.yaml").code == 2
    assert run("validate", "-f", ".").code == 0


def test_an_unknown_form_is_refused(manifests: Path, run: Run) -> None:
    outcome = run("validate", *ALL, "--output", "xml")
    assert outcome.code == 2
    assert "sarif" in outcome.err


def test_no_value_of_a_secret_is_printed_whatever_is_wrong(manifests: Path, run: Run) -> None:
    secret = "hunter2-Zq9"
    change(manifests / "db.yaml", "size: 20}", f"size: many, value: {secret}, colour: {secret}}}")
    change(manifests / "web.yaml", "hello {{NAME}}", f"'{secret}'\n    vlaue: {secret}")
    change(manifests / "mesh.yaml", "value: world}", f"value: {secret}")
    for form in ("text", "json", "sarif"):
        outcome = run("validate", *ALL, "--output", form)
        assert outcome.code == 3
        assert secret not in outcome.out + outcome.err


def test_a_misspelt_secret_is_one_finding(run: Run, project: Path) -> None:
    secrets = {"global": [{"name": "token", "kind": "ascii"}]}
    local = [{"name": "TOKEN", "value": "$$SCONE::tokne$$"}]
    text = service_text("web", copy=["main.py"], secrets=secrets, environment={"local": local})
    (project / "web.yaml").write_text(text)
    (project / "mesh.yaml").write_text(mesh_text(["web"]))
    done = run("validate", "-f", "web.yaml", "-f", "mesh.yaml", "--output", "json")
    (finding,) = json.loads(done.out)["findings"]
    assert (finding["code"], finding["severity"], finding["hint"]) == ("SC1006", "error", "did you mean token?")
    assert done.code == 3
