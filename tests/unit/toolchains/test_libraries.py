"""Libraries are found where the dynamic loader would find them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from fakes.roots import Content, MemoryRoot, elf_file

from sconectl.image.program.libraries import Libraries, elf_at, find_libraries

LOADER = "/lib64/ld-linux-x86-64.so.2"
MUSL = "/lib/ld-musl-x86_64.so.1"
LIB = elf_file(shared=True)


def libraries(entries: dict[str, Content], *, pwd: str = "/", **environment: str) -> Libraries:
    root = MemoryRoot({LOADER: LIB, MUSL: LIB, **entries})
    elf = elf_at(root, "/app/bin/p")
    assert elf is not None
    return find_libraries(root, "/app/bin/p", elf, environment, pwd)


def program(*needed: str, **more: str) -> bytes:
    return elf_file(**{"interpreter": LOADER, **more}, needed=needed)  # type: ignore[arg-type]


def paths(entries: dict[str, Content], **environment: str) -> list[str]:
    found = libraries(entries, **environment)
    assert not found.missing
    return [library.path for library in found.found[1:]]


def test_a_static_program_needs_nothing() -> None:
    assert libraries({"/app/bin/p": elf_file()}) == Libraries()


def test_default_directories_and_links() -> None:
    entries: dict[str, Content] = {
        "/app/bin/p": program("libc.so.6", "libz.so.1"),
        "/usr/lib/x86_64-linux-gnu/libc.so.6": LIB,
        "/usr/lib64/libz.so.1": "libz.so.1.2",
        "/usr/lib64/libz.so.1.2": LIB,
    }
    found = libraries(entries)
    assert [(lib.path, lib.why) for lib in found.found] == [
        (LOADER, "dynamic loader of /app/bin/p"),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", "libc.so.6, needed by /app/bin/p"),
        ("/usr/lib64/libz.so.1.2", "libz.so.1, needed by /app/bin/p"),
    ]


def test_what_is_missing_is_said() -> None:
    found = libraries({"/app/bin/p": program("liba.so", "libb.so"), "/lib/liba.so": program("libc.so")})
    assert found.missing == ("libb.so, needed by /app/bin/p", "libc.so, needed by /lib/liba.so")
    gone = libraries({"/app/bin/p": program("liba.so", interpreter="/lib/ld.so.9")})
    assert gone.missing == ("/lib/ld.so.9, the dynamic loader of /app/bin/p",)


PLACES: dict[str, Content] = {f"{place}/liba.so": LIB for place in ("/r", "/run", "/env", "/conf", "/lib")}


@pytest.mark.parametrize(("more", "environment", "first"), [
    ({"rpath": "/r"}, {"LD_LIBRARY_PATH": "/env"}, "/r"),
    ({"runpath": "/run"}, {"LD_LIBRARY_PATH": "/env"}, "/env"),
    ({"runpath": "/run"}, {}, "/run"),
    ({"runpath": "/run", "rpath": "/r"}, {}, "/run"),
    ({}, {"LD_LIBRARY_PATH": "/x;/env"}, "/env"),
    ({}, {}, "/conf"),
])  # fmt: skip
def test_the_order_of_glibc(more: dict[str, str], environment: dict[str, str], first: str) -> None:
    entries = {
        **PLACES,
        "/app/bin/p": program("liba.so", **more),
        "/etc/ld.so.conf": b"# first\ninclude /etc/ld.so.conf.d/*.conf\nhwcap 1 x\n",
        "/etc/ld.so.conf.d/a.conf": b"/nothing /conf # here\ninclude a.conf\n",
        "/etc/ld.so.conf.d/b.txt": b"/r\n",
    }
    assert paths(entries, **environment) == [f"{first}/liba.so"]


def test_the_order_of_musl() -> None:
    entries: dict[str, Content] = {
        **PLACES,
        "/app/bin/p": program("liba.so", "libc.so", interpreter=MUSL, runpath="/run"),
    }
    assert paths(entries, LD_LIBRARY_PATH="/env") == ["/env/liba.so"]
    assert paths(entries) == ["/run/liba.so"]
    entries["/app/bin/p"] = program("liba.so", "libc.musl-x86_64.so.1", interpreter=MUSL)
    assert paths(entries) == ["/lib/liba.so"]
    entries["/etc/ld-musl-x86_64.path"] = b"/x:/conf\n/lib\n"
    assert paths(entries) == ["/conf/liba.so"]
    entries = {"/app/bin/p": program("liba.so", interpreter=MUSL, rpath="/r"), "/r/liba.so": program("libb.so"),
               "/r/libb.so": LIB}  # fmt: skip
    assert paths(entries) == ["/r/liba.so", "/r/libb.so"]  # of what needed it


def test_origin_lib_and_platform() -> None:
    for runpath, place in (
        ("$ORIGIN/../lib", "/app/lib"), ("${ORIGIN}", "/app/bin"), ("/x/$LIB", "/x/lib64"),
        ("/x/${PLATFORM}", "/x/x86_64"), ("rel", "/rel"),
    ):  # fmt: skip
        entries: dict[str, Content] = {"/app/bin/p": program("liba.so", runpath=runpath), f"{place}/liba.so": LIB}
        assert paths(entries) == [f"{place}/liba.so"]


def test_rpath_is_inherited_and_runpath_is_not() -> None:
    entries: dict[str, Content] = {
        "/r/liba.so": program("libb.so"), "/r/libb.so": LIB, "/app/bin/p": program("liba.so", rpath="/r"),
    }  # fmt: skip
    assert paths(entries) == ["/r/liba.so", "/r/libb.so"]
    entries["/app/bin/p"] = program("liba.so", runpath="/r")
    assert libraries(entries).missing == ("libb.so, needed by /r/liba.so",)


def test_files_for_another_machine_or_damaged_ones_are_passed_over() -> None:
    entries: dict[str, Content] = {
        "/app/bin/p": program("liba.so", runpath="/1:/2:/3:/4"),
        "/1/liba.so": elf_file(machine=183), "/2/liba.so": elf_file(bits=32), "/3/liba.so": b"\x7fELF damaged",
        "/4/liba.so": LIB,
    }  # fmt: skip
    assert paths(entries) == ["/4/liba.so"]


def test_a_name_with_a_slash_is_a_path() -> None:
    assert paths({"/app/bin/p": program("./x/liba.so"), "/x/liba.so": LIB}) == ["/x/liba.so"]


def test_libraries_that_need_each_other_and_know_their_names() -> None:
    entries: dict[str, Content] = {
        "/app/bin/p": program("liba.so.1", "libb.so"),
        "/lib/liba.so.1": elf_file(shared=True, soname="liba.so.1", needed=["libb.so", "liba.so.1"]),
        "/lib/libb.so": elf_file(shared=True, needed=["liba.so.1"]),
    }
    assert paths(entries) == ["/lib/liba.so.1", "/lib/libb.so"]


class HostRoot(MemoryRoot):
    """The files of this machine."""

    def __init__(self) -> None:
        super().__init__({})

    def member(self, path: str):  # type: ignore[no-untyped-def]
        from sconectl.image.layers.layer_index import Member

        place = Path(path)
        kind = "f" if place.is_file() else "d"
        return Member(path, kind, 0o755, size=place.stat().st_size) if place.exists() else None

    def names(self, path: str) -> list[str]:
        place = Path(path)
        return sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []

    def resolve(self, path: str) -> str | None:
        return str(Path(path).resolve()) if Path(path).exists() else None

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        with Path(path).open("rb") as file:
            file.seek(offset)
            return file.read(size)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_like_the_loader_of_this_machine(tmp_path: Path) -> None:
    """The only test that asks a real loader, about a program of ours."""
    done = subprocess.run(
        ["gcc", "-Wl,--no-as-needed", "-o", tmp_path / "p", "-xc", "-", "-lm", "-lstdc++", "-ldl"],
        input=b"int main(void){return 0;}", capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("no compiler with a C++ library")
    root = HostRoot()
    binary = str(tmp_path / "p")
    elf = elf_at(root, binary)
    assert elf is not None
    listed = subprocess.run([elf.interpreter, "--list", binary], capture_output=True, text=True, check=True).stdout
    wanted = {
        str(Path(line.split("=>")[1].split(" (")[0].strip()).resolve()) for line in listed.splitlines() if "=>" in line
    }
    found = find_libraries(root, binary, elf, {}, "/")
    assert not found.missing
    assert {library.path for library in found.found} == wanted | {str(Path(elf.interpreter).resolve())}
