"""Which parts of a file differ from what was committed.

In: the open file, its node, the ranges that can differ if they are known, digests of what was committed. Out: ranges to
be written, and parts that are zeros now and take no space.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from sconectl.protect.chunks import CHUNK as BLOCK
from sconectl.protect.volume.contents import grown, holes_of
from sconectl.protect.volume.digests import Digests
from sconectl.protect.volume.model import Node, Zeros

MOST_HOLES = 1 << 16
"""So many blocks in a row that take no space are compared one by one."""
_READ = 1 << 20
_LARGE, _SAMPLES = 32 << 20, 32
"""If all samples of a part of this length differ, no block of it is compared."""
ZEROS = memoryview(bytes(BLOCK))
Range = tuple[int, int]
"""Offset and length."""


def differing(
    node: Node, handle: int, size: int, written: Sequence[Range] | None, digests: Digests
) -> tuple[list[Range], list[Zeros]]:
    """Return what differs from the last commit; `written` is all that can, besides growth, if that is known."""
    common = min(node.size, size)
    zeros: list[Zeros] = []
    if written is None:
        found = list(_compared(node, handle, common, digests, zeros))
    else:
        found = [(offset, min(offset + length, common) - offset) for offset, length in written if offset < common]
    return merged([*found, *grown(handle, common, size)]), zeros


def _compared(node: Node, handle: int, common: int, digests: Digests, zeros: list[Zeros]) -> Iterator[Range]:
    """Compare block by block with what was committed. What takes no space any more becomes zeros."""
    place = 0
    for first, many in [*holes_of(handle, common), (-(-common // BLOCK), 0)]:
        yield from _compared_part(node, handle, place, min(first * BLOCK, common), digests)
        place = min((first + many) * BLOCK, common)
        if many:
            blocks = range(first, first + many)
            if many > MOST_HOLES or any(digests.differs(node.id, block, ZEROS) for block in blocks):
                zeros.append(Zeros(node.id, first * BLOCK, place - first * BLOCK))


def _compared_part(node: Node, handle: int, start: int, end: int, digests: Digests) -> Iterator[Range]:
    if end - start >= _LARGE and all(
        differs for place in range(start, end, (end - start) // _SAMPLES // BLOCK * BLOCK)
        for _, _, differs in _looked_at(node, handle, place, min(place + BLOCK, end), digests)
    ):  # fmt: skip
        yield start, end - start  # it was written anew: looking at the rest would take longer than it saves
        return
    for place, length, differs in _looked_at(node, handle, start, end, digests):
        if differs:
            yield place, length


def _looked_at(node: Node, handle: int, start: int, end: int, digests: Digests) -> Iterator[tuple[int, int, bool]]:
    """Yield offset and length of each block, and whether it differs."""
    buffer = memoryview(bytearray(min(_READ, end - start)))
    for place in range(start, end, _READ):
        content = buffer[: os.preadv(handle, [buffer[: end - place]], place)]
        for inner in range(0, len(content), BLOCK):
            block = content[inner : inner + BLOCK]
            yield place + inner, len(block), digests.differs(node.id, (place + inner) // BLOCK, block)


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Return the same ranges sorted, those that touch or overlap as one."""
    found: list[Range] = []
    for offset, length in sorted(ranges):
        if length <= 0:
            continue
        if found and offset <= found[-1][0] + found[-1][1]:
            first, before = found[-1]
            found[-1] = (first, max(before, offset + length - first))
        else:
            found.append((offset, length))
    return found
