"""The three binding times of a value: what each stage replaces, and what it leaves alone."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.manifest.reading.variables import fill_in
from sconectl.manifest.spelling.placeholders import bind_mesh, expressions, unsupported

NOTHING: dict[str, str] = {}


def test_mesh_names_are_bound_once() -> None:
    values = {"a": "{{b}}", "b": "2", "cas.cas.cas_url": "host"}
    assert bind_mesh("{{a}} {{ b }} {{cas.cas.cas_url}} {{gone}}", values.get) == ("{{b}} 2 host {{gone}}", ("gone",))
    assert bind_mesh("$$SCONE::a$$ {a} {{}} {{ }} {{a", values.get) == ("$$SCONE::a$$ {a} {{}} {{ }} {{a", ())
    assert [e.name for e in expressions("{{b}}{{ a }}{{b}}")] == ["b", "a", "b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{{ x | default(value="a b") }}', "a b"),
        ("{{x|default(value='q\"q')}}!", 'q"q!'),
        ("{{ x | default( value = `t` ) }}", "t"),
        ("{{ x | default(value=-1.5) }}{{ y | default(value=true) }}", "-1.5true"),
        ('{{ x | default(value="") }}', ""),
        ('{{ a | default(value="no") }}', "1"),
        ('{{ empty | default(value="no") }}', ""),
        ('{{ x | default(value="<{{a}}>") }}', "<1>"),
        ("""{{ x | default(value="{{ y | default(value='{{a}}') }}") }}""", "1"),
        ("{% raw %}{{a}} {% if %}{% endraw %} {{a}}", "{{a}} {% if %} 1"),
        ("{%raw%}{{a}}{%endraw%}{% raw %}{{b}}{% endraw %}", "{{a}}{{b}}"),
        ("50 {% {a} {{1,2},{3}} ${#array[@]} {#", "50 {% {a} {{1,2},{3}} ${#array[@]} {#"),
    ],
)
def test_defaults_and_raw_blocks_of_templates(text: str, expected: str) -> None:
    assert bind_mesh(text, {"a": "1", "empty": ""}.get) == (expected, ())
    assert unsupported(text) == ()


def test_a_name_in_a_default_may_be_missing() -> None:
    assert bind_mesh('{{x | default(value="{{y}}")}}', NOTHING.get) == ("{{y}}", ("y",))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{{ a | upper }}", "filter"),
        ('{{ a | upper | default(value="x") }}', "filter"),
        ('{{ a | default("x") }}', "filter"),
        ('{{ a | default(value="x) }}', "filter"),
        ("{{ a + 1 }}", "else than a name"),
        ("{{ now() }}", "else than a name"),
        ('{{ "text" }}', "else than a name"),
        ("{{- a -}}", "else than a name"),
        ("{{$A}}", "else than a name"),
        ("{% if a %}x{% endif %}", "statements"),
        ("{%- raw -%}{{a}}{%- endraw -%}", "statements"),
        ("{% endraw %}", "statements"),
        ("{# remark #}", "statements"),
        ("{% raw %}{{a}}", "{% endraw %}"),
        ("""{{ x | default(value="{{ y | upper }}") }}""", "filter"),
    ],
)
def test_other_forms_of_templates_are_named_and_left_alone(text: str, part: str) -> None:
    found = unsupported(text)
    assert len(found) == 1
    assert part in found[0]
    if "default(value" not in text:
        assert bind_mesh(text, NOTHING.get)[0] == text


@given(st.text(st.sampled_from("{}%|# a\"'()=$:-rw"), max_size=30))
def test_without_templates_text_never_changes(text: str) -> None:
    if not unsupported(text) and not expressions(text) and "raw" not in text:
        assert bind_mesh(text, NOTHING.get) == (text, ())


@pytest.mark.parametrize(
    "piece",
    [
        *("{% raw %}", "{{ a | default(value='", '{{ a | default(value="x"', "{{", "{{ a", "{%", "{#", '{{"'),
        *("${A:-", "${A:-{{", "${A:-}", "$$SCONE::", "$$", "$A", "}", "{{ a | default(value=`{{ b | "),
    ],
)
@pytest.mark.parametrize("end", ["", "}" * 100_000, "$A" * 50_000 + "}" * 100_000])
def test_every_text_is_read_in_linear_time(piece: str, end: str) -> None:
    text = piece * (400_000 // len(piece)) + end
    before = process_time()
    fill_in(text, {"A": "x"}.get)
    bind_mesh(text, {"a": "x"}.get)
    unsupported(text)
    assert process_time() - before < 5
