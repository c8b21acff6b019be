"""A name has one value: what it is made from is filled in before it is used, and wherever it is used it is the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from fakes.builders import TOOLCHAINS, facts, mesh_text, read_mesh, session
from hypothesis import given
from hypothesis import strategies as st

from sconectl.errors import SconectlError
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.mesh.mesh import GivenFile, MeshInput, MeshPlan, ServiceFiles, plan_mesh
from sconectl.plan.values.names import MOST
from sconectl.plan.values.variables import mesh_rows, unused_values
from sconectl.text.yaml_tree import parse

NAMES = "ABCDE"
RAW = "{% raw %}{{A}}{% endraw %}"  # the text {{A}}, which is not looked at again
CHART = {
    "Chart.yaml": b"apiVersion: v2\nname: own\nversion: 0.1.0\n",
    "values.yaml.template": b'value: "<{{A}}>"\n',
}
FILES = ServiceFiles(
    policy=GivenFile("session.yaml", b'services: [{name: python3, environment: {TEMPLATE: "<{{A}}>"}}]'),
    secrets=GivenFile("secrets.yaml", b'- {name: of-file, kind: ascii, value: "<{{A}}>"}'),
    chart=CHART,
    chart_directory="chart",
)
TEXT = "<{{A}}>"
IMAGE: dict[str, Any] = {
    "command": f"python3 {TEXT} {{{{command}}}}",
    "environment": {
        "global": [{"name": "A"}, {"name": "DEFAULT", "value": TEXT}],
        "local": [{"name": "LOCAL", "value": TEXT}, {"name": "SCONE_LOG", "value": "{{LEVEL}}"}],
    },
    "injection_files": [{"path": "/file", "content": TEXT}],
    "secrets": {"global": [{"name": "secret", "kind": "ascii", "value": TEXT}, {"name": "of-file", "kind": "ascii"}]},
}


def plan(image: ImageFacts, env: Mapping[str, str], *, files: ServiceFiles = FILES, release: str = "r1") -> MeshPlan:
    mesh, manifest = read_mesh(mesh_text(["web"], env={"global": env}))
    known = {"web": image}
    return plan_mesh(
        MeshInput(mesh, manifest.document, known, {}, release, "0", files={"web": files}, toolchains=TOOLCHAINS)
    )


def everywhere(compiled: MeshPlan) -> dict[str, str]:
    """Return what has become of the value of A, by the place where it is used."""
    document: Any = session(compiled, "web")
    (service,) = document["services"]
    variables = service["environment"]
    secrets = {secret["name"]: secret["value"] for secret in document["secrets"]}
    own = compiled.chart.services[0].own_chart
    assert own is not None
    values: Any = parse(own.files["values.yaml"], "values.yaml").value
    return {
        **{name: variables[name] for name in ("DEFAULT", "LOCAL", "TEMPLATE")},
        "variable": f"<{variables['A']}>",
        "command": service["command"][1],
        "file": document["images"][0]["injection_files"][0]["content"],
        "secret": secrets["secret"],
        "secret of a file": secrets["of-file"],
        "chart": values["value"],
    }


PIECES = ["x", "-db", "{{release}}", "{{nothing | default(value='none')}}", "{{nothing | default(value='{{B}}')}}", RAW]


@st.composite
def values(draw: st.DrawFn) -> dict[str, str]:
    """Draw values that use those behind them, so that there is no circle."""
    found = {}
    for number, name in enumerate(NAMES):
        behind = NAMES[number + 1 :]
        pieces = [piece for piece in PIECES if "{{B}}" not in piece or name == "A"]
        pieces += [f"{{{{{other}}}}}" for other in behind]
        pieces += [f"{{{{ {other} | default(value='not used') }}}}" for other in behind]
        found[name] = "".join(draw(st.lists(st.sampled_from(pieces), min_size=1, max_size=4)))
    return found


def meant(name: str, given: Mapping[str, str]) -> str:
    """Return the value of a name, worked out one use at a time."""
    marked = given[name].replace(RAW, "\0").replace("{{release}}", "r1")
    marked = marked.replace("{{nothing | default(value='none')}}", "none")
    marked = marked.replace("{{nothing | default(value='{{B}}')}}", "{{B}}")
    filled = re.sub(r"\{\{ ?([A-E])[^}]*\}\}", lambda found: meant(found[1], given), marked)
    return filled.replace("\0", "{{A}}")


@given(values())
def test_a_value_is_the_same_in_every_place(given: dict[str, str]) -> None:
    found = everywhere(plan(facts(**IMAGE), {**given, "LEVEL": "info"}))
    assert found == dict.fromkeys(found, f"<{meant('A', given)}>")


def test_settings_of_the_chart() -> None:
    env = {"A": "x", "PORT": "80", "APP_SERVICE_PORT": "{{PORT}}8", "imagePullSecrets": "{{release}}-pull"}
    image = facts(**IMAGE)
    (service,) = plan(image, env | {"LEVEL": "{{WORD}}", "WORD": "Debug"}, files=ServiceFiles()).chart.services
    assert (service.ports[0].number, service.pull_secret, service.log_level) == (808, "r1-pull", "debug")


def test_a_command_that_is_made_from_names() -> None:
    image = facts(command="{{PROGRAM}} {{command}}")
    document: Any = session(plan(image, {"PROGRAM": "{{NAME}}3", "NAME": "python"}, files=ServiceFiles()), "web")
    assert document["services"][0]["command"] == ["python3", "python3"]


def faults(env: Mapping[str, str], *, release: str = "r1") -> list[tuple[str, str, str]]:
    with pytest.raises(SconectlError) as caught:
        plan(facts(**IMAGE), {"LEVEL": "info", **env}, files=ServiceFiles(), release=release)
    return [(finding.code, finding.path, finding.message) for finding in caught.value.findings]


@pytest.mark.parametrize(
    ("env", "circle"),
    [
        ({"A": "x{{A}}"}, "A → A"),
        ({"A": "{{B}}", "B": "{{C}}", "C": "{{B}}"}, "B → C → B"),
        ({"A": "{{no | default(value='{{B}}')}}", "B": "{{A}}"}, "A → B → A"),
    ],
)
def test_a_circle_is_said_once_and_where_it_begins(env: dict[str, str], circle: str) -> None:
    number = 1 + list(env).index(circle[0])
    message = f"the variable {circle[0]} of service web is made from itself: {circle}"
    assert faults(env) == [("SC2021", f"env[0].env[{number}].value", message)]


def test_a_name_without_a_value_inside_of_a_value_is_said_at_the_value() -> None:
    found = faults({"A": "{{B}}", "B": "{{release}}-{{gone}}"}, release="")
    assert [(code, path) for code, path, _ in found] == [("SC2006", "env[0].env[2].value")] * 2
    assert sorted(re.findall(r"uses \{\{(\w+)\}\}", " ".join(message for *_, message in found))) == ["gone", "release"]


def test_values_of_any_depth_and_no_value_of_any_length() -> None:
    steps = 3000
    long = {f"V{n}": f"{{{{V{n + 1}}}}}" for n in range(steps)} | {f"V{steps}": "end", "A": "{{V0}}"}
    assert everywhere(plan(facts(**IMAGE), long | {"LEVEL": "x"}))["file"] == "<end>"
    doubled = {f"V{n}": f"{{{{V{n + 1}}}}}" * 2 for n in range(64)} | {"V64": "x", "A": "{{V0}}"}
    (fault,) = {code for code, _, message in faults(doubled) if str(MOST) in message}
    assert fault == "SC2021"


def test_names_inside_of_values_are_asked_for() -> None:
    env = {"A": "{{B}}", "B": "{{C}}{{missing}}", "C": "c", "unused": "{{D}}", "D": "d"}
    mesh, _ = read_mesh(mesh_text(["web"], env={"global": env}))
    rows = mesh_rows(mesh, {"web": facts(environment={"global": [{"name": "A"}]})}, {"web": {}})
    assert [row.name for row in rows if row.missing] == ["missing"]
    assert [name for name, *_ in unused_values(mesh, rows)] == ["unused", "D"]


def test_text_that_a_variable_brings_into_a_value_is_no_template() -> None:
    text = mesh_text(["web"], env={"global": {"A": "{{B}}", "B": "$PASSWORD", "C": "no", "LEVEL": "x"}})
    manifest = read_manifest(text, "mesh.yaml", {"PASSWORD": "{{C}} {% raw %}"})
    assert manifest.model.kind == "mesh"
    given = MeshInput(
        manifest.model, manifest.document, {"web": facts(**IMAGE)}, {}, "r1", "0",
        files={"web": FILES}, toolchains=TOOLCHAINS,
    )  # fmt: skip
    found = everywhere(plan_mesh(given))
    assert found == dict.fromkeys(found, "<{{C}} {% raw %}>")
