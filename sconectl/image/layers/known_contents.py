"""What earlier runs read in the files of an image: headers of programs, scripts, lists of accounts.

In: the digests of an image's layers, the cache, the paths of which nothing may be remembered. Out: bytes that need not
be read again. A file's digest stands for its content, so the same bytes are found under any name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence

from sconectl.image.layers.layer_cache import LayerCache
from sconectl.image.layers.layer_index import Member
from sconectl.protect.index import is_below

_MOST = 8 << 20
"""Bytes that are remembered of one image; more than checks read in any that was seen."""


class KnownContents:
    """Parts of files, by the digest of the file, offset and size. What is read below `secret` paths is not kept."""

    def __init__(self, layers: Sequence[str], known: LayerCache, secret: Sequence[str]) -> None:
        self._key = hashlib.sha256("\n".join(("contents", *layers)).encode()).hexdigest()
        self._known, self._secret = known, frozenset(secret)
        self._parts = _parts(known.value(self._key))
        self._room = _MOST - sum(map(len, self._parts.values()))
        self._new = False

    def part(self, member: Member, offset: int, size: int, read: Callable[[], bytes]) -> bytes:
        """Return a part of a file; `read` is asked for what nobody has read before."""
        name = f"{member.digest}:{offset}:{size}"
        found = self._parts.get(name)
        if found is None:
            found = read()
            if len(found) <= self._room and not is_below(member.path, self._secret):
                self._parts[name] = found
                self._room -= len(found)
                self._new = True
        return found

    def keep(self) -> None:
        """Remember what was read, for later runs."""
        if self._new:
            text = {name: base64.b64encode(part).decode("ascii") for name, part in sorted(self._parts.items())}
            self._known.keep(self._key, text)


def _parts(value: object) -> dict[str, bytes]:
    if not isinstance(value, dict):
        return {}
    try:
        return {str(name): base64.b64decode(text, validate=True) for name, text in value.items()}
    except (binascii.Error, TypeError, ValueError):
        return {}
