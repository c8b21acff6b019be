"""Waivers: what they silence and until when, and what does not count as one."""

from __future__ import annotations

import time
from datetime import date

import pytest

from sconectl.codes.advice import CODES
from sconectl.manifest.model.waivers import waive
from sconectl.manifest.reading.reader import Manifest, read_manifest
from sconectl.plan.advice.advice import advise
from sconectl.text.findings import Finding, Position
from sconectl.text.yaml_tree import parse, parse_all

TODAY = date(2027, 3, 1)
GOOD = '# sconectl:allow SC4007 until=2027-03-01 reason="a demonstration"'
MESH = """\
apiVersion: scone/5.8
kind: mesh
cas: [{{cas_url: cas.example.org}}]
policy: {{namespace: shop}}
env: []
services:
  - name: web
{above}    image: web:latest{behind}
"""


def mesh(above: str = "", behind: str = "") -> Manifest:
    return read_manifest(MESH.format(above=above, behind=behind), "mesh.yaml", {})


def judged(manifest: Manifest, today: date = TODAY) -> list[Finding]:
    return waive(advise(manifest), manifest.document, today)


def brief(manifest: Manifest, today: date = TODAY) -> list[tuple[str, str, int]]:
    return [(found.severity, found.code, found.position.line) for found in judged(manifest, today)]


def test_without_a_waiver() -> None:
    assert brief(mesh()) == [("warning", "SC4007", 8)]


@pytest.mark.parametrize(
    ("above", "behind"),
    [
        ("", f" {GOOD}"),
        (f"    {GOOD}\n", ""),
        (f"{GOOD}\n", ""),
        (f"    # why\n    {GOOD}\n  # the next release names a version\n", ""),
        ("", f"   {GOOD}   "),
        ("", ' #\tsconectl:allow   SC4007\tuntil=2027-03-01  reason="it\'s # here: ü"'),
    ],
)
def test_at_the_end_of_the_line_or_above(above: str, behind: str) -> None:
    assert brief(mesh(above, behind)) == []
    assert brief(mesh(above.replace("\n", "\r\n"), behind)) == []


def test_an_expired_one_is_an_error_even_beside_a_new_one() -> None:
    old = GOOD.replace("2027-03-01", "2026-12-31")
    assert brief(mesh(f"    {old}\n", f" {GOOD}")) == [("error", "SC4091", 8)]


def test_it_counts_through_its_last_day() -> None:
    manifest = mesh(behind=f" {GOOD}")
    assert brief(manifest, date(2027, 3, 1)) == []
    assert brief(manifest, date(2027, 3, 2)) == [("warning", "SC4007", 8), ("error", "SC4091", 8)]
    expired = judged(manifest, date(2027, 3, 2))[1]
    assert "has expired on 2027-03-01" in expired.message
    assert str(expired.position) == "mesh.yaml:8:23"


@pytest.mark.parametrize(
    "comment",
    [
        "# sconectl:allow",
        "# sconectl:allow SC4007",
        "# sconectl:allow SC4007 until=2027-03-01",
        '# sconectl:allow SC4007 reason="x"',
        '# sconectl:allow until=2027-03-01 reason="x"',
        '# sconectl:allow SC4007 reason="x" until=2027-03-01',
        "# sconectl:allow SC4007 until=2027-03-01 reason=x",
        '# sconectl:allow SC4007 until=2027-03-01 reason=""',
        '# sconectl:allow SC4007 until=2027-03-01 reason="  "',
        '# sconectl:allow SC4007 until=2027-03-01 reason="x" # and more',
        '# sconectl:allow SC4007, until=2027-03-01 reason="x"',
        '# sconectl:allow SC4007,SC4002 until=2027-03-01 reason="x"',
        '# sconectl:allow: SC4007 until=2027-03-01 reason="x"',
        '# sconectl:allow SC4007 until=2027-02-30 reason="x"',
        '# sconectl:allow SC4007 until=20270301 reason="x"',
        '# sconectl:allow SC4007 until=tomorrow reason="x"',
        '# sconectl:allow SC4007 until=2027-W09-1 reason="x"',
        '# sconectl:allow SC4999 until=2027-03-01 reason="x"',
        '# sconectl:allow SC1003 until=2027-03-01 reason="x"',
        '# sconectl:allow SC4091 until=2027-03-01 reason="x"',
        '# sconectl:allow * until=2027-03-01 reason="x"',
    ],
)
def test_a_malformed_one_is_an_error_and_silences_nothing(comment: str) -> None:
    found = judged(mesh(behind=f" {comment}"))
    assert [(one.severity, one.code) for one in found] == [("warning", "SC4007"), ("error", "SC4090")]
    assert found[1].position.column == 23
    assert found[1].hint


def test_a_malformed_one_says_what_is_missing() -> None:
    def message(comment: str) -> str:
        return judged(mesh(behind=f" {comment}"))[1].message

    assert "until=YYYY-MM-DD missing" in message('# sconectl:allow SC4007 reason="x"')
    assert 'reason="…" missing' in message("# sconectl:allow SC4007 until=2027-03-01")
    assert "the code missing" in message('# sconectl:allow until=2027-03-01 reason="x"')
    assert "in this order" in message('# sconectl:allow SC4007 reason="x" until=2027-03-01')
    assert "only security advice" in message('# sconectl:allow SC1003 until=2027-03-01 reason="x"')
    (_, typo) = judged(mesh(behind=' # sconectl:allow SC40O7 until=2027-03-01 reason="x"'))
    assert typo.hint == "did you mean SC4007?"


@pytest.mark.parametrize(
    ("above", "behind"),
    [
        ("", " " + GOOD.replace("SC4007", "SC4002")),
        (f"    {GOOD}\n\n", ""),  # an empty line between
        ("", f"\n    {GOOD}"),  # below
        (f"    {GOOD}\n", f" {GOOD}"),  # both count; see the test below
    ],
)
def test_one_that_nothing_needs(above: str, behind: str) -> None:
    found = brief(mesh(above, behind))
    if above and behind:
        assert found == []
    else:
        assert sorted(code for _, code, _ in found) == ["SC4007", "SC4092"]
        assert {severity for severity, _, _ in found} == {"warning"}


def test_advice_that_depends_on_more_than_the_text_may_be_waived_in_advance() -> None:
    found = brief(mesh(behind=" " + GOOD.replace("SC4007", "SC4001")))
    assert found == [("warning", "SC4007", 8)]


SERVICE = """\
apiVersion: scone/5.8
kind: genservice
build: {name: web, kind: python, to: web:1, command: x, from: "base:latest"}
environment:
  local:
    - name: A
      value: %s
"""


@pytest.mark.parametrize(
    "value",
    [
        f"|\n        {GOOD}\n        text",
        f'"text {GOOD.replace(chr(34), chr(92) + chr(34))}"',
        f"'text {GOOD}'",
        f"'text\n\n        {GOOD}\n        more'",
        f">-\n        text\n        {GOOD}",
        f"x\n    - name: B\n      value: |+2\n          {GOOD}\n",
    ],
)
def test_text_is_no_comment(value: str) -> None:
    manifest = read_manifest(SERVICE % value, "service.yaml", {})
    assert [code for _, code, _ in brief(manifest)] == ["SC4007"]


def test_comments_around_texts_are_comments() -> None:
    mark = '# sconectl:allow SC4005 until=2030-01-01 reason="x"'
    for value in (
        f"hunter2 {mark}",
        f"'hunter2 # sconectl:allow' {mark}",
        f"| {mark}\n        hunter2 {GOOD}",
        f"|\n        hunter2\n{mark}",
        f'"hunter2"\n{mark}',
        f"hunter2\t{mark}",
    ):
        text = (SERVICE % value).replace("base:latest", "base:1").replace("name: A", "name: PASSWORD")
        manifest = read_manifest(text, "service.yaml", {})
        found = judged(manifest)
        below = value.endswith(f"\n{mark}")
        assert [one.code for one in found] == (["SC4005", "SC4092"] if below else []), value


def test_a_hash_without_a_space_before_it_begins_no_comment() -> None:
    text = 'a: b#sconectl:allow SC4007\nc: "d"\n'
    assert waive([], parse(text, "f.yaml"), TODAY) == []


def test_each_document_of_a_file_has_its_own() -> None:
    text = f"a: 1 {GOOD}\n---\n# sconectl:allow\nb: 2\n---\nc: 3\n"
    first, second, third = parse_all(text, "f.yaml")
    advice = Finding("warning", "SC4007", Position("f.yaml", 1, 1), "a", "m")
    assert waive([advice], first, TODAY) == []
    assert [(one.code, one.position.line) for one in waive([], second, TODAY)] == [("SC4090", 3)]
    assert waive([], third, TODAY) == []


def test_findings_of_other_files_and_errors_stay() -> None:
    document = parse(f"a: 1 {GOOD}\n", "f.yaml")
    other = Finding("warning", "SC4007", Position("g.yaml", 1, 1), "a", "m")
    error = Finding("error", "SC1002", Position("f.yaml", 1, 1), "a", "m")
    assert waive([other, error], document, TODAY)[:2] == [other, error]


def test_every_piece_of_advice_can_be_waived() -> None:
    for code in sorted(CODES):
        document = parse(f"a: 1 {GOOD.replace('SC4007', code)}\n", "f.yaml")
        finding = Finding("warning", code, Position("f.yaml", 1, 4), "a", "m")
        assert (finding not in waive([finding], document, TODAY)) == (code < "SC4090")


def test_many_are_read_quickly() -> None:
    text = "".join(f'k{number}: "# sconectl:allow" {GOOD}\n' for number in range(8_000))
    document = parse(text, "f.yaml")
    advice = [Finding("warning", "SC4007", Position("f.yaml", line, 1), "a", "m") for line in range(4_001, 12_001)]
    start = time.process_time()
    assert len(waive(advice, document, TODAY)) == 8_000
    assert time.process_time() - start < 5
    document = parse("a: 1\n# sconectl:allow\n" + f"{GOOD}\n" * 10_000, "f.yaml")
    start = time.process_time()
    assert len(waive([], document, TODAY)) == 10_001
    assert time.process_time() - start < 5
