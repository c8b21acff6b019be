"""The canonical form of an index and the measurement: stable bytes, and each input counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sconectl.protect.index import Entry, Index, directory_entry, file_entry, is_below, link_entry
from sconectl.protect.measure import launcher_index, measurement

ENTRIES: dict[str, Entry] = {
    "/b": directory_entry(0o40755),
    "/b/t": file_entry(0o104755, 3, "ab" * 32),
    "/a\udcff": link_entry("b/t"),
    "/é\n": link_entry(""),
}
GOLDEN = Index(("/tmp", "/etc/hosts"), ("/s",), ENTRIES)


def test_the_canonical_form_never_changes() -> None:
    assert GOLDEN.to_bytes() == (
        b'{"entries":{"/a\\udcff":["l","b/t"],"/b":["d","755"],"/b/t":["f","4755","3","' + b"ab" * 32 + b'"],'
        b'"/\\u00e9\\n":["l",""]},"format":"sconectl-index-1","outside":["/etc/hosts","/tmp"],"sealed":["/s"]}'
    )
    assert GOLDEN.digest() == "9f7ee93004ed9c221894b2d3ad2a0d3175743f78915a53ab8284ceee84fa93f1"


def test_order_makes_no_difference() -> None:
    assert Index(("/etc/hosts", "/tmp"), ("/s",), dict(reversed(ENTRIES.items()))).digest() == GOLDEN.digest()


def test_everything_in_an_index_makes_a_difference() -> None:
    others = [
        Index(("/tmp",), ("/s",), ENTRIES),
        Index(GOLDEN.outside, (), ENTRIES),
        Index(GOLDEN.outside, ("/tmp", "/etc/hosts"), ENTRIES),
        Index(GOLDEN.outside, GOLDEN.sealed, {}),
        *(Index(GOLDEN.outside, GOLDEN.sealed, ENTRIES | {path: ("l", "else")}) for path in [*ENTRIES, "/new"]),
    ]
    assert len({index.digest() for index in [GOLDEN, *others]}) == len(others) + 1


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff", b"[]", b"null", b"7", b"{}", b'{"format": "sconectl-index-2"}', b"[" * 100_000,
        b'{"format": "sconectl-index-1", "outside": 7, "sealed": [], "entries": {}}',
        b'{"format": "sconectl-index-1", "outside": [], "sealed": [], "entries": []}',
        b'{"format": "sconectl-index-1", "outside": [], "sealed": [], "entries": {"/a": 7}}',
    ],
)  # fmt: skip
def test_what_is_no_index_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        Index.from_bytes(data)


@pytest.mark.parametrize(
    ("path", "roots", "below"),
    [
        ("/a/b", ("/a",), True), ("/a", ("/a",), True), ("/ab", ("/a",), False), ("/", ("/a",), False),
        ("/a", ("/",), True), ("/", ("/",), True), ("/a/b/c", ("/a/b",), True), ("/a", ("/a/b",), False),
        ("/a/b", (), False), ("relative", ("/",), False),
    ],
)  # fmt: skip
def test_is_below(path: str, roots: tuple[str, ...], below: bool) -> None:
    assert is_below(path, roots) is below
    assert is_below(path, frozenset(roots)) is below


INPUTS: dict[str, Any] = {"launcher": "aa" * 32, "root": "bb" * 32, "parameters": {"mode": "production", "heap": "1"}}


def test_the_measurement_never_changes() -> None:
    assert measurement(**INPUTS) == "ed03d5801b1ec27b44f83b1caabc2177a6b2c6bdad96707325878876c5a1d26d"
    reordered = dict(reversed(INPUTS["parameters"].items()))
    assert measurement(**INPUTS | {"parameters": reordered}) == measurement(**INPUTS)


def test_each_input_of_the_measurement_counts() -> None:
    others: list[dict[str, Any]] = [
        {"launcher": "ab" * 32},
        {"root": "ab" * 32},
        {"launcher": INPUTS["root"], "root": INPUTS["launcher"]},
        {"parameters": {}},
        {"parameters": {"mode": "production", "heap": "2"}},
        {"parameters": {"mode": "production", "heap": "1", "tcs": "8"}},
        {"parameters": {"mode": "production", "Heap": "1"}},
    ]
    found = [measurement(**INPUTS), *(measurement(**INPUTS | other) for other in others)]
    assert len(set(found)) == len(found)
    assert all(len(value) == 64 and json.loads(f'"{value}"') == value.lower() for value in found)


def test_what_is_signed_is_not_measured() -> None:
    others = ({"mode": "debug", "heap": "1"}, {"heap": "1"}, {"heap": "1", "isvprodid": "7", "isvsvn": "9"})
    assert {measurement(**INPUTS | {"parameters": other}) for other in others} == {measurement(**INPUTS)}


def test_the_launcher_is_all_of_its_folder_but_the_image(tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime/a.pyc").write_bytes(b"code")
    before = launcher_index(str(tmp_path)).digest()
    (tmp_path / "image/blobs").mkdir(parents=True)
    (tmp_path / "image/index.json").write_text("{}")
    assert launcher_index(str(tmp_path)).digest() == before
    (tmp_path / "runtime/image").mkdir()
    assert launcher_index(str(tmp_path)).digest() != before
