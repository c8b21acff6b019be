"""Older spellings work as they were meant; each says where it stands and how it is written today."""

from __future__ import annotations

import pytest

from sconectl.errors import InvalidInput
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.reading.reader import Manifest, read_manifest
from sconectl.text.findings import Finding

SERVICE = """\
apiVersion: scone/5.8
kind: genAppImage
requirements: requirements.txt
env:
  - key: API_USER
    value: user_name
  - {key: "PORT", value: 8080}
  - name: NEW
    value: new
build:
  name: web
  kind: "java 8"
  to: example/web
  command: java Web
  host_path: [/etc/ssl/certs]
  binarfs.include-new: true
"""

MESH = """\
apiVersion: scone/5.8
kind: mesh
cas: [{cas_url: local}]
policy: {namespace: shop}
env:
  - key: A
    value: 1
  - {name: B, value: 2}
  - service: web
    env:
      - {key: C, value: later}
  - {name: D, value: 4}
services: [{name: web, image: web}]
helm: ["web.a[0].b=v,web.c=true", 'web.d\\.e=x\\,y']
repo: {destination: example/repo, signature: cosign.key}
"""


def read(text: str, **variables: str) -> Manifest:
    return read_manifest(text, "m.yaml", variables)


def shown(found: tuple[Finding, ...]) -> list[tuple[int, int, str, str]]:
    assert {(f.severity, f.code) for f in found if f.code != "SC1003"} <= {("deprecation", "SC1012")}
    return [(f.position.line, f.position.column, f.path, f.hint) for f in found if f.code == "SC1012"]


def test_an_older_service() -> None:
    manifest = read(SERVICE.replace("user_name", "$USER_NAME"), USER_NAME="myself")
    model = manifest.model
    assert isinstance(model, GenService)
    assert model.kind == "genservice"
    assert [(v.name, v.value) for v in model.environment.local] == [
        ("API_USER", "myself"),
        ("PORT", "8080"),
        ("NEW", "new"),
    ]
    assert (model.build.kind, model.build.requirements, model.build.host_paths) == (
        "java8",
        "requirements.txt",
        ("/etc/ssl/certs",),
    )
    variables = "write `environment:`, below it `local:`, and there each variable as `- name: …` with `value: …`"
    assert shown(manifest.warnings) == [
        (2, 7, "kind", "write `kind: genservice`"),
        (3, 1, "requirements", "write `requirements:` below `build:`"),
        (4, 1, "env", variables),
        (5, 5, "env[0].key", "write `name:` instead of `key:`"),
        (12, 9, "build.kind", "write `kind: java8`"),
        (15, 3, "build.host_path", "write `host_paths:`"),
        (16, 3, "build.binarfs.include-new", "remove it"),
    ]


def test_positions_lead_to_the_older_text() -> None:
    document = read(SERVICE).document
    places = {
        ("build", "requirements"): (3, 15),
        ("environment", "local", 1, "name"): (7, 11),
        ("environment", "local", 0, "value"): (6, 12),
        ("environment",): (5, 3),
        ("build", "host_paths", 0): (15, 15),
        ("build", "name"): (11, 9),
    }
    for path, (line, column) in places.items():
        position = document.position(path)
        assert (position.line, position.column) == (line, column), path
    assert document.key_position(("environment", "local", 0, "name")).column == 5
    assert not document.is_plain(("environment", "local", 1, "name"))
    assert document.is_plain(("environment", "local", 0, "name"))
    assert ("environment", "local", 0, "name") in set(document.positions)
    assert len(list(document.positions)) == len(document.positions)


def test_an_older_mesh() -> None:
    manifest = read(MESH)
    model = manifest.model
    assert isinstance(model, Mesh)
    assert [(s.service, [(v.name, v.value) for v in s.env]) for s in model.env] == [
        ("global", [("A", "1"), ("B", "2")]),
        ("web", [("C", "later")]),
        ("global", [("D", "4")]),
    ]
    assert model.helm_extra_values == {"web": {"a": [{"b": "v"}], "c": "true", "d.e": "x,y"}}
    assert model.repo is not None
    assert model.repo.key_file == "cosign.key"
    sections = "write `- service: global`, below it `env:`, and there each variable as `- name: …` with `value: …`"
    assert shown(manifest.warnings) == [
        (6, 5, "env[0]", sections),
        (6, 5, "env[0].key", "write `name:` instead of `key:`"),
        (11, 10, "env[2].env[0].key", "write `name:` instead of `key:`"),
        (14, 1, "helm", "write `helm_extra_values:`, below it `SERVICE:`, and there its values"),
        (15, 35, "repo.signature", "write `key_file:`"),
    ]
    helm = ("helm_extra_values", "web", "a", 0, "b")
    assert manifest.document.position(helm).line == 14
    assert manifest.document.is_plain(helm), "as `helm --set` takes it"


@pytest.mark.parametrize(
    ("old", "new", "path", "line"),
    [
        ("host_path: [/etc/ssl/certs]", "host_path: [relative]", "build.host_paths[0]", 15),
        ("requirements: requirements.txt", "requirements: ../r", "build.requirements", 3),
        ("- key: API_USER", "- key: 1-bad", "environment.local[0].name", 5),
        ('"java 8"', '"java 9"', "build.kind", 12),
    ],
)
def test_faults_in_older_spellings_stand_where_they_are_written(old: str, new: str, path: str, line: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(SERVICE.replace(old, new))
    (error,) = (f for f in caught.value.findings if f.severity == "error")
    assert (error.code, error.path, error.position.line) == ("SC1002", path, line)
    assert any(f.severity == "deprecation" for f in caught.value.findings), "what is older is said in the same run"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (SERVICE.replace("  name: web", "  requirements: r.txt\n  name: web"), "requirements"),
        (SERVICE.replace("  name: web", "  host_paths: [/a]\n  name: web"), "build.host_path"),
        (SERVICE + "environment: {local: []}\n", "env"),
        (MESH + "helm_extra_values: {}\n", "helm"),
        (MESH.replace("repo: {", "repo: {key_file: a, "), "repo.signature"),
        (SERVICE.replace("  - key: API_USER", "  - key: A\n    name: B"), "environment.local[0].key"),
    ],
)
def test_old_and_new_together_are_refused(text: str, path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(text)
    (error,) = (f for f in caught.value.findings if f.severity == "error")
    assert (error.path, error.message) == (path, "unknown field")


def test_variables_do_not_add_values_of_charts() -> None:
    manifest = read(MESH.replace("web.c=true", "web.c=$C"), C="x,web.evil=y")
    assert isinstance(manifest.model, Mesh)
    assert manifest.model.helm_extra_values == {"web": {"a": [{"b": "v"}], "c": "x,web.evil=y", "d.e": "x,y"}}


@pytest.mark.parametrize("entry", ["web", "=x", "web.a[=x", "web..a=1", "web.a={1,2}", "[0]=x", "web.a[1]=x", ""])
def test_what_helm_would_not_take_either(entry: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(MESH.replace('"web.a[0].b=v,web.c=true"', f"'{entry}'"))
    (error,) = (f for f in caught.value.findings if f.severity == "error")
    assert (error.code, error.path, error.position.line) == ("SC1002", "helm[0]", 14)


def test_values_of_charts_that_contradict_each_other() -> None:
    with pytest.raises(InvalidInput) as caught:
        read(MESH.replace("web.c=true", "web.a.b=1"))
    (error,) = (f for f in caught.value.findings if f.severity == "error")
    assert (error.path, error.message) == ("helm[0]", "this value does not fit to the ones before it")


def test_a_value_of_a_chart_that_is_given_again_counts() -> None:
    manifest = read(MESH.replace("web.c=true", "web.c=true,web.c=false"))
    assert isinstance(manifest.model, Mesh)
    assert isinstance(manifest.model.helm_extra_values, dict)
    assert manifest.model.helm_extra_values["web"]["c"] == "false"


def test_many_older_variables_are_one_remark() -> None:
    entries = "".join(f"  - {{key: A{n}, value: {n}}}\n" for n in range(100))
    manifest = read(MESH.replace("  - key: A\n    value: 1\n", entries))
    remarks = [f.message for f in manifest.warnings if f.path == "env[0].key"]
    assert remarks == ["key is the older spelling of name (here and in 99 more)"]
