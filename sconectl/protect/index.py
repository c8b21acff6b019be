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
"""What stands in a scanned index for a file that could not be measured."""

_CHUNK = 1 << 18


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
    """One way in which a live file system is not the measured one; `kind` is added, changed, missing or unreadable."""

    kind: str
    path: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}"


@no_collection()
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
    buffer = memoryview(bytearray(_CHUNK))
    while pending:
        parent = pending.pop()
        directory = base + (parent or "/")
        if parent and _out_of_reach(directory):
            closed.add(parent)
            continue
        try:
            with os.scandir(directory) as listing:
                names = list(listing)
        except FileNotFoundError:
            continue  # gone since it was listed: its content is missing
        except OSError:
            entries[parent or "/"] = UNREADABLE
            continue
        for name in names:
            path = f"{parent}/{name.name}"
            if path in outside:
                continue
            entry = _live_entry(name, expected.entries.get(path), buffer)
            if entry is not None:
                entries[path] = entry
                if entry[0] == "d":
                    pending.append(path)
    if closed:
        behind = ((path, entry) for path, entry in expected.entries.items() if path not in entries)
        entries.update((path, entry) for path, entry in behind if is_below(path, frozenset(closed)))
    return Index(expected.outside, expected.sealed, entries)


def _live_entry(name: os.DirEntry[str], known: Entry | None, buffer: memoryview) -> Entry | None:
    """Return the entry of a live file, or None if it is gone; `known` stands in for it where that is safe."""
    path = name.path
    try:
        if name.is_symlink():
            return link_entry(os.readlink(path))  # noqa: PTH115
        if not name.is_file(follow_symlinks=False):
            kind = os.lstat(path).st_mode
            return directory_entry(kind) if stat.S_ISDIR(kind) else ("special", f"{kind:o}")
    except FileNotFoundError:
        return None
    except OSError:
        return UNREADABLE
    try:
        return _read_entry(path, buffer)
    except FileNotFoundError:
        return None
    except OSError:
        return known if known is not None and _is_like(path, known) and _out_of_reach(path) else UNREADABLE


def _is_like(path: str, known: Entry) -> bool:
    """Tell whether a file that cannot be read has the mode and size of a known one."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and known[:3] == file_entry(status.st_mode, status.st_size, "")[:3]


def _read_entry(path: str, buffer: memoryview) -> Entry:
    """Return the entry of a regular file. It must still be one: a FIFO would block, a link leads elsewhere."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} was replaced while it was measured")
        digest, size = hashlib.sha256(), len(buffer)
        while size == len(buffer):  # less: the end
            size = os.readv(handle, [buffer])
            digest.update(buffer[:size])
        return file_entry(status.st_mode, status.st_size, digest.hexdigest())
    finally:
        os.close(handle)


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
