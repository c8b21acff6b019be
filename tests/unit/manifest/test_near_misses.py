"""Slips of the pen in placeholders: every one and nearly every two are found, and nothing in ordinary text."""

from __future__ import annotations

import random
from pathlib import Path
from time import process_time

import pytest
from fakes.builders import SIM, mesh_text, service_text

from sconectl.manifest.reading.env_file import read_env_file
from sconectl.manifest.reading.reader import read_manifest
from sconectl.manifest.spelling.near_misses import near_misses
from sconectl.plan.secrets.secret_use import check_mesh_values
from sconectl.policy.forms.placeholders import PlaceholderError, find
from sconectl.usecases.check_service import check_service

FORMS = ("$$SCONE::pw$$", "$$SCONE::my-key:hex$$", "$$SCONE::cert.crt$$", "user:$$SCONE::a$$@host")
OTHERS = "$SCONE:pwx @s{}"


def slips(text: str) -> set[str]:
    """Return what one slip in the marks of a placeholder makes of a text."""
    found = set()
    for place in range(len(text) + 1):
        found |= {text[:place] + other + text[place:] for other in OTHERS}
        found |= {text[:place] + other + text[place + 1 :] for other in OTHERS}
        found.add(text[:place] + text[place + 1 :])
        found.add(text[:place] + text[place + 1 : place + 2] + text[place : place + 1] + text[place + 2 :])
    return found - {text}


def is_said(text: str) -> bool:
    """Say whether a text is a right placeholder, or something is said about it."""
    try:
        return bool(find(text)) or any(near_misses(text))
    except PlaceholderError:
        return True


@pytest.mark.parametrize("form", FORMS)
def test_every_single_slip_is_said(form: str) -> None:
    assert [text for text in slips(form) if not is_said(text)] == []


def test_nearly_every_double_slip_is_said() -> None:
    draw = random.Random(9)
    once = draw.sample(sorted(slips(FORMS[0])), 40)
    twice = {text for first in once for text in slips(first)}
    silent = [text for text in twice if not is_said(text)]
    assert len(silent) / len(twice) < 0.002, silent


@pytest.mark.parametrize(
    "text",
    ["$$SCONE:pw$$", "$SCONE::pw$$", "$$scone::pw$$", "$$Scone::pw$$", "@@SCONE::pw@@", "$$SCON::pw$$", "$$SCONE;pw$$"],
)
def test_slips_that_people_make(text: str) -> None:
    assert [message for message, _ in near_misses(f"a {text} b")] == [
        "this is nearly a placeholder for a secret, and is none"
    ]
    assert list(near_misses(f"{{% raw %}}{text}{{% endraw %}}")) == []


@pytest.mark.parametrize("text", ["{{ namespace }", "{namespace}}", "{{x}-db", "a{ x }}", "{{a}} {{b}"])
def test_a_brace_that_is_missing(text: str) -> None:
    assert [message for message, _ in near_misses(text)] == ["this is nearly a {{name}}, and is none"]


ORDINARY = [
    '{"a": {"b": {c}}}',
    "{{x}}",
    "{{ x }}{{y}}",
    "fn() { return {a}; }",
    "if (x) {{ y(); }}",
    "{x}",
    "${x}",
    "${{x}}",
    "{ {x} }",
    "echo $SCONE_MODE",
    "export SCONE_CONFIG_ID=$1",
    "SCONE::Widget w;",
    "std::cout << x",
    "$HOME/scone:/usr/bin",
    "a@scone.io",
    "https://sconedocs.github.io:443",
    "100 % SCONE: secure",
    "second::con $x",
    "postgres://u:$p@con::1",
    "$container::x",
    "@@1",
    "if [ $$ = 1 ]; then",
    "CON: $5",
    "cone::$x",
    "map $http_upgrade $connection_upgrade {",
    "NONE::$$",
    "$ONE:$TWO",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text(text: str) -> None:
    assert list(near_misses(text)) == []


def test_ordinary_files() -> None:
    root = Path(__file__).parents[3]
    said = {}
    for file in [*root.glob("charts_templates/**/*.*"), *root.glob("scripts/*"), *root.glob("sconectl/adapters/*.py")]:
        text = file.read_text() if file.is_file() else ""
        said[file.name] = [line for line in text.splitlines() if any(near_misses(line))]
    assert {name: lines for name, lines in said.items() if lines} == {}


def test_where_they_are_said() -> None:
    for fields in (
        {"environment": {"local": [{"name": "A", "value": "$$SCONE:pw$$"}]}},
        {"environment": {"global": [{"name": "A", "value": "$$SCONE:pw$$"}]}},
        {"command": "python3 main.py $$SCONE:pw$$"},
        {"injection_files": [{"path": "/f", "content": "x\npassword=$$SCONE:pw$$\n"}]},
    ):
        manifest = read_manifest(service_text(secrets={"global": [{"name": "pw", "kind": "ascii"}]}, **fields), "m", {})
        assert [
            (f.code, f.severity) for f in check_service(manifest, mode="production", bases={}, toolchain=SIM).findings
        ] == [("SC1015", "error")]
    mesh = read_manifest(mesh_text(env={"global": {"A": "$$SCONE:pw$$"}}), "m", {})
    assert mesh.model.kind == "mesh"
    assert [(f.code, f.path) for f in check_mesh_values(mesh.model, mesh.document)] == [
        ("SC1015", "env[0].env[0].value")
    ]


def test_what_a_variable_brings_along_is_its_own_affair() -> None:
    text = service_text(secrets={"global": [{"name": "s", "kind": "ascii", "value": "$V"}]})
    manifest = read_manifest(text, "m", {"V": "$$SCONE:pw$$"})
    assert [
        f for f in check_service(manifest, mode="production", bases={}, toolchain=SIM).findings if f.code == "SC1015"
    ] == []


@pytest.mark.parametrize("piece", ["$$SCONE:", "$::", "{{a}", "CON$", "{% raw %}", "$$SCON::pw$ "])
def test_every_text_is_read_in_linear_time(piece: str) -> None:
    start = process_time()
    list(near_misses(piece * (200_000 // len(piece))))
    assert process_time() - start < 5


def test_many_names_in_a_placeholder_without_an_end_are_read_in_no_time() -> None:
    text = f"$$SCONE::{'{{a}}' * 5000} "
    begin = process_time()
    list(near_misses(text))
    assert read_env_file(f"A={text}".encode(), "x.env", {}, {}, {}) == {"A": text[1:-1]}
    assert process_time() - begin < 1
