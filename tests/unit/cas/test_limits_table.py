"""The limits that operators can set, and the one table that tells them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sconectl.cas.bounds import limits
from sconectl.errors import UsageError

DOCUMENT = Path(__file__).parents[3] / "docs" / "cas.md"

_BEGIN, _END = "<!-- limits:", "<!-- end of limits -->"


def row(field: dataclasses.Field[Any]) -> str:
    default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
    return f"| `{field.name.replace('_', '-')}` | {default} | {field.metadata['what']} | {field.metadata['seen']} |"


def test_the_documentation_lists_each_limit_with_its_default() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text[text.index(_BEGIN) : text.index(_END)].splitlines()[3:]
    expected = [row(field) for field in dataclasses.fields(limits.Limits)]
    assert table == expected, "write this into docs/cas.md:\n" + "\n".join(expected)


def test_chosen_limits() -> None:
    found = limits.chosen(["connections=7", "header-seconds=0.5", "body-bytes=1e3"])
    assert found == dataclasses.replace(limits.DEFAULT, connections=7, header_seconds=0.5, body_bytes=1000)
    assert type(found.body_bytes) is int
    assert limits.chosen([]) == limits.DEFAULT


@pytest.mark.parametrize(
    "setting",
    ["connections", "connections=", "connections=0", "connections=-1", "connections=1.5", "connections=nan",
     "connections=inf", "header-seconds=x", "header_seconds=1", "conections=1", "=1", ""],
)  # fmt: skip
def test_what_is_no_limit_is_refused(setting: str) -> None:
    with pytest.raises(UsageError) as refused:
        limits.chosen(["body-chunks=1", setting, "nonsense=2"])
    assert "nonsense" in refused.value.message
    assert refused.value.message.count("--limit") == 2
    assert "body-chunks" not in refused.value.message
    assert "connections-per-address" in (refused.value.hint or "")


def test_every_limit_says_what_it_bounds_and_what_is_seen() -> None:
    for field in dataclasses.fields(limits.Limits):
        assert field.metadata["what"] and field.metadata["seen"], field.name
