"""Templates in Tera: what upstream's folders of chart templates say, and values that can never change their form."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.errors import InvalidInput
from sconectl.plan.mesh.own_chart import read_own_chart
from sconectl.plan.values.templates import bind_yaml
from sconectl.text.tera import Tera
from sconectl.text.yaml_tree import parse

NAMES = {"name": "web", "image_name": "r/web:1", "WHO": "Me & You", "csv": "a,b", "path": "//a/b//", "port": "443"}
FOLDER = {
    "Chart.yaml.template": b"apiVersion: v2\nname: {{ name | slugify }}\nversion: 0.1.0\nappVersion: '{{ port }}'\n",
    "values.template": b"""
{#- made for upstream -#}
image: {% raw %}{{image_name}}{% endraw %}
{% set host = name | upper %}
host: {{ host }}
{%- if secret is defined %}
secret: {{ secret }}
{%- elif port is matching("^[0-9]+$") and not gone %}
port: {{ port }}
{%- endif %}
list:
{%- for part in csv | split(pat=",") %}
  - {{ part }}-{{ loop.index }}
{%- endfor %}
""",
    "charts/.helmignore": b"*.swp\n",
    "charts/templates/x.yaml": b"{{ .Values.host }}",
    "charts/values.yaml.template": b"old: {{gone}}\n",
    "charts/values.yaml": b"old: 1\n",
}


def filled(text: str, names: Mapping[str, str] = NAMES) -> object:
    tera = Tera(names.get)
    return bind_yaml(tera.fill_in(text.encode(), "values.template"), "values.template", tera.lookup).value


def refused(text: bytes) -> tuple[str, int, str]:
    with pytest.raises(InvalidInput) as caught:
        read_own_chart({**FOLDER, "values.template": text}, "mine", NAMES.get)
    [found] = caught.value.findings
    assert found.position.file == "mine/values.template"
    return found.code, found.position.line, found.message


def test_a_folder_of_templates_becomes_a_chart() -> None:
    chart = read_own_chart(FOLDER, "mine", NAMES.get)
    assert chart.head == {"apiVersion": "v2", "name": "web", "version": "0.1.0", "appVersion": "443"}
    assert sorted(chart.files) == [".helmignore", "templates/x.yaml", "values.yaml"]
    assert chart.files["templates/x.yaml"] == FOLDER["charts/templates/x.yaml"]
    document = parse(chart.files["values.yaml"].decode(), "values.yaml")
    assert document.value == {"image": "r/web:1", "host": "WEB", "port": "443", "list": ["a-1", "b-2"]}
    assert document.is_plain(("port",))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('gone | default(value="x")', "x"),
        ('WHO | replace(from="&", to="and")', "Me and You"),
        ('csv | split(pat=",") | join(sep="+")', "a+b"),
        ('csv | split(pat=",") | json_encode()', '["a", "b"]'),
        ('csv | split(pat=",") | first', "a"),
        ('csv | split(pat=",") | nth(n=1)', "b"),
        ('csv | split(pat=",") | concat(with="c") | length', "3"),
        ('csv | split(pat=",") | slice(start=1) | last', "b"),
        ('path | trim_start_matches(pat="/") | trim_end_matches(pat="/")', "a/b"),
        ("WHO | slugify", "me-you"),
        ("WHO | upper | truncate(length=2)", "ME…"),
        ("WHO | urlencode", "Me%20%26%20You"),
        ('WHO is containing("&")', "true"),
        ('WHO is starting_with("Me")', "true"),
        ('WHO is ending_with("me")', "false"),
        ("gone is undefined", "true"),
        ('name ~ "-" ~ port', "web-443"),
        ("1 + 2 * 3", "7"),
    ],
)
def test_filters_and_tests_are_those_of_tera(expression: str, expected: str) -> None:
    assert filled(f"a: {{{{ {expression} }}}}") == {"a": expected}
    assert filled(f'a: "x{{{{ {expression} }}}}"') == {"a": f"x{expected}"}


@pytest.mark.parametrize(
    ("text", "code", "line", "says"),
    [
        (b"a: 1\nb: {{ gone }}", "SC2006", 2, "{{gone}} has no value"),
        (b"a: 1\nb: {{ gone | upper }}", "SC2016", 2, "'gone' is undefined"),
        (b"a: 1\n{% for x in gone %}{% endfor %}", "SC2016", 2, "'gone' is undefined"),
        (b"a: 1\n\nb: {{ name | sparkle }}", "SC2016", 3, "sparkle"),
        (b"a: 1\n{% if name %}", "SC2016", 2, "endif"),
        (b"a: {% include '/etc/passwd' %}", "SC2016", 1, "loader"),
        (b"a: {{ name.__class__.__mro__ }}", "SC2016", 1, "unsafe"),
        (b"a: {{ name | replace(from=1, to=2) }}", "SC2016", 1, "must be str"),
        (b"a: {{ 1 / 0 }}", "SC2016", 1, "zero"),
        (b"a: 1\nb: {{ 10 ** 10 ** 10 }}", "SC2016", 2, "no **"),
        (b"a: {{ name * 1000000000000 }}", "SC2016", 1, "* for numbers"),
        (b"a: 1\nb: {{ {}[name] }}", "SC2016", 2, "no such key or attribute"),
        (b"a: 1\nb: {{ {}[name] | upper }}", "SC2016", 2, "no such key or attribute"),
        (b"a: {{ [] | first }}", "SC2016", 1, "sequence was empty"),
        (b"{% set x %}{{ name }}{% endset %}\na: {{ x }}", "SC2016", 2, "the text of a block"),
        (b"{% macro x() %}{{ name }}{% endmacro %}a: {{ x() }}", "SC2016", 1, "the text of a block"),
        (b"a: 1\n{% filter slugify %}{{ name }}{% endfilter %}", "SC2016", 2, "the text of a block"),
        (b"{% raw %}a: {{sconectl_value_9}}{% endraw %}", "SC2006", 1, "{{sconectl_value_9}} has no value"),
        (b"a: 1\n\xff", "SC2016", 2, "UTF-8"),
        (b"{{ name }}: 1", "SC1001", 1, "a key must be plain text"),
        (b"- {{ name }}", "SC2016", 1, "expected a mapping"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: bytes, code: str, line: int, says: str) -> None:
    found = refused(text)
    assert found[:2] == (code, line) and says in found[2]


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30) | st.sampled_from(
    [
        "}}{{ gone }}",
        "a: b\n---\nc: d",
        "{% raw %}",
        "!!python/x",
        "'\"",
        "&a *a",
        "#",
        "{{name}}",
        "\n  x: 1",
        "[",
        "{",
    ]
)


@given(TEXTS, TEXTS)
def test_a_value_is_a_value_and_nothing_else(one: str, other: str) -> None:
    text = 'a: {{ one }}\nb: "{{ one ~ other }}"\nc: [{{ other }}, x]\n{% if one %}d: {{ one | trim }}\n{% endif %}'
    expected = {"a": one, "b": one + other, "c": [other, "x"]} | ({"d": one.strip()} if one else {})
    assert filled(text, {"one": one, "other": other}) == expected


def test_names_may_have_dots() -> None:
    names = {"cas.main.cas_url": "cas:8081"}
    assert filled("a: {{ cas.main.cas_url }}\nb: {{ cas.main.cas_url | upper }}", names) == {
        "a": "cas:8081",
        "b": "CAS:8081",
    }
    assert filled("a: {{ cas.other | default(value=1) }}\nb: {% if cas.x.y %}1{% endif %}", names) == {
        "a": "1",
        "b": None,
    }
    for text in ("a: {{ cas.other.cas_url }}", "a: {{ cas.other.cas_url | upper }}"):
        assert "cas.other.cas_url" in refused(text.encode())[2]


def test_a_key_that_a_mapping_lacks_never_becomes_text_nor_is_it_said() -> None:
    with pytest.raises(InvalidInput) as caught:
        filled("a: {{ {}[key] }}", {"key": "x}}\nevil: 1 #{{x", "x": "1"})
    assert "evil" not in caught.value.findings[0].message


def test_names_in_the_text_of_a_default_are_filled_in_later() -> None:
    assert filled('a: {{ gone | default(value="{{ port }}/{{name}}") }}') == {"a": "443/web"}
    assert filled('a: {{ gone | default(value="{{ port }}") }}', {"port": "a: b\n- {{ x }}"}) == {
        "a": "a: b\n- {{ x }}"
    }
    with pytest.raises(InvalidInput) as caught:
        filled('a: {{ gone | default(value="{{nowhere}}") }}')
    assert "{{nowhere}} has no value" in caught.value.findings[0].message


@pytest.mark.parametrize(
    "template",
    [
        "{{ secret | filesizeformat }}",
        "{{ [1] | map(secret) | list }}",
        "{{ [1] | select(secret) | list }}",
        '{{ {"a": 1}[secret] }}',
        '{{ "%d" | format(secret) }}',
        "{{ secret.x }}",
        "{{ [] | attr(secret) }}",
        "{{ secret | int + secret }}",
    ],
)
def test_no_message_says_a_value(template: str) -> None:
    """Python and jinja2 put into their messages what they could not use."""
    with pytest.raises(InvalidInput) as caught:
        Tera({"secret": "__a-canary"}.get).fill_in(template.encode(), "values.template")
    [finding] = caught.value.findings
    assert "the template fails" in finding.message and "canary" not in finding.message
