"""Tells which blocks of files differ from the last commit, without a copy of what was committed.

In: blocks of files as they were committed, and later as they are. Out: whether they differ. A digest is a GMAC under a
key that nobody knows: two contents have the same one with a chance of 2⁻¹¹⁶. Of small files that are mapped, copies are
kept, too: they are compared at every commit, and hardly anything of them changes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MOST_COPIED = 1 << 20
"""Of a file with more bytes no copy is kept."""
_MOST_FILES = 16
_NONCE = bytes(12)
_PART = 512
"""A block of which there is a copy is compared in parts of this length."""


class Digests:
    """The digests of the blocks (64 KiB; the last of a file may be shorter) of committed files."""

    def __init__(self) -> None:
        self._mac = AESGCM(os.urandom(32))
        self._files: dict[int, dict[int, bytes]] = {}
        self._copies: dict[int, dict[int, bytearray]] = {}

    def keep_copies(self, id_: int) -> None:
        """Keep copies of the blocks of this file that are noted from now on, unless there are enough such files."""
        if len(self._copies) < _MOST_FILES:
            self._copies.setdefault(id_, {})

    def drop_copies(self, id_: int) -> None:
        """Keep no copies of this file, which is too large for that."""
        self._copies.pop(id_, None)

    def note(self, id_: int, block: int, content: memoryview) -> None:
        """Note that a block of a file was committed with this content."""
        self._files.setdefault(id_, {})[block] = self._mac.encrypt(_NONCE, b"", content)
        if id_ in self._copies:
            self._copies[id_][block] = bytearray(content)

    def note_part(self, id_: int, block: int, offset: int, content: memoryview) -> None:
        """Note that a part of a block was committed, at an offset in it; without a copy the block is forgotten."""
        copy = self._copies.get(id_, {}).get(block)
        if copy is None or offset + len(content) > len(copy):
            self.forget(id_, block, block)
            return
        copy[offset : offset + len(content)] = content
        self._files.setdefault(id_, {})[block] = self._mac.encrypt(_NONCE, b"", copy)

    def changed(self, id_: int, block: int, content: memoryview) -> Iterator[tuple[int, int]]:
        """Yield offset and length of the parts of a block that differ; of all of it, without a copy of this length."""
        copy = self._copies.get(id_, {}).get(block)
        if copy is None or len(copy) != len(content):
            yield 0, len(content)
            return
        now = bytes(content)
        for start in range(0, len(copy), _PART):
            if now[start : start + _PART] != copy[start : start + _PART]:
                yield start, min(_PART, len(copy) - start)

    def differs(self, id_: int, block: int, content: memoryview) -> bool:
        """Tell whether a block differs from what was committed; True if that is not known."""
        known = self._files.get(id_, {}).get(block)
        return known is None or known != self._mac.encrypt(_NONCE, b"", content)

    def forget(self, id_: int, first: int = 0, last: int | None = None) -> None:
        """Forget the blocks of a file from `first` to `last` (None: all that follow)."""
        for known in (self._files.get(id_), self._copies.get(id_)):
            if known:
                _remove(known, first, last)
        if not self._files.get(id_, True):
            del self._files[id_]

    def forget_file(self, id_: int) -> None:
        """Forget a file that is gone."""
        self._files.pop(id_, None)
        self._copies.pop(id_, None)


def _remove(known: dict[int, bytes] | dict[int, bytearray], first: int, last: int | None) -> None:
    if last is not None and last - first < len(known):
        for block in range(first, last + 1):
            known.pop(block, None)
        return
    for block in [block for block in known if block >= first and (last is None or block <= last)]:
        del known[block]
