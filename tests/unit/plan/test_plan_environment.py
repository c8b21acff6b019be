"""Which value a variable has for a service: the table of precedence, missing ones, and `{{…}}`."""

from __future__ import annotations

import itertools
from time import process_time
from typing import Any

import pytest
from fakes.builders import compiled, environment, facts, mesh_text, read_mesh, session

from sconectl.errors import InvalidInput, PlanImpossible
from sconectl.plan.values.environment import MeshValues, unpasted

LAYERS = ("default", "global", "helm", "web")


def variables(*names: str, **defaults: str) -> dict[str, Any]:
    entries = [{"name": name} for name in names]
    return {"environment": {"global": [*entries, *({"name": n, "value": v} for n, v in defaults.items())]}}


def problems(*images: Any, **options: Any) -> list[tuple[str, str, str, str]]:
    with pytest.raises(PlanImpossible) as caught:
        compiled(*images, **options)
    assert caught.value.exit_code == 4
    return [(f.code, f.path, f.message, f.hint) for f in caught.value.findings]


@pytest.mark.parametrize("given", [c for n in range(1, 5) for c in itertools.combinations(LAYERS, n)])
def test_the_highest_layer_wins(given: tuple[str, ...]) -> None:
    image = facts(**(variables(X="default") if "default" in given else variables("X")))
    sections = [layer for layer in given if layer != "default"]
    for order in itertools.permutations(sections):
        plan = compiled(image, env={layer: {"X": layer} for layer in order})
        assert environment(plan, "web")["X"] == given[-1]


def test_later_sections_of_one_name_override_earlier_ones() -> None:
    text = """
        apiVersion: scone/5.8
        kind: mesh
        cas: [{cas_url: c}]
        policy: {namespace: shop}
        env:
          - {service: global, env: [{name: X, value: 1}, {name: Y, value: 1}]}
          - {service: web, env: [{name: Z, value: 1}]}
          - {service: global, env: [{name: X, value: 2}, {name: X, value: 3}]}
          - {service: web, env: [{name: Z, value: 2}]}
        services: [{name: web, image: "registry.example.org/web:1"}]
        """
    mesh, _ = read_mesh(text)
    assert len(mesh.env) == 4
    got = environment(compiled(facts(**variables("X", "Y", "Z")), text=text), "web")
    assert (got["X"], got["Y"], got["Z"]) == ("3", "1", "2")


def test_a_section_of_a_service_is_for_it_alone() -> None:
    web, db = facts("web", **variables(X="default")), facts("db", **variables(X="default"))
    plan = compiled(web, db, env={"web": {"X": "web"}})
    assert environment(plan, "web")["X"] == "web"
    assert environment(plan, "db")["X"] == "default"


def test_another_service_may_give_the_default_but_nothing_higher() -> None:
    web, db = facts("web", **variables("X")), facts("db", **variables(X="of db"))
    assert environment(compiled(web, db), "web")["X"] == "of db"
    assert environment(compiled(web, db, env={"global": {"X": "mesh"}}), "web")["X"] == "mesh"
    own = facts("web", **variables(X="own"))
    assert environment(compiled(own, db), "web")["X"] == "own"
    assert [p[0] for p in problems(web, facts("db"), env={"db": {"X": "for db"}})] == ["SC2005"]


def test_local_variables_are_never_overridden() -> None:
    section = {"local": [{"name": "X", "value": "fixed"}], "global": [{"name": "X", "value": "default"}]}
    plan = compiled(facts(environment=section), env={name: {"X": name} for name in ("global", "helm", "web")})
    assert environment(plan, "web")["X"] == "fixed"


def test_the_image_comes_below_everything() -> None:
    assert environment(compiled(facts()), "web")["PATH"] == "/usr/bin"
    plan = compiled(facts(**variables(PATH="/mine")))
    assert environment(plan, "web")["PATH"] == "/mine"


def test_only_declared_variables_reach_the_session() -> None:
    plan = compiled(facts(), env={"global": {"OTHER": "x"}})
    assert set(environment(plan, "web")) == {"PATH"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("|\n    a\n      b\n    c\n", "a\n  b\nc\n"),
        (" |\n   a\n\n   b", "a\n\nb\n"),
        (" |-\n   a\n\n", "a"),
        ("|+ \n   a\n\n", "a\n\n"),
        ("|\na\n", "|\na\n"),
        ("| a\n   b\n", "| a\n   b\n"),
        ("|", "|"),
        ("|\n", "|\n"),
        ("|\n   \n", "|\n   \n"),
        ("a |\n  b", "a |\n  b"),
        ("||\n  b", "||\n  b"),
    ],
)
def test_values_with_a_block_mark_of_their_own_lose_it(value: str, expected: str) -> None:
    """Upstream pastes values into YAML, so long ones in use begin with ` |` (spec: sqlInitScript)."""
    assert unpasted(value) == expected


def test_values_of_a_mesh_lose_their_block_mark() -> None:
    got = environment(compiled(facts(**variables("X")), env={"global": {"X": "|\n    a\n      b\n"}}), "web")
    assert got["X"] == "a\n  b\n"


def test_block_marks_in_a_service_manifest_are_text() -> None:
    assert environment(compiled(facts(**variables(X="|\n  a\n"))), "web")["X"] == "|\n  a\n"


def test_names_may_bring_a_default_along() -> None:
    local = [{"name": "A", "value": '{{x | default(value="{{namespace}}/1")}}'}]
    assert environment(compiled(facts(environment={"local": local})), "web")["A"] == "shop/1"
    assert environment(compiled(facts(environment={"local": local}), env={"global": {"x": "2"}}), "web")["A"] == "2"


def test_values_of_a_mesh_are_checked_where_they_stand() -> None:
    env = {"global": {"A": "{{ x | upper }}", "B": "$$SCONE::x", "C": "fine {{namespace}}"}, "web": {"D": "{% if %}"}}
    with pytest.raises(InvalidInput) as caught:
        compiled(facts(), env=env)
    assert [(finding.code, finding.path) for finding in caught.value.findings] == [
        ("SC1045", "env[0].env[0].value"),
        ("SC1006", "env[0].env[1].value"),
        ("SC1045", "env[1].env[0].value"),
    ]


def test_a_thousand_services_are_no_trouble() -> None:
    """Each service with variables of its own, whose defaults all others could take."""
    image = facts(**variables(**{f"v{n}": "1" for n in range(20)}))
    mesh, _ = read_mesh(mesh_text([f"s{n}" for n in range(1000)], env={"global": {"v0": "2"}}))
    before = process_time()
    values = MeshValues(mesh, {service.name: image for service in mesh.services})
    assert all(values.of(service.name)["v0"] == "2" for service in mesh.services)
    assert process_time() - before < 2


def test_an_empty_default_is_a_value() -> None:
    assert environment(compiled(facts(**variables(X=""))), "web")["X"] == ""


def test_every_missing_variable_is_named_with_its_service_at_once() -> None:
    found = problems(facts("web", **variables("A", "B")), facts("db", **variables("C")))
    assert [(code, path) for code, path, _, _ in found] == [
        ("SC2005", "services[0]"),
        ("SC2005", "services[0]"),
        ("SC2005", "services[1]"),
    ]
    for (_, _, message, hint), (service, name) in zip(found, [("web", "A"), ("web", "B"), ("db", "C")], strict=True):
        assert f"service {service} needs the variable {name}," in message
        assert f"`{service}`" in hint


def test_built_in_names() -> None:
    names = [
        "chartname",
        "image_name",
        "session",
        "namespace",
        "cas_service_name",
        "command",
        "release",
        "service_name",
    ]
    names += ["cas.cas.cas_url", "cas_cas_cas_url", "cas.image.cas_url", "cas_image_cas_url"]
    local = [{"name": f"V{n}", "value": f"<{{{{{name}}}}}>"} for n, name in enumerate(names)]
    image = facts("web", command="/usr/bin/python3 -u main.py", environment={"local": local})
    text = """
        apiVersion: scone/5.8
        kind: mesh
        cas: [{name: cas, alias: [image], cas_url: cas.example.org}]
        policy: {namespace: acme/shop}
        env: [{service: global, env: [{name: session, value: not this}]}]
        services: [{name: web, image: "registry.example.org/web:1"}]
        """
    got = environment(compiled(image, text=text, release="blue"), "web")
    assert [got[f"V{n}"] for n in range(len(names))] == [
        f"<{value}>"
        for value in [
            *("web", "registry.example.org/web:1", "acme/shop/web", "acme/shop", "python3", "/usr/bin/python3"),
            *("blue", "blue-web", *["cas.example.org"] * 4),
        ]
    ]


def test_names_are_bound_in_command_files_and_secrets_too() -> None:
    image = facts(
        command="python3 main.py --to={{TO}}",
        injection_files=[{"path": "/etc/x", "content": "to {{TO}}\n"}],
        secrets={"global": [{"name": "s", "kind": "ascii", "value": "{{TO}}!"}]},
    )
    document = session(compiled(image, env={"global": {"TO": "you and me"}}), "web")
    assert document["services"][0]["command"] == ["python3", "main.py", "--to=you and me"]
    assert document["images"][0]["injection_files"][0]["content"] == "to you and me\n"
    assert document["secrets"][0]["value"] == "you and me!"


def test_run_time_placeholders_stay() -> None:
    image = facts(
        environment={"local": [{"name": "A", "value": "$$SCONE::s$$"}]},
        secrets={"global": [{"name": "s", "kind": "ascii"}]},
    )
    assert environment(compiled(image), "web")["A"] == "$$SCONE::s$$"


def test_unknown_names_are_reported_with_a_remedy_and_without_values() -> None:
    image = facts(
        environment={"local": [{"name": "A", "value": "{{namespac}} hunter2"}, {"name": "B", "value": "{{release}}"}]},
        command="python3 {{nowhere}} {{service_name}}",
    )
    found = problems(image)
    assert [(code, path) for code, path, _, _ in found] == [("SC2006", "services[0]")] * 4
    hints = {hint for _, _, _, hint in found}
    assert "did you mean namespace?" in hints
    assert [hint for _, _, _, hint in found].count("give the release with --release") == 2
    assert not any("hunter2" in message for _, _, message, _ in found)


def test_a_missing_variable_that_is_used_is_said_once() -> None:
    image = facts(environment={"global": [{"name": "X"}], "local": [{"name": "A", "value": "{{X}}"}]})
    assert [p[0] for p in problems(image)] == ["SC2005"]


def test_values_of_the_mesh_are_in_no_message() -> None:
    image = facts(environment={"global": [{"name": "X"}], "local": [{"name": "A", "value": "{{Y}} {{gone}}"}]})
    found = problems(image, env={"global": {"Y": "hunter2"}})
    assert not any("hunter2" in text for finding in found for text in finding)
