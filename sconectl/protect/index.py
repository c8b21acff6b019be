"""The file index: what a measured root file system consists of, and how a live one differs from it.

In: a directory tree (or the entries of a tar stream). Out: an `Index` with one canonical form and one digest.
Paths are absolute and POSIX; names that are not UTF-8 are carried with surrogate escapes.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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

_CHUNK = 1 << 20


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
    def from_bytes(cls, data: bytes) -> Index:
        """Read the canonical form. Raises `ValueError` if `data` is not an index."""
        document = json.loads(data)
        try:
            if document["format"] != "sconectl-index-1":
                raise ValueError("unknown index format")
            entries = {str(path): tuple(map(str, entry)) for path, entry in document["entries"].items()}
            return cls(tuple(document["outside"]), tuple(document["sealed"]), entries)
        except (KeyError, TypeError, AttributeError) as error:
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
    """One way in which a live file system is not the measured one; `kind` is added, changed or missing."""

    kind: str
    path: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}"


def scan(root: str, expected: Index) -> Index:
    """Index the live file system below `root` with the same unprotected paths as `expected`.

    What the caller may not read cannot be read by the program that it starts either, so the expected entry
    stands in for it. Special files become an entry of their own kind, which no expected index contains.
    """
    outside = frozenset(expected.outside)
    entries: dict[str, Entry] = {}
    for path, full, status in _walk(root, outside):
        kind = status.st_mode
        try:
            if stat.S_ISDIR(kind):
                entries[path] = directory_entry(kind)
            elif stat.S_ISLNK(kind):
                entries[path] = link_entry(os.readlink(full))  # noqa: PTH115
            elif stat.S_ISREG(kind):
                entries[path] = file_entry(kind, status.st_size, _sha256(full))
            else:
                entries[path] = ("special", f"{kind:o}")
        except PermissionError:
            if path in expected.entries:
                entries[path] = expected.entries[path]
        except FileNotFoundError:
            continue  # gone since it was listed: missing
    for path in _unreadable_below(root, expected, entries):
        entries[path] = expected.entries[path]
    return Index(expected.outside, expected.sealed, entries)


def _walk(root: str, outside: frozenset[str]) -> Iterator[tuple[str, str, os.stat_result]]:
    pending = [""]
    while pending:
        parent = pending.pop()
        try:
            with os.scandir(root.rstrip("/") + (parent or "/")) as listing:
                items = sorted(listing, key=lambda item: item.name)
        except PermissionError:
            continue
        for item in items:
            path = f"{parent}/{item.name}"
            if path in outside:
                continue
            status = item.stat(follow_symlinks=False)
            yield path, item.path, status
            if stat.S_ISDIR(status.st_mode):
                pending.append(path)


def _unreadable_below(root: str, expected: Index, found: Mapping[str, Entry]) -> Iterator[str]:
    """Yield the expected paths that are hidden by a directory that the caller may not enter."""
    closed: dict[str, bool] = {}
    for path in expected.entries:
        if path in found:
            continue
        parent = path.rsplit("/", 1)[0] or "/"
        if parent not in closed:
            full = root.rstrip("/") + parent
            closed[parent] = _is_closed(full)
        if closed[parent]:
            yield path


def _is_closed(directory: str) -> bool:
    try:
        with os.scandir(directory):
            return False
    except PermissionError:
        return True
    except OSError:
        return False


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - Path costs as much as hashing a small file
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def differences(expected: Index, found: Index) -> list[Difference]:
    """List how `found` differs from `expected`, sorted by path."""
    result = [
        Difference("missing" if path not in found.entries else "changed", path)
        for path, entry in expected.entries.items()
        if found.entries.get(path) != entry
    ]
    result += [Difference("added", path) for path in found.entries if path not in expected.entries]
    return sorted(result, key=lambda d: d.path)
