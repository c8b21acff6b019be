"""Layers in memory: what `merge` makes a `RootTree` of, in few words."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.root_tree import RootTree, merge


def file(path: str, content: bytes = b"", mode: int = 0o644, **other: object) -> Member:
    digest = hashlib.sha256(content).hexdigest()
    return Member(path, "f", mode, size=len(content), digest=digest, **other)  # type: ignore[arg-type]


def directory(path: str, mode: int = 0o755) -> Member:
    return Member(path, "d", mode)


def link(path: str, target: str) -> Member:
    return Member(path, "l", 0o777, target=target)


def hard_link(path: str, target: str) -> Member:
    return Member(path, "h", 0, target=target)


def special(path: str, kind: str) -> Member:
    return Member(path, kind, 0o644)


def tree(*members: Member) -> RootTree:
    """Return the files of an image of one layer; they can be read, and are all empty then."""
    return merge([members], [lambda: Path(os.devnull)])


def readable_tree(folder: Path, contents: dict[str, bytes], *others: Member, modes: dict[str, int]) -> RootTree:
    """Return a tree whose files can be read: their contents lie one behind the other in a file of `folder`."""
    members, data = [], b""
    for path, content in contents.items():
        members.append(file(path, content, modes.get(path, 0o644), offset=len(data)))
        data += content
    layer = folder / "layer"
    layer.write_bytes(data)
    return merge([[*members, *others]], [lambda: layer])
