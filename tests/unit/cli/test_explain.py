"""`sconectl explain`: pages about codes and fields, from the codes and the schemas themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sconectl import assets
from sconectl.codes.all_codes import all_codes
from sconectl.learn.field_pages import field_page, steps_of

from .conftest import Run

KINDS = ("genservice", "mesh", "session")


def test_a_field(run: Run) -> None:
    done = run("explain", "genservice.build.dirs")
    assert done.code == 0, done.err
    assert done.out == (
        "genservice.build.dirs\n"
        "  Directories whose files are encrypted; not `/`, and not inside of each other.\n"
        "\n"
        "  form      list of texts\n"
        "  needed    no\n"
        "\n"
        "  example\n"
        "    dirs:\n"
        "      - /python/data\n"
    )


def test_a_field_of_the_entries_of_a_list(run: Run) -> None:
    done = run("explain", "mesh.services[].image")
    assert done.code == 0, done.err
    assert "needed    yes" in done.out
    assert "The confidential image to run." in done.out
    assert run("explain", "mesh.services[3].image").out == run("explain", "mesh.services.image").out == done.out


def test_a_field_with_one_of_a_few_values(run: Run) -> None:
    done = run("explain", "genservice.build.kind")
    assert "one of the values below" in done.out
    assert "sconify_image    an existing image, named by `from`" in done.out
    assert "java 8" not in done.out


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_lists_its_fields(run: Run, kind: str) -> None:
    done = run("explain", kind)
    assert done.code == 0, done.err
    fields = json.loads(assets.read(f"schemas/{kind}.json"))["properties"]
    for name, field in fields.items():
        assert name in done.out, name
        assert field.get("deprecated") or f"    {name}" in done.out


def test_parts_of_a_session(run: Run) -> None:
    done = run("explain", "session.services")
    assert "name*" in done.out
    assert "older spellings: mrenclaves, persistency" in done.out
    assert "require-all" in run("explain", "session.access_policy.update").out
    assert "older     accepted" in run("explain", "session.services.mrenclaves").out


def paths(kind: str) -> Iterator[list[str]]:
    """Yield the way to every field of a schema, each definition visited once on a way."""
    root = json.loads(assets.read(f"schemas/{kind}.json"))

    def walk(part: Any, steps: list[str], seen: frozenset[str]) -> Iterator[list[str]]:
        if isinstance(part, list):
            for item in part:
                yield from walk(item, steps, seen)
        if not isinstance(part, dict) or part.get("deprecated"):
            return
        target = part.get("$ref", "").rpartition("/")[2]
        if target and target not in seen:
            yield from walk(root["$defs"][target], steps, seen | {target})
        for key in ("anyOf", "items"):
            yield from walk(part.get(key), steps, seen)
        if part.get("type") == "object":
            for name, field in part.get("properties", {}).items():
                if "." not in name:
                    yield [*steps, name]
                    yield from walk(field, [*steps, name], seen)

    yield from walk(root, [], frozenset())


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_page_about_every_field(kind: str) -> None:
    schema = json.loads(assets.read(f"schemas/{kind}.json"))
    found = list(paths(kind))
    assert len(found) > 40
    for steps in found:
        lines = field_page(kind, schema, steps)
        assert lines[0] == ".".join([kind, *steps])
        assert "No more is known" not in "".join(lines), steps
        assert max(map(len, lines[:6])) <= 100
        assert any(line.startswith("  form  ") for line in lines), steps


def test_paths_are_read_as_people_write_them() -> None:
    assert steps_of(" mesh.env[].env[0].name ") == ["mesh", "env", "env", "name"]


# --- codes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", all_codes())
def test_every_code_has_a_page(run: Run, name: str) -> None:
    done = run("explain", name)
    code = all_codes()[name]
    assert done.code == 0, done.err
    assert done.out.startswith(f"{name}: {code.title}\n")
    assert " ".join(code.text.split())[:40] in " ".join(done.out.split())


def test_the_case_of_a_code_does_not_matter(run: Run) -> None:
    assert run("explain", "sc1002").out == run("explain", "SC1002").out


# --- what nobody knows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "hint"),
    [
        ("genservice.build.dir", "did you mean dirs?"),
        ("genservise", "did you mean genservice?"),
        ("build.dirs", "did you mean genservice.build.dirs?"),
        ("secrets.name", "did you mean session.secrets.name?"),
        ("genservice.build.dirs.more", "genservice.build.dirs has no fields of its own"),
        ("SC1", "try `sconectl explain genservice`"),
        ("", "try `sconectl explain genservice`"),
        ("genservice.\x1b[31m", "there are apiVersion, kind"),
    ],
)
def test_an_unknown_topic_is_a_wrong_command_line(run: Run, topic: str, hint: str) -> None:
    done = run("explain", topic)
    assert done.code == 2
    assert hint in done.err
    assert "\x1b" not in done.err
    assert done.out == ""


def test_a_code_that_is_like_none_names_the_page_of_codes(run: Run) -> None:
    done = run("explain", "SC9999")
    assert (done.code, done.out) == (2, "")
    assert "there is no code SC9999" in done.err and "docs/diagnostics.md" in done.err


def test_an_unknown_code_names_the_nearest(run: Run) -> None:
    done = run("explain", "SC1999")
    assert done.code == 2
    assert "there is no code SC1999" in done.err
    assert "did you mean SC1" in done.err
