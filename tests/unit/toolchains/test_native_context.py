"""Build contexts: nothing that a user writes can become an instruction of the Dockerfile."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sconectl.errors import BuildFailed
from sconectl.toolchains.native_build import BuildEnvironment, CopiedFile, native_context

BASE = "registry.example:5000/python:3.12@sha256:" + "ab" * 32


def context(**changes: Any) -> dict[str, bytes]:
    values: dict[str, Any] = {
        "pwd": "/app",
        "requirements": None,
        "files": (),
        "run": (),
        "environment": BuildEnvironment(),
    }
    base = changes.pop("base", BASE)
    stream = io.BytesIO()
    native_context(base, context=stream, **values | changes)
    return contents(stream.getvalue())


def contents(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {info.name: (tar.extractfile(info) or io.BytesIO()).read() for info in tar if info.isreg()}


def dockerfile(**changes: Any) -> list[str]:
    return context(**changes)["Dockerfile"].decode("ascii").split("\n")


def test_the_dockerfile() -> None:
    lines = dockerfile(requirements=b"humanize\n", run=("echo 1",))
    assert lines[0] == f"FROM {BASE}"
    assert [line.split(" ")[0] for line in lines if line] == [
        "FROM",
        "USER",
        *["ARG"] * 6,
        "ADD",
        "WORKDIR",
        "RUN",
        "ADD",
        "RUN",
    ]
    assert lines[-3:] == ["ADD program.tar /", 'RUN ["/bin/sh", "-c", "echo 1"]', ""]


@pytest.mark.parametrize(
    "step",
    [
        'echo "quotes" \'and\' `more`', "one\nRUN two", "line \\", "line \\\nRUN evil", "# escape=`",
        "${HOME} $PATH $$X",
        "cat <<EOF\nRUN evil\nEOF", "ünï\u2028cödé \U0001f600", '"], "evil', "\r\nUSER evil", "\x00\x1b", "]", "", " ",
    ],
)  # fmt: skip
def test_a_step_is_one_line_and_arrives_as_it_was_written(step: str) -> None:
    lines = dockerfile(run=(step, "echo after"))
    assert lines[-3].startswith("RUN ") and json.loads(lines[-3].removeprefix("RUN ")) == ["/bin/sh", "-c", step]
    assert len(lines) == len(dockerfile(run=("x", "y")))
    assert not lines[-3].endswith("\\")


@pytest.mark.parametrize(
    "text", ["", "a b", "a\nRUN evil", "a\tb", "$HOME", "a\\", "a`b", "ä", "a\0", "a AS b", "#x", '"x"', "a\n", "[x]"]
)
def test_names_that_are_more_than_a_word_are_refused(text: str) -> None:
    with pytest.raises(BuildFailed, match="cannot be used in a Dockerfile"):
        context(base=text)
    with pytest.raises(BuildFailed, match="cannot be used in a Dockerfile"):
        context(pwd=f"/{text}" if text else text)


HOSTILE = [
    "a b",
    "x\nRUN evil",
    "Dockerfile",
    "größe",
    "\udcff",
    "-rf",
    "$HOME",
    "x" * 200,
    ".dockerignore",
    "a\\",
    "*",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_file_names_never_reach_the_dockerfile(tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    files = (
        CopiedFile("/app", 0o755),
        CopiedFile(f"/app/{name}", 0o640, source),
        CopiedFile("/app/link", 0o777, link=name),
    )
    found = context(files=files)
    assert found["Dockerfile"] == context()["Dockerfile"]
    assert set(found) == {"Dockerfile", "files.tar", "program.tar"}
    with tarfile.open(fileobj=io.BytesIO(found["program.tar"])) as tar:
        members = {info.name: info for info in tar}
    assert set(members) == {".sconectl/program", "app", f"app/{name}", "app/link"}
    assert members[f"app/{name}"].mode == 0o640 and members["app/link"].linkname == name
    assert all((info.mtime, info.uid, info.gid) == (0, 0, 0) for info in members.values())


def test_certificates_and_requirements_stay_in_the_scratch_folder() -> None:
    found = context(requirements=b"-r evil\n", environment=BuildEnvironment(b"PEM"))
    assert contents(found["files.tar"]) == {
        ".sconectl/README": b"Scratch files of the build; not part of the image.\n",
        ".sconectl/ca.pem": b"PEM",
        ".sconectl/requirements.txt": b"-r evil\n",
    }
    text = found["Dockerfile"].decode()
    assert "ARG PIP_CERT=/.sconectl/ca.pem\n" in text and "ENV" not in text and "evil" not in text
    assert "ca.pem" not in context()["Dockerfile"].decode()


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    files = (CopiedFile("/app/f", 0o644, tmp_path / "f"),)
    first = context(files=files, run=("a",), requirements=b"r")
    (tmp_path / "f").touch()
    assert context(files=files, run=("a",), requirements=b"r") == first
