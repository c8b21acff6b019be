"""Where the storage has, and should have, what belongs to a checkpoint.

In: the tree of a checkpoint. Out: the places of its directories and of the contents of its files, but for empty ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sconectl.protect.volume.model import DIRECTORY, Stored, Tree
from sconectl.protect.volume.storage import place_of


@dataclass(frozen=True)
class Placement:
    """What a checkpoint wants: directories, contents, and that what is `gone` is removed.

    Of a content, the number of the file, where it is stored, and where it belongs.
    """

    folders: tuple[bytes, ...]
    contents: tuple[tuple[int, Stored, bytes], ...]
    gone: tuple[bytes, ...] = ()

    @property
    def places(self) -> frozenset[bytes]:
        """All places that are in use when this is done."""
        return frozenset((*self.folders, *(place for _, _, place in self.contents)))


def placement(tree: Tree, gone: Iterable[bytes] = ()) -> Placement:
    """Return what the tree of a checkpoint wants."""
    folders, contents = [], []
    paths = tree.paths()
    for node in tree.nodes.values():
        path = paths[node.id]
        if path and node.kind == DIRECTORY:
            folders.append(place_of(path))
        elif node.stored is not None:
            contents.append((node.id, node.stored, place_of(path)))
    return Placement(tuple(sorted(folders)), tuple(contents), tuple(gone))
