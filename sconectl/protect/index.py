"""The file index: what a measured root file system consists of, and how a live one differs from it.

In: a directory tree (or the entries of a tar stream). Out: an `Index` with one canonical form and one digest.
Paths are absolute and POSIX; names that are not UTF-8 are carried with surrogate escapes.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
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

UNREADABLE: Entry = ("unreadable",)
"""What stands in a scanned index for a file that could not be measured."""

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
    """One way in which a live file system is not the measured one; `kind` is added, changed, missing or unreadable."""

    kind: str
    path: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}"


def scan(root: str, expected: Index) -> Index:
    """Index the live file system below `root` with the same unprotected paths as `expected`.

    What the caller can neither read nor run nor enter, the program that it starts cannot either: there the expected
    entry stands in. Everything else that cannot be read, and special files, become entries of their own kinds, which
    no expected index contains.
    """
    base, outside = root.rstrip("/"), frozenset(expected.outside)
    entries: dict[str, Entry] = {}
    closed: set[str] = set()
    pending = [""]
    while pending:
        parent = pending.pop()
        directory = base + (parent or "/")
        if parent and _out_of_reach(directory):
            closed.add(parent)
            continue
        try:
            names = os.listdir(directory)  # noqa: PTH208 - names are all that is needed, and there are many
        except FileNotFoundError:
            continue  # gone since it was listed: its content is missing
        except OSError:
            entries[parent or "/"] = UNREADABLE
            continue
        for name in names:
            path = f"{parent}/{name}"
            if path in outside:
                continue
            entry = _live_entry(base + path, expected.entries.get(path))
            if entry is not None:
                entries[path] = entry
                if entry[0] == "d":
                    pending.append(path)
    if closed:
        behind = ((path, entry) for path, entry in expected.entries.items() if path not in entries)
        entries.update((path, entry) for path, entry in behind if is_below(path, frozenset(closed)))
    return Index(expected.outside, expected.sealed, entries)


def _live_entry(path: str, known: Entry | None) -> Entry | None:
    """Return the entry of a live file, or None if it is gone; `known` stands in for it where that is safe."""
    try:
        status = os.lstat(path)
        kind = status.st_mode
        if stat.S_ISDIR(kind):
            return directory_entry(kind)
        if stat.S_ISLNK(kind):
            return link_entry(os.readlink(path))  # noqa: PTH115
        if not stat.S_ISREG(kind):
            return ("special", f"{kind:o}")
    except FileNotFoundError:
        return None
    except OSError:
        return UNREADABLE
    try:
        return _read_entry(path)
    except FileNotFoundError:
        return None
    except OSError:
        same = known is not None and known[:3] == file_entry(kind, status.st_size, "")[:3]
        return known if same and _out_of_reach(path) else UNREADABLE


def _read_entry(path: str) -> Entry:
    """Return the entry of a regular file. It must still be one: a FIFO would block, a link leads elsewhere."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb", buffering=0) as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} was replaced while it was measured")
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        return file_entry(status.st_mode, status.st_size, digest.hexdigest())


def _out_of_reach(path: str) -> bool:
    """Tell whether the caller may neither run (a file) nor enter (a directory) what it cannot read.

    Its owner may make it readable at any time.
    """
    try:
        return not os.access(path, os.X_OK) and os.lstat(path).st_uid != os.geteuid()
    except OSError:
        return False


def differences(expected: Index, found: Index) -> list[Difference]:
    """List how `found` differs from `expected`, sorted by path."""
    result = [
        Difference(_kind(found.entries.get(path)), path)
        for path, entry in expected.entries.items()
        if found.entries.get(path) != entry
    ]
    result += [Difference("added", path) for path in found.entries if path not in expected.entries]
    return sorted(result, key=lambda d: d.path)


def _kind(found: Entry | None) -> str:
    if found is None:
        return "missing"
    return "unreadable" if found == UNREADABLE else "changed"
