"""The table of variables, and the env that gives them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from fakes.builders import compiled, environment, facts, mesh_text, read_mesh, service_text

from sconectl.errors import PlanImpossible
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.values.variables import Row, all_sections, mesh_rows, service_rows, unused_values


def image(name: str = "web", *, local: Mapping[str, str] | None = None, **variables: str | None) -> ImageFacts:
    """Return an image with global variables; None is a variable without a default."""
    given = [{"name": key} if value is None else {"name": key, "value": value} for key, value in variables.items()]
    fixed = [{"name": key, "value": value} for key, value in (local or {}).items()]
    return facts(name, environment={"global": given, "local": fixed})


def rows_of(*images: ImageFacts, env: Mapping[str, Mapping[str, str]] | None = None, text: str = "") -> tuple[Row, ...]:
    mesh, _ = read_mesh(text or mesh_text([given.name for given in images], env=env))
    return mesh_rows(mesh, {given.name: given for given in images}, {given.name: {"release": "r"} for given in images})


def brief(rows: tuple[Row, ...]) -> list[tuple[str, str, str | None, str | None, str]]:
    return [(row.service, row.name, row.default, row.value, row.set_by) for row in rows]


def test_a_service_alone() -> None:
    text = service_text(
        command='python3 {{ program | default(value="x.py") }} {{nowhere}} {{nowhere}}',
        environment={
            "local": [{"name": "HEAP", "value": "1G"}, {"name": "HOST", "value": "{{host}}"}],
            "global": [{"name": "host"}, {"name": "port", "value": ""}],
        },
        secrets={"global": [{"name": "s", "kind": "ascii", "value": "{{of_secret}}"}]},
        injection_files=[{"path": "/f", "content": "{{of_file}}"}],
    )
    model = read_manifest(text, "service.yaml", {}).model
    assert isinstance(model, GenService)
    rows = service_rows(model)
    assert [(row.name, row.role, row.default, row.value, row.missing) for row in rows] == [
        ("host", "global", None, None, True),
        ("port", "global", "", "", False),
        ("program", "name", "x.py", "x.py", False),
        ("nowhere", "name", None, None, True),
        ("of_file", "name", None, None, True),
        ("of_secret", "name", None, None, True),
        ("HEAP", "local", None, "1G", False),
        ("HOST", "local", None, "{{host}}", False),
    ]
    assert {row.name: row.path for row in rows if row.path} == {
        "port": ("environment", "global", 1, "value"),
        "HEAP": ("environment", "local", 0, "value"),
        "HOST": ("environment", "local", 1, "value"),
    }


def test_every_layer_is_named() -> None:
    layers = {
        "global": {"B": "global", "C": "global", "D": "global"},
        "helm": {"C": "helm", "D": "helm"},
        "web": {"D": "web"},
    }
    rows = rows_of(image(A="own", B="own", C="own", D="own", E=None, F=None), image("db", E="of db"), env=layers)
    assert brief(rows) == [
        ("web", "A", "own", "own", "default"),
        ("web", "B", "own", "global", "global"),
        ("web", "C", "own", "helm", "helm"),
        ("web", "D", "own", "web", "web"),
        ("web", "E", None, "of db", "default of db"),
        ("web", "F", None, None, ""),
        ("db", "E", "of db", "of db", "default"),
    ]
    paths = {row.name: row.path for row in rows}
    assert paths["B"] == ("env", 0, "env", 0, "value")
    assert paths["D"] == ("env", 2, "env", 0, "value")
    assert paths["A"] is None


def test_the_last_of_several_sections_is_named() -> None:
    repeated = """env:
- {service: web, env: [{name: A, value: 1}]}
- {service: web, env: [{name: A, value: 2}, {name: A, value: 3}]}
"""
    [row] = rows_of(image(A=None), text=mesh_text().replace("env: []\n", repeated))
    assert (row.value, row.path) == ("3", ("env", 1, "env", 1, "value"))


def test_values_of_local_variables_stay_with_the_owner_of_the_image() -> None:
    [row] = rows_of(image(local={"PASSWORD": "hunter2"}))
    assert (row.name, row.role, row.value, row.missing) == ("PASSWORD", "local", None, False)


def test_names_that_are_only_used() -> None:
    web = image(A="1", local={"L": '{{A}} {{release}} {{x}} {{y}} {{z | default(value="0")}} {{y}}'})
    rows = rows_of(web, env={"global": {"x": "1", "imagePullSecrets": "pull", "unused": "1"}})
    assert brief(rows)[1:-1] == [
        ("web", "x", None, "1", "global"),
        ("web", "y", None, None, ""),
        ("web", "z", "0", "0", "its use"),
        ("web", "imagePullSecrets", None, "pull", "global"),
    ]


def test_names_in_secrets_that_the_mesh_replaces_do_not_count() -> None:
    web = facts("web", secrets={"global": [{"name": "s", "kind": "ascii", "value": "{{x}}"}]})
    assert [row.name for row in rows_of(web)] == ["x"]
    replaced = mesh_text().replace('web:1"', 'web:1"\n    image_secrets: s.yaml')
    assert "image_secrets" in replaced
    assert rows_of(web, text=replaced) == ()


def test_values_that_nobody_asks_for() -> None:
    web, db = image(API_USER=None), image("db", port=None)
    env = {"global": {"API_USERR": "1", "port": "1", "APP_SERVICE_PORT": "80"}, "web": {"port": "2", "zzz": "1"}}
    mesh, _ = read_mesh(mesh_text(["web", "db"], env=env))
    rows = rows_of(web, db, env=env)
    assert [(name, path, sorted(names)) for name, path, names in unused_values(mesh, rows)] == [
        ("API_USERR", ("env", 0, "env", 0, "name"), ["API_USER", "APP_SERVICE_PORT", "port"]),
        ("port", ("env", 1, "env", 0, "name"), ["API_USER", "APP_SERVICE_PORT"]),
        ("zzz", ("env", 1, "env", 1, "name"), ["API_USER", "APP_SERVICE_PORT"]),
    ]


def test_the_release_is_not_asked_for_in_env() -> None:
    mesh, _ = read_mesh(mesh_text())
    web = image(local={"L": "{{release}} {{x}}"})
    rows = mesh_rows(mesh, {"web": web}, {"web": {}})
    assert [row.name for row in rows if row.missing] == ["release", "x"]
    assert [entry.name for section in all_sections(mesh, rows) for entry in section.entries] == ["x"]


# --- the env that gives everything ----------------------------------------------------------------------------------


def sections(
    *images: ImageFacts, env: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, list[tuple[Any, ...]]]:
    mesh, _ = read_mesh(mesh_text([given.name for given in images], env=env))
    found = all_sections(mesh, rows_of(*images, env=env))
    return {
        section.service: [(entry.name, entry.value, entry.comment) for entry in section.entries] for section in found
    }


def test_what_is_given_stays_and_the_rest_is_added() -> None:
    web = image(A="a", B="b", C=None, D="d", local={"L": '{{o | default(value="1")}} {{u}}'})
    db = image("db", A="a", D="other", E=None)
    assert sections(web, db, env={"db": {"E": "e"}, "helm": {"H": "h"}, "global": {"B": "1"}}) == {
        "global": [
            ("C", None, "needed by web"),
            ("o", None, "optional for web"),
            ("u", None, "needed by web"),
            ("B", "1", ""),
            ("A", "a", "default of web, db"),
        ],
        "helm": [("H", "h", "")],
        "web": [("D", "d", "default")],
        "db": [("E", "e", ""), ("D", "other", "default")],
    }


def test_without_variables_there_are_no_sections() -> None:
    assert sections(facts()) == {}


@pytest.mark.parametrize(
    "given", [{}, {"global": {"A": "g"}}, {"web": {"A": "w"}}, {"helm": {"A": "h"}, "db": {"B": "d"}}]
)
def test_the_same_sessions_come_of_it(given: dict[str, dict[str, str]]) -> None:
    images = (
        image(A="of web", B="shared", local={"L": "{{A}} {{B}} {{C}}"}),
        image("db", A="of db", B="shared", C=" |\n  c"),
        image("cron", A=None, B=None, D="{{namespace}}"),
    )
    mesh, _ = read_mesh(mesh_text(["web", "db", "cron"], env=given))
    found = all_sections(mesh, rows_of(*images, env=given))
    env = {s.service: {e.name: e.value for e in s.entries if e.value is not None} for s in found}
    before, after = compiled(*images, env=given), compiled(*images, env=env)
    assert [session.document for session in after.sessions] == [session.document for session in before.sessions]
    assert environment(after, "cron")["A"] in ("of web", *(v for s in given.values() for v in s.values()))


def test_what_is_asked_for_is_what_compiling_misses() -> None:
    images = (image(A=None, B="1", local={"L": "{{C}} {{D | default(value='x')}}"}), image("db", A=None, E=None))
    with pytest.raises(PlanImpossible) as caught:
        compiled(*images)
    missing = [row for row in rows_of(*images) if row.missing]
    assert len(caught.value.findings) == len(missing)
    for row in missing:
        assert any(row.name in f.message and row.service in f.message for f in caught.value.findings)
