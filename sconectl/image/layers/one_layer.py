"""Puts all layers of an image into one, which has what a container of the image sees, and nothing that was removed.

In: an image that an engine gave out. Out: the tar of the layer. The same image gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.layer_writer import Layer, LayerWriter
from sconectl.image.layers.root_tree import RootTree
from sconectl.image.layers.saved_image import NativeImage


def one_layer(image: NativeImage, file: Path) -> Layer:
    """Write the layer to `file`, and return it."""
    tree, writer = image.tree, LayerWriter(file)
    try:
        for member in _members(tree):
            if member.kind == "f" and member.size:
                writer.add_copy(member, tree.file(member.path))
            else:
                writer.add(member)
    finally:
        writer.close()
    return writer.finish()


def _members(tree: RootTree) -> Iterator[Member]:
    """Yield every entry, directories before what is in them; further names of a file are hard links to the first."""
    first: dict[tuple[int, str, int], str] = {}
    for path in sorted(tree.members):
        member = tree.members[path]
        if path == "/":
            yield replace(member, path="/./")
        elif member.kind != "f":
            yield member
        else:  # the names of one file have its content at one place of one layer
            known = first.setdefault((tree.layer_of[path], member.target or path, member.offset), path)
            if known == path:
                yield replace(member, target="")
            else:
                yield replace(member, kind="h", target=known, size=0, digest="", offset=0)
