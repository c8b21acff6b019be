"""`$NAME` in texts: the forms of Docker Compose, what is missing in them, and the text that stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.manifest.reading.variables import escape, fill_in

KNOWN = {"A": "1", "EMPTY": "", "NESTED": "$A {{x}} ${A}", "LONG_name2": "ok"}


def filled(text: str) -> str:
    """Return a text that lacks nothing."""
    result = fill_in(text, KNOWN.get)
    assert result.missing == ()
    assert result.faults == ()
    return result.text


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
        ("$$A", "$A"),
        ("$$SCONE::a$$", "$$SCONE::a$$"),
        ("$A$$SCONE::A:crt$$$A", "1$$SCONE::A:crt$$1"),
        ("$$SCONE::a$$$$SCONE::b$$", "$$SCONE::a$$$$SCONE::b$$"),
        ("!#what!$#", "!#what!$#"),
        ("$ 5 $1 ${ } ${1} $-", "$ 5 $1 ${ } ${1} $-"),
        ("cost: 5$", "cost: 5$"),
    ],
)
def test_variables(text: str, expected: str) -> None:
    assert filled(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${GONE:-$A}", "1"),
        ("${GONE:-${A}}x", "1x"),
        ("${GONE:-${LOST:-${A}}}", "1"),
        ("${A:-$GONE}", "1"),
        ("${GONE:-$$SCONE::pw:hex$$}", "$$SCONE::pw:hex$$"),
        ('${GONE:-{{ x | default(value="{{y}}") }}}', '{{ x | default(value="{{y}}") }}'),
        ("${GONE:-a}b}", "ab}"),
        ("}$A}", "}1}"),
        ('{{ x | default(value="$A {{y}}") }}$A', '{{ x | default(value="$A {{y}}") }}1'),
        ("{% raw %}$A{% endraw %}", "{% raw %}1{% endraw %}"),
        ("$$SCONE::old $A", "$$SCONE::old 1"),
        ("$$SCONE::{{name}}:crt$$$A", "$$SCONE::{{name}}:crt$$1"),
    ],
)
def test_defaults_may_hold_variables_and_other_placeholders(text: str, expected: str) -> None:
    assert filled(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A-other}${EMPTY-other}${GONE-other}", "1other"),
        ("${A:+other}|${EMPTY:+other}|${GONE:+other}", "other||"),
        ("${A+other}|${EMPTY+other}|${GONE+other}", "other|other|"),
        ("${A:?is needed}${A?is needed}${EMPTY?}", "11"),
        ("${A:+<$A>}", "<1>"),
        ('${GONE:-{"a": {"b": 1}}}', '{"a": {"b": 1}}'),
        ('${A:-{"a": {"b": 1}}}', "1"),
    ],
)
def test_forms_of_compose(text: str, expected: str) -> None:
    assert filled(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$$A", "$A"),
        ("pa$$A", "pa$A"),
        ("$$$A", "$$A"),
        ("$${A}", "${A}"),
        ("$$${A:-x}", "$${A:-x}"),
        ("${GONE:-$$A}", "$A"),
        ("$$", "$$"),
        ("a$$5 $$", "a$$5 $$"),
        ("$${{x}}", "$${{x}}"),
        ("$$SCONE::a$$A", "$$SCONE::a$$A"),
        ("$$SCONE::{{ which }}:crt$$A", "$$SCONE::{{ which }}:crt$$A"),
        ("$$$SCONE::a$$", "$$$SCONE::a$$"),
    ],
)
def test_two_dollars_are_a_dollar_in_front_of_a_name(text: str, expected: str) -> None:
    assert filled(text) == expected


def test_unknown_names_stay_and_are_reported() -> None:
    result = fill_in("$A $GONE ${LOST} ${A}", KNOWN.get)
    assert (result.text, result.missing) == ("1 $GONE ${LOST} 1", ("GONE", "LOST"))
    assert fill_in("${GONE:?why $A} ${EMPTY:?} ${GONE?}", KNOWN.get).missing == ("GONE", "EMPTY", "GONE")


def test_names_in_defaults_are_missed_only_where_the_default_counts() -> None:
    assert fill_in("${GONE:-$LOST}", KNOWN.get).missing == ("LOST",)
    assert fill_in("${A:-$LOST}${GONE:+$LOST}", KNOWN.get).missing == ()


@pytest.mark.parametrize("text", ["$EMPTY", "${EMPTY}", "${EMPTY:-}", "${GONE:-}", "${GONE-}", "x${GONE:+y}", "${A:+}"])
def test_what_leaves_nothing_is_said(text: str) -> None:
    assert len(fill_in(text, KNOWN.get).empty) == 1
    assert filled(text) in ("", "x")


@pytest.mark.parametrize(
    "text", ["${A", "${A:-", "${A%x}", "${A/a/b}", "${A:0:2}", "${A[@]}", "${A:=x}", "${GONE:-$A "]
)
def test_forms_that_nobody_knows_are_faults(text: str) -> None:
    assert [name for name, _ in fill_in(text, KNOWN.get).faults] == [text[2 : text.find(":") if ":-$" in text else 3]]


@given(st.text(st.sampled_from("${}:-AS C\n?+"), max_size=20))
def test_text_without_known_names_never_changes_in_silence(text: str) -> None:
    result = fill_in(text, lambda _name: None)
    if not result.names and "$$" not in text:
        assert result.text == text
    assert len(result.missing) + len(result.faults) <= text.count("$")


TEXTS = st.lists(
    st.sampled_from(
        ["$", "$$", "A", "${A}", "${A:-", "}", "{", "{{", "}}", "{{a}}", " ", "$$SCONE::a$$", "SCONE::", "|"]
    ),
    max_size=12,
).map("".join)


@given(TEXTS)
def test_escaped_text_is_read_as_it_was(text: str) -> None:
    result = fill_in(escape(text), {"A": "no"}.get)
    if "SCONE::" not in text or text.count("SCONE::") == text.count("$$SCONE::a$$"):
        assert result.text == text
        assert result.names == ()
