"""Build contexts: nothing that a user writes can become an instruction of the Dockerfile."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import tarfile
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError

from sconectl.errors import BuildFailed
from sconectl.image.build.native_build import (
    BuildEnvironment,
    CopiedFile,
    NativeContent,
    Wheel,
    native_context,
    wheel_context,
    written_in_dockerfile,
)
from sconectl.image.build.source_files import stamp_of
from sconectl.ports import BASE_ARGUMENT
from sconectl.text.rendering import render

PLAIN = BuildEnvironment()


def context(*, environment: BuildEnvironment = PLAIN, **changes: Any) -> dict[str, bytes]:
    stream = io.BytesIO()
    native_context(NativeContent(**{"pwd": "/app"} | changes), environment, stream)
    return contents(stream.getvalue())


def contents(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {info.name: (tar.extractfile(info) or io.BytesIO()).read() for info in tar if info.isreg()}


def dockerfile(**changes: Any) -> list[str]:
    return context(**changes)["Dockerfile"].decode("ascii").split("\n")


def test_the_dockerfile(tmp_path: Path) -> None:
    wheel = tmp_path / "a-1-py3-none-any.whl"
    wheel.write_bytes(b"")
    lines = dockerfile(wheels=(Wheel(wheel, "ab" * 32),), run=("echo 1",))
    assert lines[:2] == [f"ARG {BASE_ARGUMENT}", f"FROM ${{{BASE_ARGUMENT}}}"]
    assert [line.split(" ")[0] for line in lines if line] == [
        "ARG",
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
    "text",
    ["a b", "a\nRUN evil", "a\tb", "$HOME", "a\\", "a`b", "ä", "🦊", "a AS b", "#x", '"x"', "a\n", "[x]", "{{a}}", "'"],
)
def test_names_that_are_more_than_a_word_are_only_in_json(text: str) -> None:
    pwd = f"/{text}"
    java = CopiedFile(f"{pwd}/-A.java", 0o644, Path(__file__))
    lines = dockerfile(pwd=pwd, run=("echo 1",), java=(java,), class_path=pwd)
    plain = dockerfile(pwd="/app", run=("echo 1",), java=(java,), class_path="/app")
    assert [line for line in lines if not line.startswith("RUN ")] == [
        line for line in plain if "WORKDIR /app" not in line and not line.startswith("RUN ")
    ]
    steps = [json.loads(line.removeprefix("RUN ")) for line in lines if line.startswith("RUN ")]
    assert steps[0] == ["mkdir", "-p", pwd]
    assert steps[-1][-2:] == [pwd, "echo 1"] and pwd not in steps[-1][2]
    assert not any(line.endswith("\\") for line in lines)
    assert "RUN" not in "".join(dockerfile(pwd=pwd))  # a base image without a shell needs none for it


TEXT = (
    st.text(max_size=40)
    | st.text(" \t\r\n\\\\\"'`$#<>[]{}%,|&;\u2028\udcff", max_size=12)
    | st.sampled_from(
        [
            "x\nRUN evil",
            "{{ pwd }}",
            "{% include 'x' %}",
            "{#",
            "<<EOF\nRUN evil\nEOF",
            '"]\nRUN ["evil"]',
            "# escape=`",
        ]
    )
)


@given(TEXT, TEXT, st.lists(TEXT, max_size=3), st.booleans())
def test_whatever_users_write_is_a_word_in_a_command(pwd: str, class_path: str, run: list[str], java: bool) -> None:
    pwd = f"/{pwd}"
    sources = (CopiedFile(f"{pwd}/A.java", 0o644, Path(__file__)),) if java else ()
    lines = dockerfile(pwd=pwd, class_path=class_path, run=run, java=sources)
    head = 1 + lines.index("ADD files.tar /")
    assert {line.split(" ")[0] for line in lines[:head]} == {"ARG", "FROM", "USER", "ADD"} and lines.pop() == ""
    steps = []
    for line in lines[head:]:
        name, _, rest = line.partition(" ")
        assert name in ("RUN", "WORKDIR", "ADD")
        if name == "RUN":
            steps.append(json.loads(rest))
        else:
            assert rest in ("program.tar /", "/.sconectl/java", pwd)
            assert re.fullmatch(r"[A-Za-z0-9_./+@%,:=~-]+( /)?", rest)
    shells = [step for step in steps if step[0] == "/bin/sh"]
    assert [step[-1] for step in shells] == run
    assert {len(step) for step in shells} <= {3, 5}
    compilers = [step for step in steps if step[0] == "env"]
    assert [step[-4:] for step in compilers] == [[pwd, "-cp", class_path, "@/.sconectl/java.txt"]] * java
    others = [step for step in steps if step not in shells + compilers]
    assert all(step == ["mkdir", "-p", pwd] for step in others)


@pytest.mark.parametrize("value", ["a b", "a\nRUN b", "", "$X", '["a"]', None, 1, {"a": "b"}, ["a", 1], ["a", ["b"]]])
def test_nothing_else_can_be_written_in_a_dockerfile(value: object) -> None:
    with pytest.raises(ValueError, match="only lists of words and plain words"):
        written_in_dockerfile(value)
    with pytest.raises((ValueError, TemplateError)):
        render("image/build/steps.Dockerfile", written_in_dockerfile, variables=[("A", value)], steps=[])


def test_a_source_whose_name_begins_with_a_hyphen_is_no_option_of_the_compiler() -> None:
    java = CopiedFile("/app/-A.java", 0o644, Path(__file__))
    with tarfile.open(fileobj=io.BytesIO(context(java=(java,), class_path="/app")["program.tar"])) as tar:
        listed = tar.extractfile(".sconectl/java.txt")
        assert listed and listed.read() == b'"./-A.java"\n'


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


def test_certificates_and_wheels_stay_in_the_scratch_folder(tmp_path: Path) -> None:
    wheel = tmp_path / "my_lib-2.0-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    found = context(wheels=(Wheel(wheel, "cd" * 32),), environment=BuildEnvironment(b"PEM"))
    assert contents(found["files.tar"]) == {
        ".sconectl/README": b"Scratch files of the build; not part of the image.\n",
        ".sconectl/ca.pem": b"PEM",
        ".sconectl/wheels.txt": f"my_lib==2.0 --hash=sha256:{'cd' * 32}\n".encode(),
        f".sconectl/wheels/{wheel.name}": b"a wheel",
    }
    text = found["Dockerfile"].decode()
    assert "ARG PIP_CERT=/.sconectl/ca.pem\n" in text and "ENV" not in text and "my_lib" not in text
    assert '"--no-index", "--no-deps"' in text
    assert "ca.pem" not in context()["Dockerfile"].decode()


def test_the_context_of_wheels() -> None:
    stream = io.BytesIO()
    wheel_context({"r.txt": b"-r d/x y.txt", "d/x y.txt": b"evil"}, "r.txt", PLAIN, "https://i.example/", stream)
    found = contents(stream.getvalue())
    assert contents(found["files.tar"]).keys() == {
        ".sconectl/README",
        ".sconectl/requirements/r.txt",
        ".sconectl/requirements/d/x y.txt",
    }
    step = json.loads(found["Dockerfile"].decode().splitlines()[-1].removeprefix("RUN "))
    assert step[:5] == ["python3", "-I", "-B", "-m", "pip"] and step[5:] == [
        *("wheel", "--wheel-dir", "/.sconectl/wheels", "--index-url", "https://i.example/"),
        *("-r", "/.sconectl/requirements/r.txt"),
    ]


def test_java_sources_are_compiled_between_copy_and_run(tmp_path: Path) -> None:
    source = tmp_path / "S.java"
    source.write_text("class S {}")
    names = ["/app/b/S.java", '/app/a "b"\\.java', "/app/A.java"]
    java = [CopiedFile(name, 0o644, source) for name in names]
    files = [CopiedFile("/app/data", 0o644, source)]
    found = context(java=java, files=files, class_path="/app:/app/x y.jar", run=("after",))
    steps = found["Dockerfile"].decode().splitlines()[-5:]
    assert [steps[0], steps[1], steps[3]] == ["ADD program.tar /", "WORKDIR /.sconectl/java", "WORKDIR /app"]
    assert json.loads(steps[2].removeprefix("RUN ")) == [
        *("env", "LC_ALL=C.UTF-8", "javac", "-encoding", "UTF-8", "-d", "/app", "-cp", "/app:/app/x y.jar"),
        "@/.sconectl/java.txt",
    ]
    program = contents(found["program.tar"])
    assert program[".sconectl/java.txt"] == b'"A.java"\n"a \\"b\\"\\\\.java"\n"b/S.java"\n'
    assert set(program) - {".sconectl/java.txt", ".sconectl/program"} == {
        *("app/data", ".sconectl/java/A.java", ".sconectl/java/b/S.java", '.sconectl/java/a "b"\\.java'),
    }


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    files = (CopiedFile("/app/f", 0o644, tmp_path / "f"),)
    first = context(files=files, run=("a",))
    (tmp_path / "f").touch()
    assert context(files=files, run=("a",)) == first
    other = context(files=files, run=("a", "much longer " * 100))
    assert (other["files.tar"], other["program.tar"]) == (first["files.tar"], first["program.tar"])


def test_a_large_file_is_never_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(300 << 20)
    tracemalloc.start()
    try:
        with tempfile.TemporaryFile() as stream:
            content = NativeContent("/app", files=[CopiedFile("/app/large", 0o644, tmp_path / "large")])
            native_context(content, PLAIN, stream)
            stream.seek(0)
            with tarfile.open(fileobj=stream) as outer:
                inner = outer.extractfile("program.tar")
                with tarfile.open(fileobj=inner) as tar:
                    assert tar.getmember("app/large").size == 300 << 20
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x")
    stamp = stamp_of(file.lstat())
    file.unlink()
    file.symlink_to("/etc/passwd")
    for known in (stamp, None):
        with pytest.raises(BuildFailed, match="f changed while it was read"):
            context(files=[CopiedFile("/app/f", 0o644, file, stamp=known)])


def test_a_file_that_shrinks_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    file.write_bytes(bytes(100))
    real = os.fstat

    def shrink(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if stat.S_ISREG(status.st_mode) and file.stat().st_ino == status.st_ino:
            os.truncate(file, 10)
        return status

    monkeypatch.setattr(os, "fstat", shrink)
    with pytest.raises(BuildFailed, match="f changed while it was read"):
        context(files=[CopiedFile("/app/f", 0o644, file)])
