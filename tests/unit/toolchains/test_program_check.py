"""An existing image is refused before it is protected if it could not start, or not protected."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.builders import service_plan, service_text
from fakes.roots import Content, MemoryRoot, elf_file

from sconectl.errors import BuildFailed, PlanImpossible
from sconectl.image.program.program_check import CheckedProgram, check_program, describe
from sconectl.ports import ImageInfo

LOADER = "/lib64/ld-linux-x86-64.so.2"
ROOT: dict[str, Content] = {
    LOADER: elf_file(shared=True),
    "/lib/libc.so.6": elf_file(shared=True),
    "/usr/bin/app": elf_file(interpreter=LOADER, needed=["libc.so.6"]),
    "/usr/bin/other": elf_file(),
    "/opt/app": "/usr/bin/app",
    "/app/run.sh": b"#!/usr/bin/other\n",
    "/app/data": b"data",
    "/usr/lib/lib.so": elf_file(shared=True),
    "/tmp/app": elf_file(),
    "/data/app": elf_file(),
    "/usr/bin/in-tmp": "/tmp/app",
    "/usr/bin/in-data": "../../data/app",
}


def check(root: dict[str, Content] | None = None, architecture: str = "amd64", **build: Any) -> CheckedProgram | None:
    changes: dict[str, Any] = {"kind": "sconify_image", "from_": "native:1", "command": "app", "pwd": "/", **build}
    native = ImageInfo("sha256:1", architecture, {"Env": ["PATH=/usr/bin"]})
    return check_program(service_plan(service_text(**changes)), native, MemoryRoot(root or ROOT))


def test_a_program_that_can_start() -> None:
    found = check(binaries=["app", "/usr/bin/app"])
    assert found is not None and found.remarks == ()
    assert found.program.binary == "/usr/bin/app"
    assert [library.path for library in found.program.libraries.found] == [LOADER, "/lib/libc.so.6"]


@pytest.mark.parametrize(("build", "said"), [
    ({"command": "ap"}, "the program ap is not in the image"),
    ({"binaries": ["ap"]}, "the binary ap is not in the image"),
    ({"binaries": ["/gone"]}, "the binary /gone is not in the image"),
    ({"binaries": ["/app/data"]}, "neither an ELF program nor a script"),
    ({"binaries": ["/usr/lib/lib.so"]}, "is a library and no program"),
    ({"command": "in-tmp"}, "/tmp/app is needed to start the program .* but is not protected: /tmp is"),
    ({"command": "/opt/app", "host_paths": ["/usr"]}, "/usr/bin/app is needed .* /usr is host path"),
    ({"command": "in-data", "plains": ["/data"]}, "/data/app is needed .* /data is plain"),
    ({"binaries": ["in-data"], "plain_files": ["/data/app"]}, "/data/app is needed .* /data/app is plain"),
])  # fmt: skip
def test_refusals(build: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanImpossible, match=said):
        check(**build)


def test_another_processor() -> None:
    with pytest.raises(PlanImpossible, match="/usr/bin/app is a program for amd64, but the image is for arm64"):
        check(architecture="arm64")
    assert check({"/usr/bin/app": elf_file(machine=3, bits=32)})


def test_a_damaged_program() -> None:
    with pytest.raises(BuildFailed, match="/usr/bin/app: damaged ELF"):
        check({"/usr/bin/app": b"\x7fELF"})


def test_remarks() -> None:
    found = check(binaries=["other"], dirs=["/lib"])
    assert found is not None
    assert [remark.partition(":")[0] for remark in found.remarks] == [
        "/usr/bin/other is protected, but the command starts /usr/bin/app", "/lib/libc.so.6 is encrypted",
    ]  # fmt: skip
    root = {path: data for path, data in ROOT.items() if path != "/lib/libc.so.6"}
    [remark] = getattr(check(root), "remarks")  # noqa: B009
    assert remark.startswith("not in the image: libc.so.6, needed by /usr/bin/app")


def test_what_cannot_be_known_yet() -> None:
    assert check(command="'{{PROGRAM}}' x") is None
    assert check(kind="python", from_="base:1", command="python3 main.py") is None
    with pytest.raises(PlanImpossible):
        check(kind="python", from_="base:1", binaries=["/gone"])


def test_why_files_are_needed() -> None:
    def reasons(command: str) -> dict[str, str]:
        plan = service_plan(service_text(kind="sconify_image", from_="native:1", command=command, pwd="/"))
        return describe(plan, ImageInfo("sha256:1", "amd64", {"Env": ["PATH=/opt"]}), MemoryRoot(ROOT))

    assert reasons("app") == {
        "/opt/app": "link to /usr/bin/app",
        "/usr/bin/app": "named by the command",
        LOADER: "dynamic loader of /usr/bin/app",
        "/lib/libc.so.6": "libc.so.6, needed by /usr/bin/app",
    }
    assert reasons("gone") == {}
