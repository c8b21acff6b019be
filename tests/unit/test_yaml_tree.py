"""Reading YAML: exact spellings, exact positions, and hostile text that becomes one clear finding."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

from sconectl import yaml_tree
from sconectl.errors import InvalidInput
from sconectl.findings import Finding
from sconectl.yaml_tree import MAX_BYTES, MAX_DEPTH, parse, show_path


def findings(text: str | bytes, **options: Any) -> tuple[Finding, ...]:
    with pytest.raises(InvalidInput) as caught:
        parse(text, "f.yaml", **options)
    return caught.value.findings


def only(text: str | bytes) -> Finding:
    (finding,) = findings(text)
    assert finding.code == "SC1001"
    assert finding.severity == "error"
    return finding


@pytest.mark.parametrize(
    "spelling",
    [
        "0760",
        "0o17",
        "1e3",
        "1_000",
        "true",
        "No",
        "on",
        "12:30:45",
        "2024-01-01",
        "1.0",
        "+1",
        ".5",
        "0x1F",
        "=",
        "-1",
    ],
)
def test_plain_scalars_keep_their_spelling(spelling: str) -> None:
    assert parse(f"a: {spelling}\n", "f").value == {"a": spelling}
    assert parse(f"- {spelling}\n", "f").value == [spelling]


@pytest.mark.parametrize("spelling", ["", "~", "null", "Null", "NULL"])
def test_plain_nulls_are_nothing_and_quoted_ones_text(spelling: str) -> None:
    assert parse(f"a: {spelling}\n", "f").value == {"a": None}
    assert parse(f'a: "{spelling}"\n', "f").value == {"a": spelling}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("|\n  a\n  b\n", "a\nb\n"),
        ("|-\n  a\n\n", "a"),
        ("|+\n  a\n\n", "a\n\n"),
        ("|+2\n    two in\n  none\n\n", "  two in\nnone\n\n"),
        ("|-4\n      #NOPE\n", "  #NOPE"),
        (">\n  a\n  b\n\n  c\n", "a b\nc\n"),
        ('"!#what!$#"', "!#what!$#"),
        ("'it''s'", "it's"),
        ('"\\u00e9\\n"', "é\n"),
        ("a #b", "a"),
        ("a#b", "a#b"),
    ],
)
def test_text_arrives_verbatim(text: str, value: str) -> None:
    assert parse(f"a: {text}", "f").value == {"a": value}


def test_positions_of_values_keys_and_missing_fields() -> None:
    document = parse("build:\n  name: x\n  copy:\n    - a\n    -   b\n", "f.yaml")
    assert str(document.position(("build", "name"))) == "f.yaml:2:9"
    assert str(document.key_position(("build", "name"))) == "f.yaml:2:3"
    assert str(document.position(("build", "copy", 1))) == "f.yaml:5:9"
    assert document.position(("build", "gone", "deeper")) == document.position(("build",))
    assert document.position(("nothing",)) == document.position(())


def test_paths_are_shown_as_people_write_them() -> None:
    assert show_path(("build", "copy", 0, "x")) == "build.copy[0].x"
    assert show_path((0, "name")) == "[0].name"
    assert show_path(()) == ""


def test_an_empty_document_has_a_position() -> None:
    document = parse("", "f")
    assert document.value is None
    assert str(document.position(("a",))) == "f:1:1"


def test_byte_order_mark_and_windows_line_ends_are_taken() -> None:
    assert parse(b"\xef\xbb\xbfa: b\r\nc: |\r\n  x\r\n  y\r\n", "f").value == {"a": "b", "c": "x\ny\n"}


def test_a_colon_in_a_flow_scalar_is_yaml_1_2() -> None:
    assert parse("{A: $$SCONE::b$$}", "f").value == {"A": "$$SCONE::b$$"}


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        (b"a: b\nc: \xff\n", 2, 1, "not UTF-8"),
        ("a: b".encode("utf-16"), 1, 1, "not UTF-8"),
        ("a: b\nc: \0\n", 2, 1, "NUL"),
        ("a:\n\tb: 1\n", 2, 1, "cannot start any token"),
        ("a: [1\nb: 2\n", 2, 2, "not valid YAML"),
        ("a: 'x\n", 2, 1, "not valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, 1, "single document"),
        ("a: 1\nb: 2\na: 3\n", 3, 1, "twice"),
        ("b: &x {a: 1}\nc:\n  <<: *x\n", 3, 3, "merge keys"),
        ("? [a]\n: 1\n", 1, 3, "plain text"),
        ("a: {{name}}\n", 1, 5, "plain text"),
        ("%YAML 9.9\n---\na: 1\n", 1, 1, "not valid YAML"),
        ("a: b: c\n", 1, 5, "not valid YAML"),
    ],
)
def test_broken_text_is_one_finding_at_its_place(text: str | bytes, line: int, column: int, message: str) -> None:
    finding = only(text)
    assert (finding.position.line, finding.position.column) == (line, column)
    assert message in finding.message


def test_all_faults_of_the_tree_are_found_at_once() -> None:
    found = findings("a: 1\na: 2\n<<: {x: 1}\nb: !other 1\n? {c: 1}\n: 2\n")
    assert [f.position.line for f in found] == [2, 3, 4, 5]
    assert found[0].path == "a"


def test_quoted_double_angle_is_an_ordinary_key() -> None:
    assert parse('"<<": x\n', "f").value == {"<<": "x"}


def test_known_tags_are_kept() -> None:
    document = parse("a: !mine\n  x: 1\n", "f", tags={"!mine": "mapping"})
    assert document.tags == {("a",): "!mine"}


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "after expanding aliases"),
        ("a: &x [*x]\n", f"{MAX_DEPTH} levels"),
        ("[" * 5000, f"{MAX_DEPTH} levels"),
        ("[" * 5000 + "]" * 5000, f"{MAX_DEPTH} levels"),
        ("- {A: $$S::b$$}\n- " + "[" * 500_000, f"{MAX_DEPTH} levels"),  # the slower parser has to stop, too
        ("\n".join(" " * n + "a:" for n in range(MAX_DEPTH + 5)), f"{MAX_DEPTH} levels"),
        ("a: " + "x" * MAX_BYTES, str(MAX_BYTES)),
    ],
)
def test_oversized_text_is_refused_quickly(text: str, message: str) -> None:
    started = time.monotonic()
    assert message in only(text).message
    assert time.monotonic() - started < 15


def test_the_deepest_text_that_is_allowed() -> None:
    parse("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f")
    only("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2))


def test_very_deep_text_does_not_end_the_process() -> None:
    program = (
        "from sconectl.errors import InvalidInput\nfrom sconectl.yaml_tree import parse\n"
        "try:\n    parse('[' * 500_000 + ']' * 500_000, 'f')\nexcept InvalidInput:\n    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "refused\n", f"the process ended with {done.returncode}"


@pytest.mark.parametrize("value", ["*hunter2", "!hunter2", "!hunter2 x"])
def test_an_unquoted_value_is_not_in_the_message(value: str) -> None:
    assert not any("hunter2" in str(finding) for finding in findings(f"secrets:\n  - value: {value}\n"))


@pytest.mark.parametrize(
    "value", ["%hunter2", "@hunter2", "`hunter2", '"\\hunter2"', "[hunter2", "'hunter2", "h: hunter2"]
)
def test_a_broken_value_is_not_in_the_message(value: str) -> None:
    assert not any("hunter2" in str(finding) for finding in findings(f"secrets:\n  - value: {value}\n"))


def test_aliased_text_is_limited_too() -> None:
    only("a: &a " + "x" * 500_000 + "\nb:\n" + "- *a\n" * 50_000)  # 25 GB once something copies it


def depth_of(text: str) -> int:
    depth = deepest = 0
    try:
        for event in YAML(typ="safe").parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            deepest = max(deepest, depth)
    except YAMLError:
        pass
    return deepest


@given(st.text(st.sampled_from("-?: \n\ta[{]},'\"!&\r\x85\u2028%#|"), max_size=60))
@settings(max_examples=1500, deadline=None)
def test_the_quick_look_at_the_depth_is_never_too_low(text: str) -> None:
    safe = 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_tree, "SAFE_DEPTH", safe)
        if not yaml_tree._may_be_deep(text):
            assert depth_of(text) <= safe


def test_ordinary_text_is_composed_without_a_look_at_its_events() -> None:
    text = "a:\n  - b: [1, {c: d}]\n" * 20
    assert not yaml_tree._may_be_deep(text)
    assert yaml_tree._may_be_deep("[" * 400)
    assert yaml_tree._may_be_deep("- " * 200 + "a")


@pytest.mark.parametrize("nest", [("[", "]"), ("- ", ""), ("{a: ", "}")])
def test_what_is_composed_unseen_fits_on_a_small_stack(nest: tuple[str, str]) -> None:
    opening, closing = nest
    levels = max(n for n in range(1, 500) if not yaml_tree._may_be_deep(opening * n + "x" + closing * n))
    assert levels > 90
    messages = []
    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: messages.append(only(opening * levels + "x" + closing * levels)))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert f"{MAX_DEPTH} levels" in messages[0].message


def test_whether_text_was_quoted_is_known() -> None:
    document = parse('a: 7\nb: "7"\nc: |\n  7\nd: [7]\n', "f")
    assert [document.is_plain((key,)) for key in "abcd"] == [True, False, False, False]
    assert document.is_plain(("d", 0))
    assert not document.is_plain(("e",))


def test_places_are_mappings() -> None:
    document = parse("a: [x]\n", "f")
    assert set(document.positions) == {(), ("a",), ("a", 0)}
    assert len(document.key_positions) == 1


def test_characters_that_json_escapes_as_two_halves() -> None:
    assert parse(r'{"a": "\ud83d\ude00", "\ud83d\ude00": "b"}', "f").value == {"a": "\U0001f600", "\U0001f600": "b"}


@pytest.mark.parametrize("text", [r'{"a": "\ud800"}', r'{"a": "x\ude00\ud83d"}', r'{"\udfff": "b"}'])
def test_half_a_character_is_a_fault(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(text, "f")
    assert "half of a character" in caught.value.findings[0].message
