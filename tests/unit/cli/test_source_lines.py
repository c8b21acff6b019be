"""Lines of a source are shown with the place marked, and without anything that may be secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.cli.output.source_lines import MASK, WIDTH, Excerpt, SourceText
from sconectl.text.findings import Position

SECRET = "hunter2-7Zq!"

MANIFEST = f"""\
apiVersion: scone/5.8
kind: genservice
build:
  name: hello   # the password is {SECRET}
  kind: python
  to: "registry.example.org/app:1"
  command: python3 app.py --password '{SECRET}'
  run: [ "pip install --index-url https://user:{SECRET}@pypi.example.org x" ]
  copy:
  - app.py
  valeu: {SECRET}
environment:
  local:
  - name: PLAIN
    value: {SECRET}
  - {{name: FLOW, value: "{SECRET}", name2: {SECRET} }}
  - name: FOLDED
    value: >-
      {SECRET}
      {SECRET}
  - name: QUOTED
    value: "first
      {SECRET}
      name: {SECRET}"
  - name: MULTI
    value: first
      {SECRET}
  - name: TYPO={SECRET}
  FLAT: {SECRET}
  name: {SECRET}
env:
- name: OLD
  value: '{SECRET}'
- key: {SECRET}
- {SECRET}
- global: {SECRET}
secrets:
  global:
  - name: explicit
    value: |
      name: {SECRET}
      # {SECRET}
      kind: {SECRET}
      --- {SECRET}
    application_secret: &anchor {SECRET}
    private_key: |
      -----BEGIN PRIVATE KEY-----
      {SECRET}
    dns: https://user:{SECRET}@example.org
    endpoint: *anchor
  import: [ {{value: {SECRET}}}, a ]
injection_files:
- path: /etc/x
  content: |2
      {SECRET}: {SECRET}
helm_extra_values:
  name: {SECRET}
  service:
    path: {SECRET}
"""


def excerpts(text: str) -> list[Excerpt]:
    source = SourceText("file.yaml", text)
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        for column in range(1, len(line) + 2):
            excerpt = source.excerpt(Position("file.yaml", number, column))
            if excerpt is not None:
                found.append(excerpt)
    return found


def shown(text: str) -> str:
    return "\n".join(excerpt.text for excerpt in excerpts(text))


@pytest.mark.parametrize("broken", ["", "foo: [", "  bad\n indent: x\n", "build: {}\n", "a: !tag x\n", "\t- x"])
def test_no_secret_is_shown_wherever_the_fault_is(broken: str) -> None:
    assert SECRET not in shown(MANIFEST + broken)
    assert SECRET[:6] not in shown(MANIFEST + broken)
    assert SECRET not in shown(broken + MANIFEST)


@given(st.integers(0, len(MANIFEST)), st.integers(0, 40), st.sampled_from(["", " ", "\n", '"', ":", "- ", "|", "#"]))
def test_no_secret_is_shown_after_a_change(place: int, length: int, put: str) -> None:
    """Change the manifest somewhere, so that it means something else or nothing."""
    removed = MANIFEST[place : place + length]
    if "value" in removed or "content" in removed or "dns" in removed or "run" in removed or "command" in removed:
        return  # what stands there then may be in a field that is shown
    assert SECRET not in shown(MANIFEST[:place] + put + MANIFEST[place + length :])


@given(st.lists(st.integers(0, MANIFEST.count("\n") - 1), max_size=12))
def test_no_secret_is_shown_when_lines_are_missing(lines: list[int]) -> None:
    kept = [line for number, line in enumerate(MANIFEST.splitlines()) if number not in lines]
    assert SECRET not in shown("\n".join(kept))


def excerpt(text: str, line: int, column: int) -> str:
    found = SourceText("f", text).excerpt(Position("f", line, column))
    assert found is not None
    return found.text + "\n" + " " * found.start + "^" * found.length


def test_the_place_is_marked_under_the_whole_word() -> None:
    assert excerpt("build:\n  kind: pyton\n", 2, 9) == "  kind: pyton\n        ^^^^^"
    assert excerpt("build:\n  kidn: python\n", 2, 3) == f"  kidn: {MASK}\n  ^^^^"
    assert excerpt("build: {kind: pyton, name: 'x'}\n", 1, 15) == "build: {kind: pyton, name: 'x'}\n              ^^^^^"


def test_the_place_is_found_behind_a_masked_value() -> None:
    line = "environment: {local: [{value: a-long-secret, name: 'A B='}, {name: second}]}"
    shown_line = f"environment: {{local: [{{value: {MASK}, name: {MASK}, name: second}}]}}"
    assert excerpt(line, 1, line.index("second") + 1) == f"{shown_line}\n{' ' * shown_line.index('second')}^^^^^^"
    assert excerpt(line, 1, line.index("a-long") + 1) == f"{shown_line}\n{' ' * shown_line.index(MASK)}^^^"


def test_a_comment_is_left_out_and_a_waiver_stays() -> None:
    assert excerpt("kind: mesh  # secret\n", 1, 7) == "kind: mesh\n      ^^^^"
    waiver = '# sconectl:allow SC4001 until=2030-01-01 reason="x"'
    assert excerpt(f"kind: mesh  {waiver}\n", 1, 13).startswith(f"kind: mesh  {waiver}\n            ^")


def test_of_text_that_is_no_yaml_only_known_names_are_shown() -> None:
    broken = "value: [unclosed\nname: hello\npasswort: secret\nsome words\n"
    assert shown(broken).split("\n")[0] == f"value: {MASK}"
    assert {excerpt.text for excerpt in excerpts(broken)} == {f"value: {MASK}", f"name: {MASK}", MASK, ""}


def test_a_place_that_does_not_exist_has_no_line() -> None:
    source = SourceText("f", "a: b")
    assert source.excerpt(Position("f", 2, 1)) == Excerpt("", 0, 1)  # where something is missing at the end
    assert source.excerpt(Position("f", 3, 1)) is None
    assert source.excerpt(Position("f", 0, 1)) is None


def test_positions_behind_the_end_of_a_line_are_shown_there() -> None:
    assert excerpt("build:\n", 1, 7) == "build:\n      ^"


def test_a_long_line_is_cut_around_the_place() -> None:
    line = "build: {dirs: [" + ", ".join(f"/dir{number}" for number in range(100)) + "]}"
    found = SourceText("f", line).excerpt(Position("f", 1, line.index("/dir50") + 1))
    assert found is not None
    assert len(found.text) <= WIDTH + 6
    assert found.text[found.start : found.start + found.length] == "/dir50"
    assert found.text.startswith("...")
    assert found.text.endswith("...")


def test_every_document_of_a_file_is_shown() -> None:
    text = "kind: mesh\n---\nkind: genservice\nvalue: secret\n"
    assert excerpt(text, 3, 7) == "kind: genservice\n      ^^^^^^^^^^"
    assert excerpt(text, 4, 8) == f"value: {MASK}\n       ^^^"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_end_as_positions_count_them(end: str) -> None:
    assert excerpt(f"kind: mesh{end}policy:{end}  namespace: x{end}", 3, 14) == "  namespace: x\n             ^"


def test_nothing_that_a_terminal_obeys_is_shown() -> None:
    assert "\x1b" not in shown('"\x1b[31mkey": x\nname: "\\e[31m"\nkind: \x1b[31m\n')


@pytest.mark.parametrize(
    "line",
    [
        "environment: {local: [{name: P, value: this, hunter2}]}",
        "environment: {local: [{name: P, value: this, hunter2 is: it}]}",
        "environment: {local: {P: this, hunter2}}",
        "environment: {local: [{name: P, VALUE: {hunter2: it}}]}",
    ],
)
def test_a_piece_of_a_secret_without_quotes_is_not_shown_as_a_key(line: str) -> None:
    assert "hunter" not in shown(line)


@pytest.mark.parametrize(
    ("text", "line", "shown"),
    [
        ('environment: {local: [{name: A, value: "$$SCONE::tokne$$"}]}', 1, None),
        ("environment:\n  local:\n  - name: A\n    value: $$SCONE::tokne$$", 4, "    value: $$SCONE::tokne$$"),
        ("environment:\n  local:\n  - name: A\n    value: '{{ tokne }}'", 4, "    value: '{{ tokne }}'"),
        ("secrets:\n  global:\n  - name: a\n    value: $$SCONE::tokne$$", 4, f"    value: {MASK}"),
        ("environment:\n  local:\n  - name: A\n    value: x$$SCONE::tokne$$", 4, f"    value: {MASK}"),
        ("environment:\n  local:\n  - name: A\n    value: $$SCONE:tokne$$", 4, f"    value: {MASK}"),
        (f"helm_extra_values:\n  web:\n    replicaCont: {SECRET}", 3, f"    replicaCont: {MASK}"),
        (f"helm_extra_values:\n  web: {{password: this, {SECRET}}}", 2, None),
    ],
)
def test_what_stands_for_a_secret_is_none(text: str, line: int, shown: str | None) -> None:
    excerpt = SourceText("m.yaml", f"kind: mesh\n{text}\n").excerpt(Position("m.yaml", line + 1, 1))
    assert excerpt is not None
    assert SECRET not in excerpt.text
    if shown is not None:
        assert excerpt.text == shown
