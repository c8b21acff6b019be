"""Reads what the dynamic loader and the kernel need to know from an ELF file, without running or trusting it.

In: a way to read parts of a file, and its size. Out: an `Elf`, or None for a file of another kind. Raises
`BuildFailed` for an ELF file that is damaged. Every offset and count of the file is checked before it is used.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sconectl.errors import BuildFailed

Read = Callable[[int, int], bytes]
"""Returns `size` bytes from `offset` (in this order of arguments: offset, size), fewer at the end of the file."""

MAGIC = b"\x7fELF"
MACHINES = {
    3: "386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64",
    258: "loong64",
}  # fmt: skip
"""Machine numbers, and what container images call them."""

_MAX_HEADERS = 4096
_MAX_DYNAMIC = 1 << 20
_MAX_STRING = 4096
_EXECUTABLE, _SHARED = 2, 3
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS, _SONAME, _RPATH, _RUNPATH, _FLAGS_1 = 1, 5, 14, 15, 29, 0x6FFFFFFB
_PIE = 0x08000000


@dataclass(frozen=True)
class Elf:
    """The headers of an ELF file. A `pie` program can be loaded anywhere; libraries are not `executable`."""

    machine: str
    bits: int
    executable: bool
    pie: bool
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    soname: str = ""


@dataclass(frozen=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def read_elf(read: Read, size: int) -> Elf | None:
    """Return the headers of an ELF file, or None for another file. Raises `BuildFailed` if it is damaged."""
    if read(0, 4) != MAGIC:
        return None
    return _Reader(read, size).elf()


class _Reader:
    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size
        ident = self._bytes(0, 16)
        if ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise _damaged("it is neither for 32 nor for 64 bits, or has no byte order")
        self._wide = ident[4] == 2
        self._order = "<" if ident[5] == 1 else ">"
        self._segments: list[_Segment] = []

    def elf(self) -> Elf:
        kind, machine = self._unpack("HH", 16)
        if kind not in (_EXECUTABLE, _SHARED):
            raise _damaged("it is neither a program nor a library")
        self._segments = list(self._program_headers())
        interpreter = next((self._interpreter(s) for s in self._segments if s.kind == _INTERPRETER), "")
        entries = list(self._dynamic())
        strings = next((value for tag, value in entries if tag == _STRINGS), 0)
        texts = {
            wanted: tuple(self._string(strings, value) for tag, value in entries if tag == wanted)
            for wanted in (_NEEDED, _SONAME, _RPATH, _RUNPATH)
        }
        flagged = any(tag == _FLAGS_1 and value & _PIE for tag, value in entries)
        pie = kind == _SHARED and (flagged or bool(interpreter))
        return Elf(
            machine=MACHINES.get(machine, f"machine {machine}"),
            bits=64 if self._wide else 32,
            executable=kind == _EXECUTABLE or pie,
            pie=pie,
            interpreter=interpreter,
            needed=texts[_NEEDED],
            rpath=_folders(texts[_RPATH]),
            runpath=_folders(texts[_RUNPATH]),
            soname=next(iter(texts[_SONAME]), ""),
        )

    def _bytes(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > self._size:
            raise _damaged("a part of it would lie behind its end")
        data = self._read(offset, size)
        if len(data) != size:
            raise _damaged("it is shorter than its size says")
        return data

    def _unpack(self, form: str, offset: int) -> tuple[int, ...]:
        form = self._order + form
        return struct.unpack(form, self._bytes(offset, struct.calcsize(form)))

    def _program_headers(self) -> Iterator[_Segment]:
        [start] = self._unpack("Q", 32) if self._wide else self._unpack("I", 28)
        length, count = self._unpack("HH", 54 if self._wide else 42)
        if count > _MAX_HEADERS:
            raise _damaged(f"it has more than {_MAX_HEADERS} segments")
        if count and length < (56 if self._wide else 32):
            raise _damaged("its segment headers are too short")
        for number in range(count):
            place = start + number * length
            if self._wide:
                kind, _flags, offset, address, _physical, size = self._unpack("IIQQQQ", place)
            else:
                kind, offset, address, _physical, size = self._unpack("IIIII", place)
            yield _Segment(kind, offset, address, size)

    def _interpreter(self, segment: _Segment) -> str:
        if segment.size > _MAX_STRING:
            raise _damaged("the name of its loader is too long")
        return _text(self._bytes(segment.offset, segment.size))

    def _dynamic(self) -> Iterator[tuple[int, int]]:
        segment = next((s for s in self._segments if s.kind == _DYNAMIC), None)
        if segment is None:
            return
        if segment.size > _MAX_DYNAMIC:
            raise _damaged("its dynamic section is too long")
        step = 16 if self._wide else 8
        data = self._bytes(segment.offset, segment.size - segment.size % step)
        for tag, value in struct.iter_unpack(f"{self._order}{'QQ' if self._wide else 'II'}", data):
            if tag == 0:
                return
            yield tag, value

    def _string(self, table: int, index: int) -> str:
        """Return a string of the dynamic string table, whose address is the one in memory."""
        address = table + index
        for segment in self._segments:
            if segment.kind == _LOAD and segment.address <= address < segment.address + segment.size:
                start = segment.offset + address - segment.address
                end = min(start + _MAX_STRING, segment.offset + segment.size, self._size)
                data = self._bytes(start, max(end - start, 0))
                if b"\0" not in data:
                    raise _damaged("a name in it has no end")
                return _text(data)
        raise _damaged("a name that it uses is not in it")


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("utf-8", "surrogateescape")


def _folders(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(folder for text in texts for folder in text.split(":") if folder)


def _damaged(reason: str) -> BuildFailed:
    return BuildFailed(f"damaged ELF file: {reason}")
