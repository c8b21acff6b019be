"""What `yaml_text.dump` writes is what every YAML reader that meets our files reads back."""

from __future__ import annotations

import math
from typing import Any

import helm_python as helm
import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from sconectl.text import yaml_text, yaml_tree

NASTY = [
    *("", " ", "  lead", "trail ", "no", "Yes", "on", "Off", "y", "N", "true", "null", "~", "Null", "NaN", ".inf"),
    *("1e3", "0760", "0o17", "0x1F", "1_000", "12:30:45", "2024-01-01", "-1", "+1", ".5", "1.", "=", "<<", "e5"),
    *("#", "a #b", "a: b", "a:", "- a", "-", "?", "? a", "!tag", "&a", "*a", "%YAML", "@a", "`a", "|", ">", "---"),
    *("...", "{{x}}", "{{ .Values.x }}", "$$SCONE::a$$", "$$SCONE::a:crt$$\n", "[a", "{a", "a,b"),
    *("'", '"', "\\", "\\n", "'a\"b\\", "\n", "\n\n", "a\n", "a\n\n", "\na", " \na", "a\n b\n  c\n", "  a\nb"),
    *("a\n   \nb", "a\n   ", "a \nb", "a\n \n", "\t", "\ta\nb", "a\n\tb", "a\n\t\nb\n", "a\tb", "a\r\nb", "\r"),
    *("#a\nb", "---\na", "a\n---\nb", "a\n...\n", "- a\n- b", "\x00", "a\x00\nb", "\x01", "\x1b[0m", "\x7f"),
    *("a\x85b", "a\x85\nb", "a\u2028b", "a\u2028\nb\u2029c", "\ufeff", "\ufeff\na", "\xa0a\nb", "\ufffe", "\u202e"),
    *("Zürich\nöä", "日本\n", "😀", "😀\nx", "x" * 2000, "long " * 400, "?" * 1100),
]  # fmt: skip
TEXT = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.sampled_from(" \n\t#:-ab{}'\"|>?$%\\0e\x85\u2028\u00e9"), max_size=12),
    st.text(st.characters(codec="utf-8"), max_size=30),
)


def trees(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaf,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
        max_leaves=12,
    )


TEXT_TREES = trees(TEXT)
TYPED_TREES = trees(
    st.one_of(TEXT, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
)


def ruamel_safe(text: str) -> Any:
    return YAML(typ="safe").load(text)


@given(TEXT_TREES)
@example({text: text for text in NASTY})
@example(NASTY)
@example([[text, [text]] for text in NASTY])
@example([{text: {"k": text}} for text in NASTY])
@settings(max_examples=1500, deadline=None)
def test_every_reader_reads_texts_back(value: Any) -> None:
    text = yaml_text.dump(value)
    assert ruamel_safe(text) == value
    assert yaml.safe_load(text) == value
    assert yaml_tree.parse(text, "f").value == value


@given(TYPED_TREES)
@settings(max_examples=1000, deadline=None)
def test_types_survive(value: Any) -> None:
    text = yaml_text.dump(value)
    for read in (ruamel_safe, yaml.safe_load):
        got = read(text)
        assert got == value
        assert repr(got) == repr(value)  # 1 is equal to True and to 1.0


@given(st.dictionaries(TEXT, TEXT_TREES, max_size=4))
@example({text: [text, {text: text}] for text in NASTY if len(text) < 1000})
@settings(max_examples=300, deadline=None)
def test_helm_reads_texts_back(value: dict[str, Any]) -> None:
    assert helm.values_from_yaml(yaml_text.dump(value)) == value


@given(TYPED_TREES, TEXT)
@settings(max_examples=300, deadline=None)
def test_a_comment_changes_nothing(value: Any, comment: str) -> None:
    text = yaml_text.dump(value, comment=comment)
    assert ruamel_safe(text) == yaml.safe_load(text) == value
    assert text.endswith(yaml_text.dump(value))


@pytest.mark.parametrize("text", NASTY)
def test_a_text_alone_is_a_document(text: str) -> None:
    assert yaml_tree.parse(yaml_text.dump(text), "f").value == text


def test_the_form_is_the_one_people_review() -> None:
    value = {
        "name": "web",
        "flag": "no",
        "mode": "0760",
        "port": 8080,
        "cpu": 0.5,
        "tiny": 1e-07,
        "none": None,
        "empty": [{}, []],
        "pem": "-----BEGIN-----\nabc\n",
        "list": [{"a": 1, "b": ["x"]}, ["v", "w"]],
    }
    assert yaml_text.dump(value, comment="one\n\ntwo") == (
        "# one\n#\n# two\n"
        'name: web\nflag: "no"\nmode: "0760"\nport: 8080\ncpu: 0.5\ntiny: 1.0e-07\n'
        '"none": null\nempty:\n  - {}\n  - []\n'
        "pem: |\n  -----BEGIN-----\n  abc\n"
        "list:\n  - a: 1\n    b:\n      - x\n  - - v\n    - w\n"
    )


@pytest.mark.parametrize("value", [b"bytes", {"a": object()}, [{1, 2}], math.inf, math.nan])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="as YAML"):
        yaml_text.dump(value)


def test_tagged_collections() -> None:
    value = {"a": {"b": yaml_text.Tagged("!mine", {"c": "d", "e": ["f"]})}, "g": "h"}
    text = yaml_text.dump(value)
    assert text == "a:\n  b: !mine\n    c: d\n    e:\n      - f\ng: h\n"
    document = yaml_tree.parse(text, "f", tags={"!mine": "mapping"})
    assert document.value == {"a": {"b": {"c": "d", "e": ["f"]}}, "g": "h"}
    assert document.tags == {("a", "b"): "!mine"}
