"""What is in one layer of an image: every entry of its tar, with the place and the digest of its content.

In: the uncompressed tar of a layer. Out: its members, in the archive's order. Raises `BuildFailed` for a tar that
cannot be read.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sconectl.errors import BuildFailed
from sconectl.protect.index import Entry, directory_entry, file_entry, link_entry

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."
_CHUNK = 1 << 20
XATTR = "SCHILY.xattr."
_KINDS = {
    tarfile.DIRTYPE: "d",
    tarfile.SYMTYPE: "l",
    tarfile.LNKTYPE: "h",
    tarfile.CHRTYPE: "c",
    tarfile.BLKTYPE: "b",
    tarfile.FIFOTYPE: "p",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a layer. `path` is absolute and normalised; names that are not UTF-8 have surrogate escapes.

    `kind` is f (file), d (directory), l (symbolic link), h (hard link), c or b (device), p (FIFO), w (whiteout: it
    removes `path`) or o (opaque: it hides the lower content of the directory `path`). `target` is the text of a
    symbolic link or the absolute path of the file that a hard link leads to; `digest` the SHA-256 of a file's content,
    `offset` where that begins in the uncompressed tar of its layer.
    """

    path: str
    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    target: str = ""
    digest: str = ""
    offset: int = 0
    xattrs: tuple[tuple[str, str], ...] = ()
    device: tuple[int, int] = (0, 0)


def entry_of(member: Member) -> Entry | None:
    """Return a member as the index of measured files has it; None for what that cannot hold, like a device."""
    if member.kind == "d":
        return directory_entry(member.mode)
    if member.kind == "l":
        return link_entry(member.target)
    return file_entry(member.mode, member.size, member.digest) if member.kind == "f" else None


def path_of(name: str) -> str:
    """Return the absolute, normalised path of a name in a tar; none leads out of the root."""
    return posixpath.normpath("/" + name.lstrip("/"))


def index_layer(file: Path) -> tuple[Member, ...]:
    """Return the members of the layer whose uncompressed tar is `file`. Raises `BuildFailed`."""
    try:
        with file.open("rb") as content, tarfile.open(fileobj=content, mode="r:") as tar:
            return tuple(_members(tar, content.fileno()))
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BuildFailed(f"a layer of the image cannot be read: {error}") from error


def _members(tar: tarfile.TarFile, handle: int) -> Iterator[Member]:
    while (entry := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
        member = _member(entry)
        if member is not None:
            yield replace(member, digest=_digest(handle, member)) if member.kind == "f" else member


def _digest(handle: int, member: Member) -> str:
    digest, position, end = hashlib.sha256(), member.offset, member.offset + member.size
    while position < end:
        chunk = os.pread(handle, min(_CHUNK, end - position), position)
        if not chunk:
            raise EOFError(f"{member.path} is cut off")
        digest.update(chunk)
        position += len(chunk)
    return digest.hexdigest()


def _member(entry: tarfile.TarInfo) -> Member | None:
    """Return the member for an entry of the tar, or None for an entry that engines ignore."""
    path = path_of(entry.name)
    parent, name = posixpath.split(path)
    if name == OPAQUE:
        return Member(parent, "o", 0)
    if name.startswith(_AUFS):
        return None
    if name.startswith(WHITEOUT):
        return Member(posixpath.join(parent, name.removeprefix(WHITEOUT)), "w", 0)
    if entry.sparse is not None:
        raise BuildFailed(
            f"{path} is a sparse file in the form of GNU tar, which is not understood here",
            hint="make the image without `tar --sparse`",
        )
    kind = _KINDS.get(entry.type, "f")
    target = entry.linkname if kind == "l" else path_of(entry.linkname) if kind == "h" else ""
    xattrs = {key.removeprefix(XATTR): value for key, value in entry.pax_headers.items() if key.startswith(XATTR)}
    return Member(
        path,
        kind,
        entry.mode & 0o7777,
        entry.uid,
        entry.gid,
        entry.size if kind == "f" else 0,
        int(entry.mtime),
        target,
        offset=entry.offset_data if kind == "f" else 0,
        xattrs=tuple(sorted(xattrs.items())),
        device=(entry.devmajor, entry.devminor) if kind in "cb" else (0, 0),
    )
