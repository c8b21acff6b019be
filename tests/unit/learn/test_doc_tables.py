"""The tables of docs/ say what the models and the codes say, and no sentence counts what a table lists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sconectl.codes.all_codes import all_codes
from sconectl.learn.doc_tables import with_tables, written_in_a_cell
from sconectl.learn.field_pages import NoSuchField, fields_of
from sconectl.learn.json_schema import json_schema

REPOSITORY = Path(__file__).resolve().parents[3]
PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
FROM_TO = re.compile(r"SC[0-9]{4}\s+(?:to|till|until|through|-|–)\s+SC[0-9]{4}")
MARKED = re.compile(r"<!-- (?:fields|values|codes|judgements)[ A-Za-z0-9_.]*-->\n(\|.*?)<!-- end -->", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_are_those_of_today(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text == with_tables(text), "run .venv/bin/python scripts/write_docs.py"
    assert text.count("<!-- end -->") == len(MARKED.findall(text)), "a mark is misspelt"


@pytest.mark.parametrize(("kind", "name"), [("genservice", "service-manifest.md"), ("mesh", "mesh-manifest.md")])
def test_every_field_has_a_row(kind: str, name: str) -> None:
    rows = re.findall(r"^\| \[?`([^`]*)`", (REPOSITORY / "docs" / name).read_text("utf-8"), re.MULTILINE)
    last = {row.rpartition(".")[2] for row in rows}
    root = json_schema(kind)
    for part in (root, *root["$defs"].values()):
        current = {field for field, found in fields_of(part, root).items() if not found.schema.get("deprecated")}
        assert current <= last


def test_a_field_and_what_is_below_it() -> None:
    page = with_tables("# `volumes`\n<!-- fields genservice.build.volumes -->\nold\n<!-- end -->\nkept\n")
    assert page.startswith("# `volumes`\n<!-- fields genservice.build.volumes -->\n| field | default | meaning |")
    assert page.endswith("<!-- end -->\nkept\n") and "old" not in page
    assert "\n| `name` | needed | Name of the volume. | `their_database` |\n" in page
    assert "\n| `export[].session` | needed |" in page
    assert "One of `ephemeral`, `rollback_protected`, `no_rollback_protection`." in page


def test_what_has_a_table_of_its_own_is_only_linked() -> None:
    text = "# A\n<!-- fields mesh -->\n<!-- end -->\n## The `cas`, then\n<!-- fields mesh.cas -->\n<!-- end -->\n"
    page = with_tables(text)
    assert "\n| [`cas`](#the-cas-then) | needed |" in page
    assert "`cas[].cas_url`" not in page and "\n| `cas_url` | needed |" in page
    assert "`services[].image`" in page


def test_codes_and_values() -> None:
    page = with_tables("<!-- codes -->\n<!-- end -->\n<!-- values mesh.cas.mode -->\n<!-- end -->\n")
    assert all(f"\n| {name} | {code.title} |\n" in page for name, code in all_codes().items())
    assert "\n| `NoUpload` | the files are written, and nothing is uploaded |\n" in page


def test_the_codes_of_a_family_and_the_judgements_of_changes() -> None:
    page = with_tables("<!-- codes SC5 -->\n<!-- end -->\n<!-- judgements -->\n<!-- end -->\n")
    assert "\n| SC5003 | enclaves in debug mode are accepted |\n" in page
    assert "SC4001" not in page
    assert "\n| `security.attestation.tolerate` | SC5002, SC5003 | |\n" in page
    assert "\n| `services[].pwd` | | the program that runs there is the measured one |\n" in page


def test_a_mark_for_a_field_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(NoSuchField):
        with_tables("<!-- fields mesh.cass -->\n<!-- end -->\n")


def test_nothing_in_a_cell_breaks_the_table() -> None:
    assert written_in_a_cell("a | b\nc <script> `<name>`") == r"a \| b c &lt;script> `<name>`"


@pytest.mark.parametrize("page", [*PAGES, REPOSITORY / "README.md"], ids=lambda page: page.name)
def test_no_page_counts_codes(page: Path) -> None:
    assert FROM_TO.findall(page.read_text("utf-8")) == []


def test_no_explanation_counts_codes() -> None:
    assert [name for name, code in all_codes().items() if FROM_TO.search(f"{code.title} {code.text}")] == []
