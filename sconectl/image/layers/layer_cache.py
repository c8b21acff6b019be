"""Facts about layers, kept between runs: a layer never changes, for its digest is its name.

In: a directory of its own. Out: indexes of layers, and what rewriting them gave. Everything in it can be made again:
what is missing, damaged, of another name or not ours alone is as if it had never been there. Each file has the digest
of its name and content; a file appears whole or not at all, so that any number of runs may read and write at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sconectl.image.layers.layer_index import Member
from sconectl.regular_files import first_bytes

_FORMAT = "layer-2"
_KEPT = 512
"""The number of files that are kept, the latest used ones."""
_MAX_BYTES = 1 << 30
_NEW = ".new-"
_ABANDONED = 3600
"""Seconds after which a file that somebody began to write is taken for left over."""


def is_private(folder: Path) -> bool:
    """Say whether nobody but this user (and root) can put files into a directory."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


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
        """Return the value that is remembered under `key` (a digest), or None. A file that was changed is removed."""
        file = self._folder / f"{key}.json"
        try:
            if not is_private(self._folder):
                return None
            text = first_bytes(file, _MAX_BYTES)
        except OSError:
            return None
        checksum, _, content = text.partition(b"\n")
        if not hmac.compare_digest(checksum, _checksum(key, content)):
            with contextlib.suppress(OSError):
                file.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(file)  # the latest used ones are kept
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            return None

    def keep(self, key: str, value: Any) -> None:
        """Remember a value that JSON can hold. A cache that cannot be written to is none, and no fault."""
        content = json.dumps(value, separators=(",", ":")).encode("ascii")
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not is_private(self._folder):
                return
            self._make_room()
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=_NEW)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_checksum(key, content) + b"\n" + content)
                Path(name).replace(self._folder / f"{key}.json")
            except OSError:
                Path(name).unlink()
                raise

    def _make_room(self) -> None:
        """Remove the files that were not used for longest, and those of dead runs; other runs may do the same."""
        found = []
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):
                used = entry.stat(follow_symlinks=False).st_mtime
                if not entry.name.startswith(_NEW):
                    found.append((used, entry.path))
                elif used < time.time() - _ABANDONED:
                    Path(entry.path).unlink()
        for _, path in sorted(found)[:-_KEPT]:
            Path(path).unlink(missing_ok=True)


def _checksum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(f"{_FORMAT}\n{key}\n".encode() + content).hexdigest().encode("ascii")


def _row(member: Member) -> list[Any]:
    return [getattr(member, name) for name in Member.__slots__]


def _member(*row: Any) -> Member:
    values = list(row)
    xattrs, (major, minor) = values[-2:]  # JSON has no tuples
    values[-2:] = tuple((str(name), str(value)) for name, value in xattrs), (int(major), int(minor))
    return Member(*values)
