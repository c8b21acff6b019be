"""Root file systems in memory, and the smallest ELF files that say what a test needs."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.root_tree import RootTree, merge

Content = bytes | str | None
"""Content of an executable file, target of a link, or None for a directory."""


class MemoryRoot:
    """Implements `RootFiles` over a mapping of paths; parents are made."""

    def __init__(self, entries: Mapping[str, Content], *, modes: Mapping[str, int] | None = None) -> None:
        self._content = {path: data for path, data in entries.items() if isinstance(data, bytes)}
        members = [_member(path, data, (modes or {}).get(path, 0o755)) for path, data in entries.items()]
        self._tree: RootTree = merge([members])

    def member(self, path: str) -> Member | None:
        return self._tree.member(path)

    def names(self, path: str) -> Sequence[str]:
        return self._tree.names(path)

    def resolve(self, path: str) -> str | None:
        return self._tree.resolve(path)

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        data = self._content[path]
        return data[offset:] if size < 0 else data[offset : offset + size]


def _member(path: str, data: Content, mode: int) -> Member:
    if data is None:
        return Member(path, "d", mode)
    if isinstance(data, str):
        return Member(path, "l", 0o777, target=data)
    return Member(path, "f", mode, size=len(data))


def elf_file(
    *,
    interpreter: str = "",
    needed: Sequence[str] = (),
    rpath: str = "",
    runpath: str = "",
    soname: str = "",
    machine: int = 62,
    bits: int = 64,
    order: str = "<",
    shared: bool = False,
) -> bytes:
    """Return an ELF file with these properties: one LOAD segment over the whole file, mapped at 0x10000."""
    base = 0x10000
    strings = b"\0"
    entries: list[tuple[int, int]] = []
    texts = [*((1, name) for name in needed), (15, rpath), (29, runpath), (14, soname)]
    for tag, text in texts:
        if text:
            entries.append((tag, len(strings)))
            strings += text.encode() + b"\0"
    wide = bits == 64
    header, entry, step = (64, 56, 16) if wide else (52, 32, 8)
    loader = interpreter.encode() + b"\0" if interpreter else b""
    dynamic_size = (len(entries) + 2) * step if entries else 0
    count = 1 + bool(loader) + bool(entries)
    at_loader = header + count * entry
    at_strings = at_loader + len(loader)
    at_dynamic = at_strings + len(strings)
    size = at_dynamic + dynamic_size
    entries = [*entries, (5, base + at_strings), (0, 0)] if entries else []
    dynamic = b"".join(struct.pack(order + ("QQ" if wide else "II"), *pair) for pair in entries)
    segments = [(1, 0, base, size)]
    segments += [(3, at_loader, base + at_loader, len(loader))] if loader else []
    segments += [(2, at_dynamic, base + at_dynamic, len(dynamic))] if dynamic else []
    if wide:
        table = b"".join(
            struct.pack(order + "IIQQQQQQ", kind, 4, offset, address, address, length, length, 1)
            for kind, offset, address, length in segments
        )
        numbers = struct.pack(
            order + "HHIQQQIHHHHHH", 3 if shared else 2, machine, 1, 0, header, 0, 0, header, entry, count, 0, 0, 0
        )
    else:
        table = b"".join(
            struct.pack(order + "IIIIIIII", kind, offset, address, address, length, length, 4, 1)
            for kind, offset, address, length in segments
        )
        numbers = struct.pack(
            order + "HHIIIIIHHHHHH", 3 if shared else 2, machine, 1, 0, header, 0, 0, header, entry, count, 0, 0, 0
        )
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    return ident + numbers + table + loader + strings + dynamic
