"""What ELF files say about themselves, and that damaged ones are refused instead of believed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from fakes.roots import elf_file
from hypothesis import given
from hypothesis import strategies as st

from sconectl.errors import BuildFailed
from sconectl.image.program.elf import Elf, read_elf


def elf_of(content: bytes) -> Elf | None:
    return read_elf(lambda offset, size: content[offset : offset + size], len(content))


def compiled(folder: Path, compiler: str, *flags: str, text: str = "int main(void) { return 0; }") -> Elf:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    (folder / "p.c").write_text(text)
    subprocess.run([compiler, "-o", folder / "p", folder / "p.c", *flags], check=True, capture_output=True)
    found = elf_of((folder / "p").read_bytes())
    assert found is not None
    return found


def test_a_position_independent_program(tmp_path: Path) -> None:
    found = compiled(tmp_path, "gcc", "-pie", "-fPIE")
    assert found.pie and found.executable and found.bits == 64
    assert "ld-linux" in found.interpreter
    assert found.needed == ("libc.so.6",)


def test_a_fixed_program(tmp_path: Path) -> None:
    found = compiled(tmp_path, "gcc", "-no-pie")
    assert found.executable and not found.pie


@pytest.mark.parametrize(("flag", "pie"), [("-static", False), ("-static-pie", True)])
def test_a_static_program(tmp_path: Path, flag: str, pie: bool) -> None:
    found = compiled(tmp_path, "gcc", flag)
    assert (found.interpreter, found.needed, found.executable, found.pie) == ("", (), True, pie)


def test_a_musl_program(tmp_path: Path) -> None:
    found = compiled(tmp_path, "musl-gcc")
    assert "ld-musl" in found.interpreter


@pytest.mark.parametrize(("flag", "rpath", "runpath"), [
    ("-Wl,--disable-new-dtags", ("$ORIGIN/../lib", "/opt/x"), ()),
    ("-Wl,--enable-new-dtags", (), ("$ORIGIN/../lib", "/opt/x")),
])  # fmt: skip
def test_search_paths(tmp_path: Path, flag: str, rpath: tuple[str, ...], runpath: tuple[str, ...]) -> None:
    found = compiled(tmp_path, "gcc", flag, "-Wl,-rpath,$ORIGIN/../lib:/opt/x")
    assert (found.rpath, found.runpath) == (rpath, runpath)


def test_a_library(tmp_path: Path) -> None:
    found = compiled(tmp_path, "gcc", "-shared", "-fPIC", "-Wl,-soname,libp.so.1", text="int p(void) { return 0; }")
    assert (found.soname, found.executable, found.pie) == ("libp.so.1", False, False)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_width_and_byte_order(bits: int, order: str) -> None:
    data = elf_file(
        interpreter="/lib/ld.so.1", needed=["liba.so", "libb.so"], runpath="/a:/b", soname="x", bits=bits, order=order,
        machine=22,
    )  # fmt: skip
    assert elf_of(data) == Elf(
        "s390x", bits, True, False, "/lib/ld.so.1", ("liba.so", "libb.so"), (), ("/a", "/b"), "x"
    )


@pytest.mark.parametrize("data", [b"", b"\x7f", b"\x7fEL", b"#!/bin/sh\n", bytes(100)])
def test_other_files(data: bytes) -> None:
    assert elf_of(data) is None


GOOD = elf_file(interpreter="/lib64/ld.so", needed=["libc.so.6"], runpath="$ORIGIN", soname="p")


@pytest.mark.parametrize("end", range(4, len(GOOD)))
def test_a_cut_file_is_damaged(end: int) -> None:
    with pytest.raises(BuildFailed, match="damaged ELF"):
        elf_of(GOOD[:end])


def test_huge_counts_and_offsets() -> None:
    for place, value in (
        (32, b"\xff" * 8),  # where the headers are
        (54, b"\x01\x00"),  # their length
        (56, b"\xff\xff"),  # their number
        (64 + 8, b"\xf0\xff\xff\xff\xff\xff\xff\x7f"),  # a segment behind the end
        (64 + 56 + 32, b"\xff\xff\xff\xff"),  # an endless loader
    ):
        data = bytearray(GOOD)
        data[place : place + len(value)] = value
        with pytest.raises(BuildFailed):
            elf_of(bytes(data))


@given(st.lists(st.tuples(st.integers(4, len(GOOD) - 1), st.integers(0, 255)), max_size=12))
def test_whatever_is_changed_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    try:
        elf_of(bytes(data))
    except BuildFailed as error:
        assert "damaged" in error.message


@given(st.binary(max_size=400))
def test_anything_behind_the_magic(tail: bytes) -> None:
    try:
        elf_of(b"\x7fELF" + tail)
    except BuildFailed as error:
        assert "damaged" in error.message
