"""Tells which blocks of files differ from the last commit, without a copy of what was committed.

In: blocks of files as they were committed, and later as they are. Out: whether they differ. A digest is a GMAC under a
key that nobody knows: two contents have the same one with a chance of 2⁻¹¹⁶.
"""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = bytes(12)


class Digests:
    """The digests of the blocks (64 KiB; the last of a file may be shorter) of committed files."""

    def __init__(self) -> None:
        self._mac = AESGCM(os.urandom(32))
        self._files: dict[int, dict[int, bytes]] = {}

    def note(self, id_: int, block: int, content: memoryview) -> None:
        """Note that a block of a file was committed with this content."""
        self._files.setdefault(id_, {})[block] = self._mac.encrypt(_NONCE, b"", content)

    def differs(self, id_: int, block: int, content: memoryview) -> bool:
        """Tell whether a block differs from what was committed; True if that is not known."""
        known = self._files.get(id_, {}).get(block)
        return known is None or known != self._mac.encrypt(_NONCE, b"", content)

    def forget(self, id_: int, first: int = 0, last: int | None = None) -> None:
        """Forget the blocks of a file from `first` to `last` (None: all that follow)."""
        found = self._files.get(id_)
        if found is None:
            return
        if last is not None and last - first < len(found):
            for block in range(first, last + 1):
                found.pop(block, None)
            return
        for block in [block for block in found if block >= first and (last is None or block <= last)]:
            del found[block]
        if not found:
            del self._files[id_]
