"""The three binding times of a value: what each stage replaces, and what it leaves alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.manifest.placeholders import bind_mesh, chain_variables, mesh_variables, substitute_variables

KNOWN = {"A": "1", "EMPTY": "", "NESTED": "$A {{x}} ${A}", "LONG_name2": "ok"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A", "1"),
        ("${A}", "1"),
        ("x$A/y${A}z", "x1/y1z"),
        ("$LONG_name2.", "ok."),
        ("${A:-other}", "1"),
        ("${GONE:-other}", "other"),
        ("${GONE:-}", ""),
        ("${EMPTY:-other}", "other"),
        ("$EMPTY", ""),
        ("$NESTED", "$A {{x}} ${A}"),
        ("${GONE:-{{x}}}", "{{x}}"),
        ("${A:-{{x}}}", "1"),
        ("{{x}}$A{{y}}", "{{x}}1{{y}}"),
        ("{{$A}}", "{{$A}}"),
        ("$$A", "$$A"),
        ("$$SCONE::a$$", "$$SCONE::a$$"),
        ("$A$$SCONE::A:crt$$$A", "1$$SCONE::A:crt$$1"),
        ("$$SCONE::a$$$$SCONE::b$$", "$$SCONE::a$$$$SCONE::b$$"),
        ("!#what!$#", "!#what!$#"),
        ("$ 5 $1 ${ } ${1} $-", "$ 5 $1 ${ } ${1} $-"),
        ("cost: 5$", "cost: 5$"),
    ],
)
def test_variables(text: str, expected: str) -> None:
    assert substitute_variables(text, KNOWN) == (expected, ())


def test_unknown_names_stay_and_are_reported() -> None:
    assert substitute_variables("$A $GONE ${LOST} ${A}", KNOWN) == ("1 $GONE ${LOST} 1", ("GONE", "LOST"))


@given(st.text(st.sampled_from("${}:-AS C\n"), max_size=20))
def test_text_without_known_names_never_changes(text: str) -> None:
    result, missing = substitute_variables(text, {})
    if ":-" not in text:
        assert result == text
    assert len(missing) <= text.count("$")


def test_the_first_source_wins() -> None:
    assert chain_variables([{"A": "set"}, {"A": "file", "B": "file"}, {"A": "env", "B": "env", "C": "env"}]) == {
        "A": "set",
        "B": "file",
        "C": "env",
    }


def test_mesh_names_are_bound_once() -> None:
    values = {"a": "{{b}}", "b": "2", "cas.cas.cas_url": "host"}
    assert bind_mesh("{{a}} {{ b }} {{cas.cas.cas_url}} {{gone}}", values.get) == ("{{b}} 2 host {{gone}}", ("gone",))
    assert bind_mesh("$$SCONE::a$$ {a} {{}} {{ }} {{a", values.get) == ("$$SCONE::a$$ {a} {{}} {{ }} {{a", ())
    assert mesh_variables("{{b}}{{ a }}{{b}}") == ("b", "a", "b")
