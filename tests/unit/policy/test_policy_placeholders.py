"""Placeholders: the grammar, the table of formats, and single-pass replacement."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.policy.forms.placeholders import (
    FORMATS,
    PlaceholderError,
    check,
    escape_json,
    find,
    substitute,
    substitute_text,
    target_of,
)
from sconectl.text.secret_placeholders import is_reference


def test_neighbours_suffixes_and_escapes() -> None:
    found = find("a $$SCONE::k:pkcs8:pem$$$$SCONE::c:crt:pem|escape(json)$$ $$SCONE::x-y.z$$ $$ $HOME")
    assert [(one.name, one.suffix, one.escape_json) for one in found] == [
        ("k", "pkcs8:pem", False),
        ("c", "crt:pem", True),
        ("x-y.z", "", False),
    ]


@pytest.mark.parametrize(
    "text",
    ["$$SCONE::a", "$$SCONE::$$", "$$SCONE::a b$$", "$$SCONE::a:$$", "$$SCONE::a|escape(xml)$$", "$$SCONE::a::b$$"],
)
def test_malformed_placeholders(text: str) -> None:
    with pytest.raises(PlaceholderError):
        find(text)


def test_no_placeholder_at_all() -> None:
    assert find("$$SCONE:my$$ $SCONE::a$ ${A} $$") == []


@pytest.mark.parametrize(("kind", "suffix"), [(kind, suffix) for kind, table in FORMATS.items() for suffix in table])
def test_every_format_of_every_kind(kind: str, suffix: str) -> None:
    placeholder = find(f"$$SCONE::s{':' if suffix else ''}{suffix}$$")[0]
    assert target_of(placeholder, {"s": kind}).secret == "s"
    others = {known for table in FORMATS.values() for known in table} - set(FORMATS[kind]) - {""}
    for other in others:
        with pytest.raises(PlaceholderError) as caught:
            target_of(find(f"$$SCONE::s:{other}$$")[0], {"s": kind})
        assert caught.value.rule == "P2"


def test_full_name_wins_over_legacy_suffix() -> None:
    placeholder = find("$$SCONE::server.crt$$")[0]
    assert target_of(placeholder, {"server.crt": "ascii", "server": "x509"}).secret == "server.crt"
    old = target_of(placeholder, {"server": "x509"})
    assert (old.secret, old.format, old.legacy) == ("server", "crt:pem", True)
    with pytest.raises(PlaceholderError):
        target_of(placeholder, {"server": "ascii"})


@pytest.mark.parametrize(
    ("text", "text_only", "rule"),
    [
        ("$$SCONE::b$$", True, "P3"),
        ("$$SCONE::b:bin$$", True, "P3"),
        ("$$SCONE::b:bin|escape(json)$$", False, "P3"),
        ("$$SCONE::f$$", False, "P3"),
        ("$$SCONE::k:der$$", True, "P3"),
        ("$$SCONE::gone$$", True, "P1"),
    ],
)
def test_places(text: str, text_only: bool, rule: str) -> None:
    with pytest.raises(PlaceholderError) as caught:
        check(find(text)[0], {"b": "binary", "f": "config-fragment", "k": "private-key"}, text_only=text_only)
    assert caught.value.rule == rule


def test_values_are_not_looked_into() -> None:
    values = {"a": b"$$SCONE::b$$", "b": b"never"}
    assert substitute_text("<$$SCONE::a$$>", lambda placeholder: values[placeholder.name]) == "<$$SCONE::b$$>"


def test_bytes_stay_bytes_and_text_must_be_text() -> None:
    assert substitute("x$$SCONE::a$$y", lambda _: b"\xff\0") == b"x\xff\0y"
    for value in (b"\xff", b"a\0"):
        with pytest.raises(PlaceholderError) as caught:
            substitute_text("$$SCONE::a$$", lambda _, value=value: value)  # type: ignore[misc]
        assert value.decode("latin-1") not in caught.value.message


def test_references() -> None:
    assert is_reference("$$SCONE::a$$")
    assert not is_reference("x$$SCONE::a$$")
    assert not is_reference("$$SCONE::a$$$$SCONE::b$$")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_escaped_text_fits_json_strings(text: str) -> None:
    assert json.loads(b'"' + escape_json(text.encode()) + b'"') == text
