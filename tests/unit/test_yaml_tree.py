"""Reading YAML: exact spellings, exact positions, and broken text that becomes one clear finding."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, SequenceNode

from sconectl.errors import InvalidInput
from sconectl.text import yaml_nodes
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Document, lines_of, parse, parse_all, show_path


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
        ("a: b\nc: \0\n", 2, 4, "NUL"),
        ("a: b\r\nc:\r\n  - \x01\n", 3, 5, "a control character (U+0001)"),
        ("a: \ud800\n", 1, 1, "not UTF-8"),
        ("a:\n\tb: 1\n", 2, 1, "a tab where spaces are expected"),
        ("a: |\n\tb\n", 2, 1, "a tab where spaces are expected"),
        ("- - -\tb\n", 1, 6, "a tab where spaces are expected"),
        ("a: @b\n", 1, 4, "cannot begin with this character"),
        ("a: `b`\n", 1, 4, "cannot begin with this character"),
        ("a: *\n", 1, 5, "cannot begin with *"),
        ("a: &\n", 1, 5, "cannot begin with &"),
        ("a: *b\n", 1, 4, "an alias that is not defined"),
        ("- &a b\n- &a c\n", 2, 3, "defined twice"),
        ("a: [1\nb: 2\n", 1, 4, "a list in brackets is not closed"),
        ("a: [\n", 2, 1, "something is missing between brackets"),
        ("a: {b: 1\nc: 2\n", 1, 4, "a mapping in braces is not closed"),
        ("a: 'x\nb: c\n", 1, 4, "a quote that is never closed"),
        ('a: "\\h"\n', 1, 5, "a \\ that begins no escape"),
        ("a: |x\n", 1, 5, "after | or >"),
        ("a: ]\n", 1, 4, "a value cannot begin with"),
        ("a: 1\n b: 2\n", 2, 3, "a key is not expected here"),
        ("- a\nb: c\n", 2, 1, "the indentation does not fit"),
        ("  a: 1\n b: 2\n", 2, 2, "the indentation does not fit"),
        ("a: 1\nb\nc: 2\n", 3, 1, "without a colon"),
        ("{a: b::}\n", 1, 7, "a colon inside of unquoted text"),
        ("a: !<b c\n", 1, 7, "a broken tag"),
        ("%A\n---\na: b\n", 1, 3, "begins with %"),
        ("a: 1\n---\nb: 2\n", 2, 1, "single document"),
        ("a: 1\nb: 2\na: 3\n", 3, 1, "twice"),
        ("b: &x {a: 1}\nc:\n  <<: *x\n", 3, 3, "merge keys"),
        ("? [a]\n: 1\n", 1, 3, "plain text"),
        ("a: {{name}}\n", 1, 5, "plain text"),
        ("%YAML 9.9\n---\na: 1\n", 1, 1, "another version of YAML"),
        ("a: b: c\n", 1, 5, "a key is not expected here"),
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


@pytest.mark.parametrize("value", ["*hunter2", "!hunter2", "!hunter2 x"])
def test_an_unquoted_value_is_not_in_the_message(value: str) -> None:
    assert not any("hunter2" in str(finding) for finding in findings(f"secrets:\n  - value: {value}\n"))


@pytest.mark.parametrize(
    "value", ["%hunter2", "@hunter2", "`hunter2", '"\\hunter2"', "[hunter2", "'hunter2", "h: hunter2"]
)
def test_a_broken_value_is_not_in_the_message(value: str) -> None:
    assert not any("hunter2" in str(finding) for finding in findings(f"secrets:\n  - value: {value}\n"))


@pytest.mark.parametrize("text", ["[a,[b], ", "{a: [b], c: ", "[!<]> ", "[ # ]\n", "{{ # }}\n", "['][' ", "{{a}: "])
def test_brackets_that_only_look_closed_are_counted(text: str) -> None:
    assert yaml_nodes._may_be_deep(text * 400)


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


def plain_value(node: Any) -> Any:
    if isinstance(node, MappingNode):
        return {key.value: plain_value(value) for key, value in node.value}
    if isinstance(node, SequenceNode):
        return [plain_value(item) for item in node.value]
    return node.value


@given(st.text(st.sampled_from("ab:, \"'{}[]\n$-"), max_size=24))
@settings(max_examples=1500, deadline=None)
def test_colons_between_braces_are_read_as_yaml_1_2_says(text: str) -> None:
    flow = "{x::y: " + text + "}"
    try:
        ours = parse(flow, "f").value
        theirs = plain_value(YAML(typ="safe", pure=True).compose(flow))
    except (InvalidInput, YAMLError):
        return
    assert str(ours).replace("None", "''") == str(theirs)


def test_colons_between_braces_that_are_there_and_elsewhere() -> None:
    text = '{A: $$SCONE::b$$, B: [http://c/d], "e":f, \'g::h\': "i::j", k: l}\n'
    value = {"A": "$$SCONE::b$$", "B": ["http://c/d"], "e": "f", "g::h": "i::j", "k": "l"}
    document = parse(text, "f")
    assert document.value == value
    assert str(document.position(("k",))) == f"f:1:{text.index('l}') + 1}"
    assert document.text == text


def test_colons_can_be_restored_whatever_else_is_in_the_text() -> None:
    text = '{A: b::c, \uf000: "\\uf001"}'
    assert parse(text, "f").value == {"A": "b::c", "\uf000": "\uf001"}


def test_halves_are_restored_also_where_they_are_no_escapes() -> None:
    text = '{"a": "\\uD83D\\uDE00\\uda00\\uDDAA", "b": "\\\\ud83d", "c": \'\\uDaFf\', "d": "\\u00e9", "e": f::g}'
    value = {"a": "\U0001f600\U000901aa", "b": "\\ud83d", "c": "\\uDaFf", "d": "é", "e": "f::g"}
    assert parse(text, "f").value == value


def test_halves_beside_private_characters_are_refused() -> None:
    assert "begins no escape" in only('{"a": "\\ud83d\\ude00\ue123"}').message


def positions(documents: list[Document]) -> list[str]:
    return [str(document.position(("a",))) for document in documents]


def test_documents_of_one_file_know_their_places() -> None:
    text = "# about the first\n---\na: 1\n--- # the second\n\na: |\n  ---\n---\n---\na: 3\n...\n"
    documents = parse_all(text, "f")
    assert [document.value for document in documents] == [{"a": "1"}, {"a": "---\n"}, {"a": "3"}]
    assert positions(documents) == ["f:3:4", "f:6:4", "f:10:4"]
    assert [(document.lines.start, 5 in document.lines) for document in documents] == [
        (1, False),
        (4, True),
        (9, False),
    ]
    assert {document.text for document in documents} == {text}


def test_a_file_without_documents_is_one_that_is_empty() -> None:
    assert [document.value for document in parse_all("# nothing\n", "f")] == [None]
    assert [document.value for document in parse_all("---\n---\n", "f")] == [None]
    assert [document.value for document in parse_all("a: 1\n---\n", "f")] == [{"a": "1"}]


def test_anchors_belong_to_one_document() -> None:
    with pytest.raises(InvalidInput, match="1 error"):
        parse_all("a: &x 1\n---\nb: *x\n", "f")
    assert [d.value for d in parse_all("- &x 1\n- *x\n---\n- &x 2\n- *x\n", "f")] == [["1", "1"], ["2", "2"]]


def test_faults_of_all_documents_are_found_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_all("a: 1\na: 2\n---\nb: 1\nb: 2\n", "f")
    assert [str(finding.position) for finding in caught.value.findings] == ["f:2:1", "f:5:1"]


def test_lines_are_those_that_positions_count() -> None:
    text = "a: 1\r\nb: 2\rc: 3\x85d: '\u2028'\nx: y\n"
    line = parse(text, "f").position(("x",)).line
    assert lines_of(text)[line - 1] == "x: y"


def test_what_is_missing_at_the_end_has_a_line() -> None:
    document = parse("?", "f")
    assert document.value == {"": None} == parse("?\n", "f").value
    assert len(lines_of("?")) == len(lines_of("?\n")) == 2 >= document.position(("",)).line


@given(st.text(st.sampled_from("ab:, ?'{}[]|\n\r\x85\u2028-"), max_size=20))
@settings(max_examples=1000, deadline=None)
def test_every_place_is_in_a_line(text: str) -> None:
    try:
        document = parse(text, "f")
    except InvalidInput as error:
        places = [finding.position for finding in error.findings]
    else:
        places = [*document.positions.values(), *document.key_positions.values()]
    lines = lines_of(text)
    for place in places:
        assert 1 <= place.line <= len(lines)
        assert 1 <= place.column <= len(lines[place.line - 1]) + 1
