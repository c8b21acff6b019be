"""Sessions that are checked by their values: as if their text had been read, positions included."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.errors import InvalidInput
from sconectl.policy.reading import examine_document, parse_session
from sconectl.policy.session_check import as_read, faults_of
from sconectl.text import yaml_text
from sconectl.text.findings import errors_of
from sconectl.text.yaml_tree import parse

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VALUES = st.recursive(
    TEXTS
    | st.none()
    | st.booleans()
    | st.integers(-10, 70_000)
    | st.sampled_from(["0760", "1e3", "true", "~", "", "a: b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)
GOOD: dict[str, Any] = {
    "name": "shop/web",
    "version": "0.3.12",
    "access_policy": {"read": ["CREATOR"], "update": ["CREATOR"]},
    "services": [{"name": "web", "image_name": "web", "command": ["web"], "mrenclaves": ["ab" * 32], "pwd": "/"}],
    "images": [{"name": "web"}],
    "secrets": [{"name": "key", "kind": "binary", "size": 16}],
}
BAD: list[dict[str, Any]] = [
    {"name": "not a name!"},
    {"version": "0.2"},
    {"unknown": "key"},
    {"services": [{"name": "web", "image_name": "gone"}]},
    {"secrets": [{"name": "a", "kind": "ascii"}, {"name": "a", "kind": "binary", "size": 0}]},
    {"secrets": [{"name": "j", "kind": "jwt", "payload": {"n": 5, "t": True, "s": "5"}}]},
    {"access_policy": {"read": ["NOBODY:"]}},
]


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4))
def test_values_are_taken_as_their_text_would_be_read(value: dict[str, Any]) -> None:
    written, given_ = parse(yaml_text.dump(value), "f"), as_read(value, "f")
    assert given_.value == written.value
    for path in written.positions:
        text: Any = written.value
        for step in path:
            text = text[step]
        if isinstance(text, str) and (text in {"true", "false"} or text[:1] in set("+-.0123456789")):
            assert given_.is_plain(path) == written.is_plain(path)  # the rules ask this of numbers and truth values


def test_what_is_in_order_is_not_written_to_be_checked() -> None:
    def never() -> str:
        raise AssertionError("written")

    assert faults_of(GOOD, never, file="web") == ()


@pytest.mark.parametrize("change", BAD, ids=str)
def test_faults_are_those_of_the_text_with_their_positions(change: dict[str, Any]) -> None:
    session = {**GOOD, **change}
    text = yaml_text.dump(session)
    with pytest.raises(InvalidInput) as raised:
        parse_session(text, file="web")
    assert faults_of(session, lambda: text, file="web") == raised.value.findings


@pytest.mark.parametrize(
    "change", [*BAD, {"version": "0.3.1", "services": [{"name": "w", "mrenclaves": ["a"]}]}], ids=str
)
def test_rules_that_are_left_out_find_no_errors(change: dict[str, Any]) -> None:
    document = as_read({**GOOD, **change}, "web")
    whole, short = examine_document(document), examine_document(document, remarks=False)
    assert errors_of(whole.findings) == errors_of(short.findings)


def test_values_that_no_session_holds() -> None:
    with pytest.raises(TypeError, match="float"):
        as_read({"a": [1.5]}, "f")
