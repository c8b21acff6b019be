"""What is known of layers, kept between runs: a layer never changes, for its digest is its name.

In: a directory of its own. Out: indexes of layers, and what rewriting them gave. Everything in it can be made again:
what is missing or damaged is as if it had never been there.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sconectl.toolchains.layer_index import Member

_FORMAT = "layer-1"
_KEPT = 512
"""So many files are kept, the latest used ones."""


class LayerCache:
    """Remembers values by digest; the files in `folder` are private, because they name files that get encrypted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def members(self, digest: str) -> tuple[Member, ...] | None:
        """Return the members of the layer with this digest, or None if they are not known."""
        rows = self.value(digest)
        try:
            return None if rows is None else tuple(_member(*row) for row in rows)
        except (TypeError, ValueError):
            return None

    def keep_members(self, digest: str, members: Iterable[Member]) -> None:
        """Remember the members of a layer."""
        self.keep(digest, [_row(member) for member in members])

    def value(self, key: str) -> Any:
        """Return what is remembered under `key` (a digest), or None."""
        file = self._folder / f"{key}.json"
        try:
            text = file.read_bytes()
            os.utime(file)
            document = json.loads(text)
            return document["value"] if document["format"] == _FORMAT and document["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def keep(self, key: str, value: Any) -> None:
        """Remember a value that JSON can hold. A cache that cannot be written to is none, and no fault."""
        text = json.dumps({"format": _FORMAT, "key": key, "value": value}, separators=(",", ":"))
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_room()
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
            try:
                with os.fdopen(handle, "w", encoding="ascii") as file:
                    file.write(text)
                Path(name).replace(self._folder / f"{key}.json")
            except OSError:
                Path(name).unlink()
                raise

    def _make_room(self) -> None:
        files = [(entry.stat().st_mtime_ns, entry.path) for entry in os.scandir(self._folder)]
        for _, path in sorted(files)[:-_KEPT]:
            Path(path).unlink()


def _row(member: Member) -> list[Any]:
    return [getattr(member, name) for name in Member.__slots__]


def _member(*row: Any) -> Member:
    values = list(row)
    xattrs, (major, minor) = values[-2:]  # JSON has no tuples
    values[-2:] = tuple((str(name), str(value)) for name, value in xattrs), (int(major), int(minor))
    return Member(*values)
