"""`sconectl schema`: the published schema, on stdout or in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sconectl import assets

from .conftest import Run


@pytest.mark.parametrize("kind", ["genservice", "mesh", "session"])
def test_prints_the_published_schema(run: Run, kind: str) -> None:
    done = run("schema", kind)
    assert done.code == 0, done.err
    assert done.out.encode() == assets.read(f"schemas/{kind}.json")
    assert json.loads(done.out)["$id"].endswith(f"/{kind}.json")


def test_writes_it_into_a_file(run: Run, project: Path) -> None:
    done = run("schema", "mesh", "-o", "mesh.schema.json")
    assert (done.code, done.out) == (0, "mesh.schema.json: written\n")
    assert (project / "mesh.schema.json").read_bytes() == assets.read("schemas/mesh.json")


def test_an_unknown_kind_is_a_wrong_command_line(run: Run, project: Path) -> None:
    done = run("schema", "mehs", "-o", "mesh.schema.json")
    assert done.code == 2
    assert "did you mean mesh?" in done.err
    assert not list(project.iterdir())
    assert "genservice, mesh, session" in run("schema", "deployment").err


def test_a_file_that_cannot_be_written_is_named(run: Run, project: Path) -> None:
    done = run("schema", "mesh", "-o", project / "no" / "such" / "folder.json")
    assert done.code == 2
    assert "folder.json: No such file or directory" in done.err
