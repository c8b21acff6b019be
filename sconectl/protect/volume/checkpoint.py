"""Makes a checkpoint: writes the contents of changed files, then the index, then puts all in place.

In: the storage, the tree with its changes, the live files. Out: a storage whose index is the new state. Replacing the
index is the one step that counts: before it the old index and its journals are valid, after it the new one is, whose
new contents are in `volume.next` until they are moved. Raises `OSError`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from sconectl.protect.volume.contents import contents_key, new_identity, store
from sconectl.protect.volume.digests import Digests
from sconectl.protect.volume.index import Checkpoint, Head, sealed
from sconectl.protect.volume.model import Node, Stored, Tree
from sconectl.protect.volume.places import Placement, placement
from sconectl.protect.volume.storage import MOVED, NEXT, UNPLACED, Storage, place_of

_SINGLE_SYNCS = 16
"""So many files are synced one by one; more of them with the whole file system."""


def _next_place(stored: Stored) -> bytes:
    return NEXT + b"/" + stored.identity.hex().encode()


@dataclass
class Folding:
    """Makes checkpoints of one volume. `placed` is what the storage has in place since the last one."""

    storage: Storage
    key: bytes = field(repr=False)
    tree: Tree
    digests: Digests
    placed: frozenset[bytes] = frozenset()

    def run(
        self, changed: Iterable[int], open_live: Callable[[Node], int], head: Head, previous: tuple[bytes, ...]
    ) -> Placement:
        """Write the index of the state in `head`; the contents of `changed` files are written anew.

        Everything of the checkpoint before has to be in place. Return what is to be put in place now. If it raises, the
        old state is still valid, and the tree unchanged.
        """
        nodes, changed = dict(self.tree.nodes), sorted(changed)
        try:
            self.storage.make_folder(NEXT)
            self._clear()
            self._write_contents(changed, open_live, head.contents)
            gone = tuple(sorted(self.placed - placement(self.tree).places))
            self.storage.mark(UNPLACED, head.state)
            self.storage.replace_index(sealed(self.key, Checkpoint(head, self.tree, previous, gone)))
        except BaseException:
            self.tree.nodes.update(nodes)
            for id_ in changed:  # what was written does not count, so it must not be compared with
                self.digests.forget(id_)
            with contextlib.suppress(OSError):
                self._clear()
            raise
        return placement(self.tree, gone)

    def put_in_place(self, head: Head, wanted: Placement) -> None:
        """Do what the checkpoint with this head wants. May be done again, also when the tree has changed since."""
        if not self.storage.is_marked(MOVED, head.state):
            self._move_away(wanted)
            self.storage.mark(MOVED, head.state)
        for place in sorted(set(wanted.gone) - wanted.places, reverse=True):
            self.storage.remove(place)
        left = frozenset(self.storage.list_folder(NEXT))
        for place in wanted.folders:
            self.storage.make_folder(place)
        for id_, stored, place in wanted.contents:
            if stored.identity.hex().encode() in left:
                self.storage.move(_next_place(stored), place)
            node = self.tree.nodes.get(id_)
            if stored.place != place and node is not None and node.stored == stored:
                self.tree.nodes[id_] = replace(node, stored=stored._replace(place=place))
        for number in self.storage.journals():
            if number < head.journal:
                self.storage.remove_journal(number)
        self.storage.sync_everything()
        self.storage.unmark(UNPLACED, head.state)  # first: without `MOVED` it would be done again from the beginning
        self.placed = wanted.places
        with contextlib.suppress(OSError):  # what is left has no meaning, and is removed at the next time
            self.clean()
        self.storage.forget_folders()

    def _move_away(self, wanted: Placement) -> None:
        """Move contents that belong to another place out of the way, as others may belong where they are."""
        moved = [(stored.place, _next_place(stored)) for _, stored, place in wanted.contents if stored.place != place]
        for place, away in moved:
            with contextlib.suppress(FileNotFoundError):
                self.storage.move(place, away)
        if moved:
            self.storage.sync_everything()

    def clean(self) -> None:
        """Remove what an interrupted checkpoint has left, if everything that counts is in its place."""
        self._clear()
        self.storage.remove(NEXT)

    def _clear(self) -> None:
        for name in self.storage.list_folder(NEXT):
            self.storage.remove(NEXT + b"/" + name)

    def _write_contents(self, changed: list[int], open_live: Callable[[Node], int], kind: int) -> None:
        written = 0
        for id_ in changed:
            node = self.tree.nodes[id_]
            self.digests.forget(id_)
            if not node.size:
                self.tree.nodes[id_] = replace(node, stored=None)
                continue
            stored = self._write_content(node, open_live, kind, sync=len(changed) <= _SINGLE_SYNCS)
            self.tree.nodes[id_] = replace(node, stored=stored)
            written += 1
        if written and len(changed) > _SINGLE_SYNCS:
            self.storage.sync_everything()

    def _write_content(self, node: Node, open_live: Callable[[Node], int], kind: int, *, sync: bool) -> Stored:
        identity = new_identity()
        source = open_live(node)
        try:
            target = self.storage.create(NEXT + b"/" + identity.hex().encode())
            try:
                holes = store(
                    contents_key(self.key), kind, node.id, identity, source, target, node.size,
                    lambda block, content: self.digests.note(node.id, block, content),
                )  # fmt: skip
                if sync:
                    os.fsync(target)
            finally:
                os.close(target)
        finally:
            os.close(source)
        return Stored(identity, node.size, place_of(self.tree.path(node.id)), holes)
