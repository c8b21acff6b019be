"""Reading manifests: every fault at once, each with its place and remedy, and never a value in a message."""

from __future__ import annotations

import re
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from fakes.builders import mesh_text, service_text

from sconectl.errors import InvalidInput
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.reading.reader import read_document, read_manifest
from sconectl.manifest.spelling.placeholders import bind_mesh
from sconectl.text.findings import Finding, Position
from sconectl.text.yaml_text import dump
from sconectl.text.yaml_tree import Document, parse

from .forms import SERVICE, with_field

SECRET = "hunter2-Zx9"


def faults(text: str, file: str = "m.yaml", **variables: str) -> tuple[Finding, ...]:
    with pytest.raises(InvalidInput) as caught:
        read_manifest(text, file, variables)
    assert caught.value.exit_code == 3
    return caught.value.findings


def service(text: str, file: str = "m.yaml", **variables: str) -> GenService:
    model = read_manifest(text, file, variables).model
    assert isinstance(model, GenService)
    return model


def mesh(text: str, **variables: str) -> Mesh:
    model = read_manifest(text, "m.yaml", variables).model
    assert isinstance(model, Mesh)
    return model


BROKEN = f"""\
apiVersion: scone/5.7
kind: genservice
build:
  name: web
  kind: pyton
  to: UPPER CASE
  comand: python3
  copy: main.py
  Plain-Files: [/a]
  dirs: [relative, /a/../b]
environment:
  local:
    - name: 1-bad
      value: {SECRET}
    - name: GOOD
      value: [{SECRET}]
    - {{name: X, valeu: {SECRET}}}
secrets:
  global:
    - name: password
      size: {SECRET}
      value: {{deep: {SECRET}}}
    - name: "bad name"
      migrate: {SECRET}
injection_files:
  - path: etc/x
    content: {{a: {SECRET}}}
"""


def test_all_faults_at_once_with_place_path_and_hint_but_no_value() -> None:
    found = faults(BROKEN)
    assert {f.code for f in found} == {"SC1002"}
    assert list(found) == sorted(found, key=lambda f: f.position)
    by_path = {f.path: f for f in found}
    expected = {
        "apiVersion": (1, 13, "at least 5.8", "write scone/5.8"),
        "build.kind": (5, 9, "'python'", "did you mean python?"),
        "build.to": (6, 7, "image reference", ""),
        "build.comand": (7, 3, "unknown field", "did you mean command?"),
        "build.copy": (8, 9, "a list", "write each entry in a line of its own, beginning with `- `"),
        "build.Plain-Files": (9, 3, "unknown field", "did you mean plain_files?"),
        "build.dirs[0]": (10, 10, "absolute path", "begin with /"),
        "build.dirs[1]": (10, 20, "without ..", ""),
        "environment.local[0].name": (13, 13, "variable name", ""),
        "environment.local[1].value": (16, 14, "text", ""),
        "environment.local[2].valeu": (17, 17, "unknown field", "did you mean value?"),
        "secrets.global[0].kind": (20, 7, "missing", "add kind"),
        "secrets.global[0].size": (21, 13, "whole number", ""),
        "secrets.global[0].value": (22, 14, "text", ""),
        "secrets.global[1].name": (23, 13, "secret name", ""),
        "secrets.global[1].kind": (23, 7, "missing", "add kind"),
        "secrets.global[1].migrate": (24, 16, "true or false", ""),
        "injection_files[0].path": (26, 11, "absolute path", "begin with /"),
        "injection_files[0].content": (27, 14, "text", ""),
    }
    assert set(by_path) == set(expected)
    for path, (line, column, message, hint) in expected.items():
        finding = by_path[path]
        assert (finding.position.line, finding.position.column) == (line, column), path
        assert message in finding.message, path
        assert finding.hint == hint, path
    assert not any(SECRET in str(f) for f in found)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "a manifest is a mapping", ""),
        ("- a\n", "a manifest is a mapping", ""),
        ("text", "a manifest is a mapping", ""),
        ("a: 1\n", "missing", "genservice, mesh"),
        ("kind:\n", "missing", "genservice, mesh"),
        ("kind: gensrvice\n", "not a kind", "did you mean genservice?"),
        ("kind: Deployment\n", "not a kind", "genservice, mesh"),
        ("kind: [mesh]\n", "not a kind", "genservice, mesh"),
        ("kind: {mesh: 1}\n", "not a kind", "genservice, mesh"),
    ],
)
def test_what_is_no_manifest(text: str, message: str, hint: str) -> None:
    (finding,) = faults(text)
    assert finding.code == "SC1002"
    assert message in finding.message
    assert hint in finding.hint


def test_python_names_of_fields_are_not_manifest_fields() -> None:
    found = faults(service_text(copied=["a"], base="b", from_="c"))
    assert {f.path for f in found} == {"build.copied", "build.base"}


@pytest.mark.parametrize("version", ["scone/5.8", "scone/5.8.0", "scone/5.10", "scone/6"])
def test_versions_that_are_taken(version: str) -> None:
    assert service(service_text().replace("scone/5.8", version)).api_version == version


@pytest.mark.parametrize(
    "version", ["5.8", "scone/", "scone/5", "scone/5.7.9", "scone/5.8.", "scone/" + "9" * 5000, "v1"]
)
def test_versions_that_are_refused(version: str) -> None:
    (finding,) = faults(service_text().replace("scone/5.8", version))
    assert finding.path == "apiVersion"
    assert "at least 5.8" in finding.message


@pytest.mark.parametrize(
    ("path", "good"),
    [
        *(("a/b.py", True), ("./a", True), ("..data", True), ("a/../b", True), ("../a", False), ("..", False)),
        *(("a/../../b", False), ("/etc/passwd", False), ("", False)),
    ],
)
def test_copied_paths_stay_inside(path: str, good: bool) -> None:
    text = service_text(copy=[path])
    if good:
        service(text)
    else:
        assert [f.path for f in faults(text)] == ["build.copy[0]"]


@pytest.mark.parametrize("command", ["", "   ", "sh -c 'open"])
def test_command_lines_that_are_none(command: str) -> None:
    (finding,) = faults(service_text(command=command))
    assert finding.path == "build.command"


@pytest.mark.parametrize("section", ["environment", "secrets", "injection_files"])
def test_empty_sections_are_nothing(section: str) -> None:
    assert service(service_text("web", **{section: None})).secrets.import_ == ()


def test_a_mesh_needs_a_cas_and_a_service() -> None:
    found = faults("apiVersion: scone/5.8\nkind: mesh\ncas: []\npolicy: {}\nenv:\nservices: []\n")
    assert {f.path: f.message for f in found} == {
        "cas": "expected at least one entry",
        "policy.namespace": "this field is missing",
        "services": "expected at least one entry",
    }


def test_the_older_flat_environment_of_a_mesh() -> None:
    text = mesh_text().replace("env: []", "env: [{name: A, value: 1}, {service: web, env: [{name: A, value: 2}]}]")
    assert [(section.service, section.env[0].value) for section in mesh(text).env] == [("global", "1"), ("web", "2")]


def test_spellings_reach_the_model() -> None:
    spellings = ["0760", "1e3", "true", "1_000", "0x1F", "2024-01-01"]
    local = "".join(f"\n    - {{name: V{n}, value: {text}}}" for n, text in enumerate(spellings))
    block = '\n    - name: B\n      value: |+2\n          deep\n\n    - name: W\n      value: "!#what!$#"'
    model = service(service_text().replace("environment: {}", f"environment:\n  local:{local}{block}"))
    assert [v.value for v in model.environment.local] == [*spellings, "  deep\n\n", "!#what!$#"]


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        (service_text(host_pats=["/a"]), "build.host_pats", "did you mean host_paths?"),
        (service_text(plainFiles=["/a"]), "build.plainFiles", "did you mean plain_files?"),
        (service_text(DIRS=["/a"]), "build.DIRS", "did you mean dirs?"),
        (service_text() + "dirs: [/a]\n", "dirs", "this field belongs to build"),
        (service_text() + "global: []\n", "global", "remove it"),
        (service_text(xyz=["/a"]), "build.xyz", "remove it"),
        (service_text(build={}), "build.build", "this field belongs to the top level"),
        (service_text(secrets={"imports": ["a"]}), "secrets.imports", "did you mean import?"),
        (mesh_text() + "namespace: x\n", "namespace", "this field belongs to policy"),
        (mesh_text().replace("image:", "imagee:"), "services[0].imagee", "did you mean image?"),
        (mesh_text().replace("cas_url", "cas-url"), "cas[0].cas-url", "did you mean cas_url?"),
        (mesh_text() + "apiversion: x\n", "apiversion", "did you mean apiVersion?"),
    ],
)
def test_unknown_fields_name_the_one_that_was_meant(text: str, path: str, hint: str) -> None:
    (finding,) = (f for f in faults(text) if f.path == path)
    assert (finding.message, finding.hint) == ("unknown field", hint)


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("Python", "did you mean python?"),
        ("java-17", "did you mean java17?"),
        ("sconify-image", "did you mean sconify_image?"),
        ("java17_glibc", "did you mean java17-glibc?"),
        ("fortran", ""),
    ],
)
def test_unknown_kinds_name_the_one_that_was_meant(kind: str, hint: str) -> None:
    (finding,) = faults(service_text(kind=kind))
    assert (finding.path, finding.hint) == ("build.kind", hint)
    assert finding.message.startswith("expected 'python', 'java'")


@pytest.mark.parametrize("written", ["true", "True", "TRUE", '"true"', "tRuE"])
def test_flags_that_are_true(written: str) -> None:
    assert mesh(mesh_text() + f"repo: {{destination: a/b, squash: {written}}}\n").repo.squash is True  # type: ignore[union-attr]


@pytest.mark.parametrize("written", ["false", "False", "FALSE", "'false'"])
def test_flags_that_are_false(written: str) -> None:
    assert mesh(mesh_text() + f"repo: {{destination: a/b, push: {written}}}\n").repo.push is False  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("written", "hint"), [("yes", "write true"), ("ON", "write true"), ("no", "write false"), ("0", "write false")]
)
def test_flags_that_are_not_plain(written: str, hint: str) -> None:
    (finding,) = faults(mesh_text() + f"repo: {{destination: a/b, push: {written}}}\n")
    assert (finding.path, finding.message, finding.hint) == ("repo.push", "expected true or false", hint)


@pytest.mark.parametrize("written", ["maybe", "[]", "{a: b}", "2"])
def test_flags_that_are_none(written: str) -> None:
    (finding,) = faults(mesh_text() + f"repo: {{destination: a/b, push: {written}}}\n")
    assert (finding.path, finding.message, finding.hint) == ("repo.push", "expected true or false", "")


@pytest.mark.parametrize(
    "url", ["cas", "cas.example.org:8081", "https://cas.example.org", "[::1]:8081", "172.17.0.1:8081", "local"]
)
def test_addresses_of_a_cas(url: str) -> None:
    assert mesh(mesh_text().replace("cas.example.org", f'"{url}"')).cas[0].cas_url == url


@pytest.mark.parametrize("url", ["http://a", "a b", "a/b", "a:b", "ftp://a", "", "a;b", "a\\nb"])
def test_what_is_no_address_of_a_cas(url: str) -> None:
    (finding,) = faults(mesh_text().replace("cas.example.org", f'"{url}"'))
    assert finding.path == "cas[0].cas_url"


@pytest.mark.parametrize("name", ["maria_db", "Web2", "a", "a" * 63])
def test_names_of_services(name: str) -> None:
    assert mesh(mesh_text().replace("name: web", f"name: {name}")).services[0].name == name


@pytest.mark.parametrize("name", ["-a", "a.b", "a_", "a" * 64, "a/b", "ä"])
def test_what_is_no_name_of_a_service(name: str) -> None:
    found = faults(mesh_text().replace("name: web", f"name: {name}"))
    assert [f.path for f in found] == ["services[0].name"]


def test_a_variable_of_a_mesh_needs_a_value_which_may_be_empty() -> None:
    text = mesh_text().replace("env: []", "env: [{service: web, env: [{name: A}, {name: B, value: }]}]")
    (finding,) = faults(text)
    assert (finding.path, finding.hint) == ("env[0].env[0].value", "add value")


def test_empty_text_leaves_optional_fields_out() -> None:
    fields = ("from", "pwd", "requirements", "stable")
    secret = {"name": "s", "kind": "x509", "private_key": "k", **dict.fromkeys(("issuer", "endpoint", "valid_for"), "")}
    text = service_text(
        **dict.fromkeys((f"{field}_" for field in fields), ""),
        secrets={"global": [{**secret, "dns": "", "san": "", "export_public": "", "key_type": "", "size": ""}]},
    )
    model = service(text)
    assert (model.build.base, model.build.pwd, model.build.requirements, model.build.stable) == (None, "/", None, None)
    assert model.secrets.global_[0].model_dump(exclude_none=True) == {"name": "s", "kind": "x509", "private_key": "k"}


def test_ten_thousand_services_are_read_in_no_time() -> None:
    value = parse(mesh_text(), "m.yaml").value
    assert isinstance(value, dict)
    names = [f"s{number}" for number in range(10_000)]
    value["env"] = [{"service": name, "env": [{"name": "A", "value": name}]} for name in names]
    value["services"] = [{"name": name, "image": f"example/{name}"} for name in names]
    document = Document("m.yaml", value, {(): Position("m.yaml", 1, 1)})
    start = process_time()
    assert isinstance(read_document(document, {}).model, Mesh)
    assert process_time() - start < 5


# --- variables ------------------------------------------------------------------------------------------------------


def test_variables_fill_fields_but_not_structure() -> None:
    hostile = "x\n  injected: yes # {a: [b"
    text = service_text(to="$REPO/web:1", environment={"local": [{"name": "A", "value": "${B}"}]})
    model = service(text, REPO="registry.example.org", B=hostile)
    assert model.build.to == "registry.example.org/web:1"
    assert model.environment.local[0].value == hostile


def test_what_is_untouched() -> None:
    values = ["$$SCONE::p$$", "{{RELEASE}}", "!#what!$#", "a$$"]
    text = service_text(environment={"local": [{"name": f"V{n}", "value": v} for n, v in enumerate(values)]})
    manifest = read_manifest(text, "m.yaml", {"RELEASE": "r", "SCONE": "s"})
    assert isinstance(manifest.model, GenService)
    assert [v.value for v in manifest.model.environment.local] == values
    assert manifest.warnings == ()


UNRESOLVED: dict[str, dict[str, Any]] = {
    "build.to": {"to": "$X/web:1"},
    "build.command": {"command": "python3 $X"},
    "environment.local[0].value": {"environment": {"local": [{"name": "A", "value": "5$X"}]}},
    "environment.global[0].value": {"environment": {"global": [{"name": "A", "value": "${X}"}]}},
    "injection_files[0].content": {"injection_files": [{"path": "/f", "content": "key=${X:?no key}"}]},
    "secrets.global[0].value": {"secrets": {"global": [{"name": "s", "kind": "ascii", "value": "$X"}]}},
    "secrets.global[0].value.a[0]": {
        "secrets": {"global": [{"name": "s", "kind": "config-fragment", "value": {"a": ["${X}"]}}]}
    },
}


@pytest.mark.parametrize("path", UNRESOLVED)
def test_a_variable_without_a_value_is_an_error_wherever_it_stands(path: str) -> None:
    text = service_text(**UNRESOLVED[path])
    (error,) = faults(text)
    assert (error.code, error.path, error.severity) == ("SC1003", path, "error")
    assert "=VALUE or --env-file (the environment counts for files named *.template only); " in error.hint
    assert ("write $$" in error.hint) is (path != "build.to")
    read_manifest(text, "m.yaml", {"X": "a1"})
    read_manifest(text.replace("${X", "$${X").replace("$X", "$$X").replace("$$X/web", "web"), "m.yaml", {})


def test_what_a_shell_fills_in_stays_with_a_warning() -> None:
    text = service_text(run=["echo $HOME_OF_BUILD"], command="/bin/sh -ec 'echo $HOME $$USER'")
    manifest = read_manifest(text, "m.yaml", {})
    assert [(w.code, w.severity, w.path) for w in manifest.warnings] == [
        ("SC1003", "warning", "build.command"),
        ("SC1003", "warning", "build.run[0]"),
    ]
    assert isinstance(manifest.model, GenService)
    assert manifest.model.build.command == "/bin/sh -ec 'echo $HOME $USER'"


EMPTY = ["$E", "${E}", "${E:-}", "${E-}", "user:$E@host", "${GONE:-}", "${GONE:-$E}", "${GONE:+x}"]


@pytest.mark.parametrize("value", EMPTY)
@pytest.mark.parametrize("fields", [{"kind": "ascii", "value": 0}, {"kind": "binary", "value": 0}])
def test_no_variable_leaves_a_secret_empty(value: str, fields: dict[str, object]) -> None:
    text = service_text(secrets={"global": [{"name": "s", **fields, "value": value}]})
    found = [f for f in faults(text, E="") if f.code == "SC1003"]
    assert [f.path for f in found] == ["secrets.global[0].value"]
    assert "is empty, so that the secret would be empty or lack a part" in found[0].message


def test_an_empty_secret_is_written_as_such() -> None:
    model = service(service_text(secrets={"global": [{"name": "s", "kind": "ascii", "value": ""}]}))
    assert model.secrets.global_[0].value == ""


@pytest.mark.parametrize(
    "value", ["{{namespace}}", "a{{b}}c", "{% raw %}x{% endraw %}", "{%endraw%}", "{#", "{{ x | y }}"]
)
def test_what_a_variable_brings_along_is_no_name_of_the_mesh(value: str) -> None:
    text = service_text(
        secrets={"global": [{"name": "s", "kind": "ascii", "value": "<$V>"}]},
        environment={"local": [{"name": "A", "value": "$V"}]},
        injection_files=[{"path": "/f", "content": "x=$V\n"}],
    )
    model = service(text, V=value)
    texts = [model.secrets.global_[0].value, model.environment.local[0].value, model.injection_files[0].content]
    bound = [bind_mesh(str(text), {"namespace": "no", "b": "no"}.get) for text in texts]
    assert bound == [(f"<{value}>", ()), (value, ()), (f"x={value}\n", ())]


def test_a_template_hints_at_the_environment() -> None:
    (error,) = faults(service_text(to="$REPO"), "service.yaml.template")
    assert "or in the environment" in error.hint
    assert str(error.position).startswith("service.yaml.template:6:7")


def test_unresolved_variables_and_other_faults_come_together_once_each() -> None:
    found = faults(service_text(to="$REPO", from_="$BASE", kind="pyton"))
    assert [(f.code, f.path) for f in found] == [
        ("SC1002", "build.kind"),
        ("SC1003", "build.to"),
        ("SC1003", "build.from"),
    ]


def test_an_empty_variable_leaves_an_optional_field_empty() -> None:
    text = mesh_text().replace("cas_url: cas.example.org", "cas_url: cas.example.org\n    cas_key: $K\n    mode: $M")
    assert [f.path for f in faults(text)] == ["cas[0].cas_key", "cas[0].mode"]
    model = mesh(text, K="", M="")
    assert model.cas[0].cas_key is None
    assert model.cas[0].mode is None


def test_values_of_variables_are_in_no_message() -> None:
    found = faults(
        service_text(to="$V", name="$V", dirs=["$V"], kind="$V", secrets={"global": [{"name": "$V", "size": "$V"}]}),
        V=f"{SECRET} !",
    )
    assert len(found) >= 5
    assert not any(SECRET in str(f) for f in found)


def test_repr_of_the_model_hides_values() -> None:
    model = service(
        service_text(
            environment={"local": [{"name": "A", "value": SECRET}], "global": [{"name": "B", "value": SECRET}]},
            secrets={"global": [{"name": "s", "kind": "ascii", "value": SECRET}]},
            injection_files=[{"path": "/f", "content": SECRET}],
        )
    )
    assert SECRET not in repr(model)


# --- upstream's own manifests ---------------------------------------------------------------------------------------

CORPUS = Path(__file__).parents[4] / "shared" / "corpus"  # upstream's own, where they are beside the checkout
TEMPLATES = [Path(__file__).parents[2] / "templates" / "shop", *sorted(CORPUS.glob("*"))]
VARIABLES = dict.fromkeys(
    [
        *("APP_IMAGE_REPO", "RELEASE", "APP_NAMESPACE", "NAMESPACE", "CAS_URL", "CAS_KEY", "SCONECTL_REPO", "VERSION"),
        *("JAVA_VERSION", "CAS_SESSION_ENCRYPTION_KEY"),
    ],
    "x1",
) | {"UPLOAD_MODE": "Upload", "JAVA_VERSION": "java21"}


@pytest.mark.parametrize("folder", TEMPLATES, ids=lambda folder: folder.name)
def test_manifests_with_variables_are_valid(folder: Path) -> None:
    files = sorted(folder.glob("*.yaml.template"))
    assert len(files) >= 2
    for file in files:
        manifest = read_manifest(file.read_bytes(), file.name, VARIABLES)
        assert isinstance(manifest.model, Mesh if file.name.startswith("mesh") else GenService)
        assert not [w for w in manifest.warnings if w.code != "SC1003"]


@pytest.mark.parametrize("folder", TEMPLATES, ids=lambda folder: folder.name)
def test_without_variables_exactly_the_missing_ones_are_reported(folder: Path) -> None:
    files = sorted(folder.glob("*.yaml.template"))
    for file in files:
        found = faults(file.read_text(), file.name)
        assert {f.code for f in found} == {"SC1003"}
        text = "".join(line.partition(" #")[0] for line in file.read_text().splitlines(keepends=True))
        used = set(re.findall(r"(?<!\$)\$\{?([A-Z][A-Z_]*)", text))
        named = {match[1] for f in found if (match := re.search(r"\$([A-Z_]+)", f.message))}
        assert named == used


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("to: example/app:1", "to: https://example/app:1", "leave out what stands before //, and //"),
        ("to: example/app:1", "to: example/App:1", "write the name in lower case"),
        ("to: example/app:1", "to: example/app:two words", ""),
        ("pwd: /app", "pwd: app", "begin with /"),
        ("pwd: /app", "pwd: ../app", ""),
    ],
)
def test_the_remedy_for_a_malformed_name(old: str, new: str, hint: str) -> None:
    text = (
        "apiVersion: scone/5.8\nkind: genservice\nenvironment: {}\n"
        "build:\n  name: app\n  kind: python\n  command: python3\n  pwd: /app\n  to: example/app:1\n"
    )
    with pytest.raises(InvalidInput) as raised:
        read_manifest(text.replace(old, new), "f.yaml", {})
    assert [finding.hint for finding in raised.value.findings] == [hint]


WITHOUT_ENVIRONMENT = service_text("a").partition("environment:")[0]


@pytest.mark.parametrize(
    "entry",
    [
        "{name: P, value: this,hunter2}",
        "{name: P, value: this, hunter2 is: it}",
        "{name: P, value: this, Hunter2: it}",
        "{name: P, value: this, hunter2, hunter2}",
    ],
)
def test_a_piece_of_a_secret_without_quotes_is_not_named(entry: str) -> None:
    found = faults(WITHOUT_ENVIRONMENT + f"environment:\n  local:\n    - {entry}\n")
    assert found
    assert "hunter" not in "\n".join(map(str, found)).lower()


def test_a_field_beside_a_value_is_named_if_it_can_be_no_piece_of_it() -> None:
    found = faults(WITHOUT_ENVIRONMENT + "environment:\n  local:\n    - {name: P, value: this, mode: x}\n")
    assert [finding.path for finding in found] == ["environment.local[0].mode"]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("abc$HUNTER2", False),
        ("a$HUNTER2!", False),
        ("$HUNTER2", True),
        ("https://$HUNTER2:443", True),
        ("abc${HUNTER2}def", True),
    ],
)
def test_a_variable_is_named_only_where_it_is_no_piece_of_a_password(value: str, named: bool) -> None:
    text = WITHOUT_ENVIRONMENT + f'environment: {{local: [{{name: P, value: "{value}"}}]}}\n'
    (error,) = faults(text)
    assert ("HUNTER2" in str(error)) is named


RAW, END = "{% raw %}", "{% endraw %}"


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (f"/{RAW}{{{{name}}}}{END}", "/{{name}}"), (f"/a/{RAW}{{%{END}/b", "/a/{%/b"), (f"/{RAW}{{{{{END}x", "/{{x"),
        (f"/{RAW}a{END}", "/a"), (f"/{RAW}{{{{a}}}}{END}-{{#{RAW}{{{{b}}}}{END}", "/{{a}}-{#{{b}}"), ("/a{b}", "/a{b}"),
        (f"/{RAW}{RAW}{END}", f"/{RAW}"), (f"/{RAW}//./{{{{x}}}}/{END}", "/{{x}}"),
    ],
)  # fmt: skip
def test_a_path_that_looks_like_a_template(written: str, path: str) -> None:
    lists = ("dirs", "plains", "host_paths", "fs_dirs", "fs_files", "plain_files")
    model = service(dump(with_field(SERVICE, ("build", "pwd"), written)))
    assert model.build.pwd == path
    for name in lists:
        model = service(dump(with_field(SERVICE, ("build", name), [written])))
        assert getattr(model.build, name) == (path,)
    assert service(dump(with_field(SERVICE, ("injection_files", 0, "path"), written))).injection_files[0].path == path


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("/{{name}}", "without {{"), (f"/{RAW}x{END}{{{{name}}}}", "without {{"), (f"/{RAW}{{{{x}}}}", "without {{"),
        (f"/{END}", "without {{"), (f"/{RAW}{END}{END}", "without {{"), (f"/{RAW}../x{END}", "without .."),
        (f"/{RAW}.{END}./x", "without .."), (f"{RAW}/x{END}", "begin with /"),
    ],
)  # fmt: skip
def test_what_is_no_path_between_marks(written: str, said: str) -> None:
    (finding,) = faults(dump(with_field(SERVICE, ("build", "pwd"), written)))
    assert finding.path == "build.pwd"
    assert said in f"{finding.message} {finding.hint}"
