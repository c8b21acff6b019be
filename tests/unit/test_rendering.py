"""Texts from templates: each value is written in the language of the text, and a name without a value is a fault."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError
from jinja2.exceptions import TemplateNotFound

import sconectl
from sconectl.starter.init_files import starters
from sconectl.starter.init_program import Program
from sconectl.text.rendering import render

PACKAGE = Path(sconectl.__file__).parent
TEMPLATES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.jinja"))


def written(value: Any) -> str:
    return f"<{value}>"


def test_every_value_is_written_and_none_is_a_template() -> None:
    text = render("learn/table.md", written, head=["{{ head }}"], rows=[["{% if x %}", "a"]])
    assert text == "| <{{ head }}> |\n| --- |\n| <{% if x %}> | <a> |\n"


def test_a_name_without_a_value_is_a_fault() -> None:
    with pytest.raises(UndefinedError, match="'rows' is undefined"):
        render("learn/table.md", written, head=[])


@pytest.mark.parametrize("name", ["missing", "../../etc/passwd", "/etc/passwd"])
def test_there_are_only_the_templates_of_the_package(name: str) -> None:
    with pytest.raises(TemplateNotFound):
        render(name, written)


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_template_goes_around_the_writer(name: str) -> None:
    """What a macro, a call block or a set block makes would be written twice; `safe` means nothing here."""
    text = (PACKAGE / name).read_text("utf-8")
    assert not re.search(r"\{%-?\s*(macro|call|filter|set|autoescape)\b|\|\s*safe\b", text)


def test_names_that_editors_take_for_something_else_are_quoted() -> None:
    program = Program("python", "python3 a.py", copied=("a.py", "no", "1e3"))
    service = starters(program, name="on", image="on:1", with_ignore=True)["service.yaml"].decode()
    assert '  name: "on"\n' in service and '    - "no"\n    - "1e3"\n' in service
