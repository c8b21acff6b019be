"""Files that a mesh names beside its images: session templates, variables, secrets and charts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from fakes.builders import MEASUREMENT, TOOLCHAINS, environment, facts, mesh_text, read_mesh, session

from sconectl.errors import InvalidInput, SconectlError
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.mesh.mesh import GivenFile, MeshInput, MeshPlan, ServiceFiles, plan_mesh
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import parse
from sconectl.usecases.apply_mesh import check_sessions

ENV = {"global": {"WHO": "you: {a}", "PORT": "8080"}}


def plan(files: ServiceFiles, *images: ImageFacts, env: Mapping[str, Mapping[str, str]] = ENV) -> MeshPlan:
    known = {image.name: image for image in images or (facts(),)}
    mesh, manifest = read_mesh(mesh_text(list(known), env=env))
    return plan_mesh(
        MeshInput(mesh, manifest.document, known, {}, "rel", "0", files={"web": files}, toolchains=TOOLCHAINS)
    )


def policy(text: str) -> ServiceFiles:
    return ServiceFiles(policy=GivenFile("session.yaml", text.encode()))


def refused(files: ServiceFiles, *images: ImageFacts) -> tuple[Finding, ...]:
    with pytest.raises(SconectlError) as caught:
        plan(files, *images)
    return caught.value.findings


# --- image_policy ---------------------------------------------------------------------------------------------------


def test_a_template_is_laid_over_the_session() -> None:
    text = """
name: {{session}}
services:
  - name: {{cas_service_name}}
    environment: {WHO: "{{WHO}}", NUMBER: 1}
    pwd: /elsewhere
  - {name: second, image_name: web, command: [true], attestation: [{mrenclave: ["{{mrenclave}}"]}]}
security:
  singleton_enclaves: true
access_policy:
  read: [ANY]
secrets:
  - {name: more, kind: ascii, size: 30}
"""
    document = session(plan(policy(text)), "web")
    first, second = document["services"]
    assert first["environment"] == {"PATH": "/usr/bin", "WHO": "you: {a}", "NUMBER": "1"}
    assert first["attestation"] == second["attestation"] == [{"mrenclave": [MEASUREMENT]}]
    assert (first["pwd"], first["command"]) == ("/elsewhere", ["python3", "main.py"])
    assert document["security"] == {"attestation": {"mode": "simulation"}, "singleton_enclaves": True}
    assert document["access_policy"] == {"read": ["ANY"], "update": ["CREATOR"]}
    assert document["secrets"] == [{"name": "more", "kind": "ascii", "size": 30}]
    check_sessions(plan(policy(text)))


DATA = {"name": "data", "path": "/data"}


def test_a_template_may_say_more_about_volumes() -> None:
    text = """
images: [{name: web, volumes: [{name: data, update_policy: no_rollback_protection}]}]
volumes: [{name: data, files: authenticated-only, export: {session: shop/other}}, {name: unused}]
"""
    document = session(plan(policy(text), facts(volumes=[DATA])), "web")
    assert document["images"][0]["volumes"] == [{**DATA, "update_policy": "no_rollback_protection"}]
    assert document["volumes"][0] == {
        "name": "data", "files": "authenticated-only", "export": {"session": "shop/other"},
    }  # fmt: skip
    check_sessions(plan(policy(text), facts(volumes=[DATA])))


@pytest.mark.parametrize(
    ("mount", "message", "hint"),
    [
        ("{name: other, path: /other}", "the volume other at /other", "name it in build.volumes of its manifest"),
        ("{name: data, path: /moved}", "the volume data at /moved", "its path in the image is /data"),
    ],
)
def test_a_template_mounts_what_the_image_was_built_for(mount: str, message: str, hint: str) -> None:
    text = f"images: [{{name: web, volumes: [{mount}]}}]\nvolumes: [{{name: other}}]\n"
    [finding] = refused(policy(text), facts(volumes=[DATA]))
    assert (finding.code, finding.path, finding.hint) == ("SC2018", "services[0].image_policy", hint)
    assert message in finding.message
    same = "images: [{name: web, volumes: [{name: data, path: /data}]}, {name: second, volumes: [{name: x, path: /x}]}]"
    assert plan(policy(f"{same}\nvolumes: [{{name: x}}]"), facts(volumes=[DATA]))


@pytest.mark.parametrize(
    ("toolchain", "security", "expected"),
    [
        ("sim", "null", {"attestation": {"mode": "simulation"}}),
        ("sim", "{attestation: null}", {"attestation": {"mode": "simulation"}}),
        ("sim", "{attestation: {mode: null}}", {"attestation": {"mode": "simulation"}}),
        ("sim", "{attestation: {mode: simulation}}", {"attestation": {"mode": "simulation"}}),
        ("sim", "{attestation: {mode: none}}", {"attestation": {"mode": "none"}}),
        ("sim", "$$SCONE::s$$", "$$SCONE::s$$"),
        ("sim", "{attestation: $$SCONE::s$$}", {"attestation": "$$SCONE::s$$"}),
        ("sim", "{attestation: {mode: $$SCONE::s$$}}", {"attestation": {"mode": "$$SCONE::s$$"}}),
        ("scone", "null", {"attestation": {"mode": "hardware"}}),
        ("scone", "{attestation: {tolerate: [x]}}", {"attestation": {"mode": "hardware", "tolerate": ["x"]}}),
    ],
)
def test_a_template_does_not_hide_how_an_image_is_protected(toolchain: str, security: str, expected: Any) -> None:
    image = facts().model_copy(update={"toolchain": toolchain})
    assert session(plan(policy(f"security: {security}"), image), "web")["security"] == expected


@pytest.mark.parametrize(("toolchain", "mode"), [("sim", "hardware"), ("scone", "simulation")])
def test_a_template_cannot_call_a_simulation_hardware(toolchain: str, mode: str) -> None:
    image = facts().model_copy(update={"toolchain": toolchain})
    [finding] = refused(policy(f"security:\n  attestation:\n    mode: {mode}\n"), image)
    assert (finding.code, finding.path, finding.position.line) == ("SC2015", "security.attestation.mode", 3)
    assert "leave mode out" in finding.hint


def test_a_template_may_remove_what_would_be_written() -> None:
    document = session(plan(policy("services: [{name: python3, pwd: null}]")), "web")
    assert "pwd" not in document["services"][0]


def test_a_secret_of_a_template_is_exported_to_who_imports_it() -> None:
    text = "secrets: [{name: token, size: 40}, {name: outside, kind: ascii, import: {session: far/away, secret: s}}]"
    image = facts("web", secrets={"global": [{"name": "token", "kind": "ascii"}]})
    importer = facts("db", secrets={"import": ["token"]})
    done = plan(policy(text + "\nservices: [{name: python3, environment: {T: $$SCONE::outside$$}}]"), image, importer)
    assert session(done, "web")["secrets"] == [
        {"name": "token", "kind": "ascii", "size": 40, "export": [{"session": "shop/db"}]},
        {"name": "outside", "kind": "ascii", "import": {"session": "far/away", "secret": "s"}},
    ]
    check_sessions(done)


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("- a", "", 1),
        ("a: {{gone}}", "a", 1),
        ("\nname: shop/other", "name", 2),
        ("predecessor: x", "predecessor", 1),
        ("services:\n  - {command: x}", "services[0]", 2),
        ("images: {name: x}", "images", 1),
        ("servces: []", "servces", 1),
        ("services: [", "", 2),
    ],
)
def test_a_template_that_cannot_be_used(text: str, path: str, line: int) -> None:
    found = refused(policy(text))
    assert [(f.path, f.position.file, f.position.line) for f in found] == [(path, "session.yaml", line)]
    assert found[0].code in ("SC1001", "SC2006", "SC2015")


def test_a_value_changes_no_structure() -> None:
    env = {"global": {"WHO": "x\n    export_public: true\nsecurity: {}"}}
    document = session(plan(policy("services: [{name: python3, environment: {A: {{WHO}}}}]"), env=env), "web")
    assert document["services"][0]["environment"]["A"] == env["global"]["WHO"]


def test_a_template_for_a_service_that_breaks_a_rule_is_refused() -> None:
    with pytest.raises(InvalidInput):
        check_sessions(plan(policy("services: [{name: python3, image_name: nobody}]")))


# --- env ------------------------------------------------------------------------------------------------------------


def variables(text: str) -> ServiceFiles:
    return ServiceFiles(variables=GivenFile("envs.yaml", text.encode()))


def test_other_variables_than_those_of_the_image() -> None:
    image = facts(environment={"global": [{"name": "OLD"}]})
    files = variables('- {name: WHO}\n- {name: NEW, value: "at-{{namespace}}"}\n')
    assert environment(plan(files, image), "web") == {"PATH": "/usr/bin", "WHO": "you: {a}", "NEW": "at-shop"}


def test_other_variables_may_lack_a_value_and_be_faulty() -> None:
    (missing,) = refused(variables("- name: GONE"))
    assert (missing.code, missing.path) == ("SC2005", "services[0]")
    found = refused(variables("- {name: A, valeu: hunter2}\n- {value: x}\n"))
    assert [(f.code, f.path, f.position.line) for f in found] == [("SC1002", "[0].valeu", 1), ("SC1002", "[1].name", 2)]
    assert "hunter2" not in str(found)


# --- image_secrets --------------------------------------------------------------------------------------------------


def test_secrets_of_a_file_win_and_are_added() -> None:
    image = facts(secrets={"global": [{"name": "password", "kind": "ascii", "value": "old"}]})
    text = b"- {name: password, kind: ascii, value: {{WHO}}}\n- {name: more, kind: binary}\n"
    document = session(plan(ServiceFiles(secrets=GivenFile("secrets.yaml", text)), image), "web")
    assert document["secrets"] == [
        {"name": "password", "kind": "ascii", "value": "you: {a}"},
        {"name": "more", "kind": "binary"},
    ]


def test_faults_of_several_files_are_said_together() -> None:
    files = ServiceFiles(
        policy=GivenFile("session.yaml", b"servces: []"), secrets=GivenFile("secrets.yaml", b"- {kind: ascii}")
    )
    found = refused(files)
    assert [f.position.file for f in found] == ["secrets.yaml", "session.yaml"]


# --- helm_chart -----------------------------------------------------------------------------------------------------

CHART = {
    "Chart.yaml": b"apiVersion: v2\nname: mine\nversion: 1.2.3\nannotations: {own: x}\n",
    "values.yaml.template": b'image: {{image_name}}\nport: {{PORT}}\nquoted: "{{PORT}}"\nwho: {{WHO}}\n',
    "templates/x.yaml": b"{{ .Values.port }} {{ x }}",
}


def own(files: Mapping[str, bytes]) -> ServiceFiles:
    return ServiceFiles(chart=files, chart_directory="mine")


def test_a_chart_of_ones_own_takes_its_values_from_the_mesh() -> None:
    (service,) = plan(own(CHART)).chart.services
    chart = service.own_chart
    assert chart is not None
    assert chart.head["version"] == "1.2.3"
    assert chart.files["templates/x.yaml"] == CHART["templates/x.yaml"]
    assert sorted(chart.files) == ["templates/x.yaml", "values.yaml"]
    text = chart.files["values.yaml"].decode()
    expected: dict[str, Any] = {
        "image": "registry.example.org/web:1",
        "port": "8080",
        "quoted": "8080",
        "who": "you: {a}",
    }
    document = parse(text, "values.yaml")
    assert document.value == expected
    assert (document.is_plain(("port",)), document.is_plain(("quoted",))) == (True, False)


@pytest.mark.parametrize(
    ("changes", "code", "file"),
    [
        ({"Chart.yaml": None}, "SC2016", "mine/Chart.yaml"),
        ({"Chart.yaml": b"name: x"}, "SC2016", "mine/Chart.yaml"),
        ({"Chart.yaml": b"apiVersion: v1\nname: x\nversion: 1.2.3"}, "SC2016", "mine/Chart.yaml"),
        ({"Chart.yaml": b"apiVersion: v2\nname: x\nversion: one"}, "SC2016", "mine/Chart.yaml"),
        ({"values.yaml.template": b"a: {{gone}}"}, "SC2006", "mine/values.yaml.template"),
        ({"values.yaml.template": b"a: '{% if x %}'"}, "SC2006", "mine/values.yaml.template"),
        ({"values.yaml.template": b"a: [", "Chart.yaml": CHART["Chart.yaml"]}, "SC1001", "mine/values.yaml.template"),
    ],
)
def test_charts_that_cannot_be_used(changes: dict[str, bytes | None], code: str, file: str) -> None:
    given = {path: content for path, content in {**CHART, **changes}.items() if content is not None}
    found = refused(own(given))
    assert {(f.code, f.position.file) for f in found} == {(code, file)}


# --- templates that an image brings ---------------------------------------------------------------------------------

TEMPLATES = {
    "Chart.yaml.template": b"""apiVersion: v1
name: {{chartname}}
version: 0.1.0
apiVersion: v2
appVersion: 1
appVersion: 1.6.7
""",
    "values.template": b"""image: {% raw %}{{image_name}}{% endraw %}
session: "{% raw %}{{session}}/{{cas_service_name}}{% endraw %}"
log: {{SCONE_LOG | default(value="error")}}
port: {{PYTHON_SERVICE_PORT | default(value="{{PORT}}")}}
wait: {enabled: {{INIT_CONTAINER2_ENABLE | default(value="false")}}, host: "{{INIT_CONTAINER2 | default(value="")}}"}
hostile: {{HOSTILE}}
""",
    "charts/templates/x.yaml": b"{{ .Values.port }}",
    "charts/.helmignore": b".git\n",
    "charts/values.yaml": b"stale: 1\n",
}


def with_locals(**values: str) -> ImageFacts:
    return facts(environment={"local": [{"name": name, "value": value} for name, value in values.items()]})


def test_a_folder_of_templates_as_upstream_has_it_is_a_chart() -> None:
    image = with_locals(SCONE_LOG="debug", HOSTILE="a: b\n- &x !!y {z}")
    (service,) = plan(own(TEMPLATES), image).chart.services
    chart = service.own_chart
    assert chart is not None
    assert (chart.head["apiVersion"], chart.head["appVersion"], chart.head["name"]) == ("v2", "1.6.7", "web")
    assert sorted(chart.files) == [".helmignore", "templates/x.yaml", "values.yaml"]
    assert parse(chart.files["values.yaml"].decode(), "values.yaml").value == {
        "image": "registry.example.org/web:1",
        "session": "shop/web/python3",
        "log": "debug",
        "port": "8080",
        "wait": {"enabled": "false", "host": ""},
        "hostile": "a: b\n- &x !!y {z}",
    }


def test_equal_keys_of_a_template_are_an_error_elsewhere() -> None:
    [found] = refused(own({**TEMPLATES, "values.template": b"a: 1\na: 2"}))
    assert (found.code, found.position.line) == ("SC1001", 2)
    [found] = refused(own({**TEMPLATES, "values.template": b"a: 1", "Chart.yaml.template": b"name: x\nname: {{gone}}"}))
    assert found.position.line == 2
