"""The file index: what a measured root file system consists of, and how a live one differs from it.

In: entries by path. Out: an `Index` with one canonical form and one digest.
Paths are absolute and POSIX; names that are not UTF-8 are carried with surrogate escapes. `live` makes an index of a
directory tree.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from sconectl.protect.collector import no_collection

Entry = tuple[str, ...]
"""("d", mode) · ("l", target) · ("f", mode, size, sha256); all text, modes octal."""

RUNTIME_PATHS = (
    "/.dockerenv",
    "/dev",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/mtab",
    "/etc/resolv.conf",
    "/proc",
    "/run",
    "/sbin/docker-init",
    "/scone",
    "/sys",
    "/tmp",  # noqa: S108 - named as unprotected, not used
    "/usr/sbin/docker-init",
    "/var/run",
    "/var/tmp",  # noqa: S108
)
"""Paths that container runtimes fill or mount over, and scratch space: never protected. /scone is measured apart."""

UNREADABLE: Entry = ("unreadable",)
"""The entry, in a scanned index, of a file that could not be measured."""


@dataclass(frozen=True)
class Index:
    """The protected part of a root file system.

    `outside` holds the paths whose content is not protected, `sealed` the encrypted directories (in the image
    they are links to where they will be decrypted), `entries` everything else by path.
    """

    outside: tuple[str, ...]
    sealed: tuple[str, ...]
    entries: Mapping[str, Entry]

    def to_bytes(self) -> bytes:
        """Return the canonical form: the same index gives the same bytes."""
        document = {
            "format": "sconectl-index-1",
            "outside": sorted(self.outside),
            "sealed": sorted(self.sealed),
            "entries": {path: list(self.entries[path]) for path in sorted(self.entries)},
        }
        return json.dumps(document, separators=(",", ":"), sort_keys=True).encode("ascii")

    def digest(self) -> str:
        """Return the SHA-256 of the canonical form, 64 hex digits."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    @no_collection()
    def from_bytes(cls, data: bytes) -> Index:
        """Read the canonical form. Raises `ValueError` if `data` is not an index."""
        try:
            document = json.loads(data)
            if document["format"] != "sconectl-index-1":
                raise ValueError("unknown index format")
            entries = {str(path): tuple(map(str, entry)) for path, entry in document["entries"].items()}
            return cls(tuple(document["outside"]), tuple(document["sealed"]), entries)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("not an index") from error


def is_below(path: str, roots: tuple[str, ...] | frozenset[str]) -> bool:
    """Tell whether `path` is one of `roots` or lies below one of them."""
    while True:
        if path in roots:
            return True
        cut = path.rfind("/")
        if cut <= 0:
            return "/" in roots and path.startswith("/")
        path = path[:cut]


def file_entry(mode: int, size: int, sha256: str) -> Entry:
    """Return the entry of a regular file; `mode` holds the permission bits."""
    return ("f", f"{stat.S_IMODE(mode):o}", str(size), sha256)


def directory_entry(mode: int) -> Entry:
    """Return the entry of a directory."""
    return ("d", f"{stat.S_IMODE(mode):o}")


def link_entry(target: str) -> Entry:
    """Return the entry of a symbolic link."""
    return ("l", target)


@dataclass(frozen=True)
class Difference:
    """A difference between a live file system and the measured one; `kind` is added, changed, missing or unreadable."""

    kind: str
    path: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}"


def differences(expected: Index, found: Index) -> list[Difference]:
    """List how `found` differs from `expected`, sorted by path; the content of unreadable directories is not listed."""
    result = [
        Difference(_kind(found.entries.get(path)), path)
        for path, entry in expected.entries.items()
        if found.entries.get(path) != entry
    ]
    result += [Difference("added", path) for path in found.entries if path not in expected.entries]
    closed = frozenset(difference.path for difference in result if difference.kind == "unreadable")
    return sorted((d for d in result if d.kind != "missing" or not is_below(d.path, closed)), key=lambda d: d.path)


def _kind(found: Entry | None) -> str:
    if found is None:
        return "missing"
    return "unreadable" if found == UNREADABLE else "changed"
