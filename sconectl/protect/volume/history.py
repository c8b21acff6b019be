"""What the storage of a volume holds: the newest valid state, found without reading the contents of files.

In: the storage, the key, the tag that the CAS knows, the update policy. Out: the `History`. Raises `SealBroken` for a
storage that is not in a state that the CAS accepts, with what an operator can make of it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace

from sconectl.protect.chunks import SealBroken
from sconectl.protect.volume.index import FILE, Checkpoint, Head, opened
from sconectl.protect.volume.journal import HEADER, Frame, OldJournal
from sconectl.protect.volume.model import FILE as REGULAR
from sconectl.protect.volume.model import Extend, Operation, Resize, Tree, Write, Zeros
from sconectl.protect.volume.operations import decoded
from sconectl.protect.volume.places import Placement, placement
from sconectl.protect.volume.storage import UNPLACED, Storage


@dataclass(frozen=True)
class Part:
    """The part of a journal that counts: up to byte `end`."""

    number: int
    end: int


@dataclass(frozen=True)
class History:
    """The newest state of a volume.

    `states` are all states since the oldest that the index follows, the newest last. `places` says of files where their
    content may be instead of where the index says, if a checkpoint was interrupted; then `unplaced` is what it wanted.
    `placed` is what the storage has of the checkpoint. `changed` are the files that journals write to.
    """

    head: Head
    tree: Tree
    states: tuple[bytes, ...]
    journals: tuple[Part, ...]
    places: dict[int, bytes] = field(default_factory=dict)
    placed: frozenset[bytes] = frozenset()
    changed: frozenset[int] = frozenset()
    unplaced: Placement | None = None

    @property
    def state(self) -> bytes:
        """The newest state."""
        return self.states[-1]


def read_history(storage: Storage, key: bytes, tag: bytes | None, *, any_state: bool = False) -> History | None:
    """Return the newest state of the storage that extends the one with `tag`; None if there is no volume yet.

    With `any_state` every authentic state is accepted. Raises `SealBroken` and `OSError`.
    """
    data = storage.read_index()
    if data is None:
        _refuse_foreign(storage, tag)
        return None
    checkpoint = opened(key, data)
    history = _read(storage, key, checkpoint)
    if tag is None:
        if any_state:
            return history
        if len(history.states) == 1 and len(history.tree.nodes) == 1:
            return None  # it was made, but the CAS never learnt of it
        raise SealBroken("the storage holds a volume with files, but the CAS says that the volume was never written")
    if not any_state and tag not in history.states:
        raise SealBroken(
            f"the volume was rolled back, or is of another time: the CAS knows state {tag.hex()}, the storage holds "
            f"{history.state.hex()}"
        )
    return history


def _refuse_foreign(storage: Storage, tag: bytes | None) -> None:
    if tag is not None:
        raise SealBroken(f"{FILE} is missing: the volume was deleted, or another storage is mounted")
    if not storage.is_empty():
        raise SealBroken(f"the storage is not empty, but holds no volume: there is no {FILE}")


def _read(storage: Storage, key: bytes, checkpoint: Checkpoint) -> History:
    """Apply the operations of all journals that follow the index."""
    tree, head = checkpoint.tree, checkpoint.head
    wanted = placement(tree, checkpoint.gone)
    interrupted = storage.is_marked(UNPLACED, head.state)
    places = {id_: place for id_, stored, place in wanted.contents if place != stored.place}
    if not interrupted:  # so that is where they are
        for id_, place in places.items():
            node = tree.nodes[id_]
            assert node.stored is not None  # noqa: S101 - it has a place
            tree.nodes[id_] = replace(node, stored=node.stored._replace(place=place))
        places = {}
    states, parts, changed = [*checkpoint.previous, head.state], [], set[int]()
    with contextlib.ExitStack() as stack:
        journals = []
        for number in storage.journals():
            if number < head.journal:
                continue  # it is older than the index
            handle = storage.open_journal(number)
            try:
                journal = OldJournal(key, handle)
            except SealBroken:  # it was being made when the launcher ended; or what follows is missing, see the tag
                os.close(handle)
                continue
            stack.callback(journal.close)
            journals.append(journal)
        for position, journal in enumerate(journals):
            if journal.base != states[-1]:
                break
            # A later journal may begin in the midst of this one: then the rest of this one was never whole.
            following = journals[position + 1].base if position + 1 < len(journals) else None
            parts.append(Part(journal.number, _apply(journal, tree, states, changed, following)))
    return History(
        head,
        tree,
        tuple(states),
        tuple(parts),
        places,
        wanted.places,
        frozenset(changed & tree.nodes.keys()),
        wanted if interrupted else None,
    )


def _apply(journal: OldJournal, tree: Tree, states: list[bytes], changed: set[int], following: bytes | None) -> int:
    """Apply the commits of a journal up to state `following`; return where the last one ends."""
    end, pending = HEADER, list[Operation | Extend]()
    if following == states[-1]:
        return end
    for frame in journal.frames():
        pending += _without_data(frame)
        if frame.state is None:
            continue
        try:
            for operation in pending:
                tree.apply(operation)
                if isinstance(operation, Extend | Resize | Zeros):
                    changed.add(operation.id)
        except KeyError as error:
            raise SealBroken("the journal changes a file that is not there") from error
        tree.drop_unnamed()
        pending, end = [], frame.end
        states.append(frame.state)
        if frame.state == following:
            break
    return end


def _without_data(frame: Frame) -> list[Operation | Extend]:
    """Return the operations of a frame, without the data of writes, so that the frame can be forgotten."""
    return [
        Extend(operation.id, operation.offset + len(operation.data)) if isinstance(operation, Write) else operation
        for operation in decoded(frame.plain)
    ]


def required_bytes(history: History) -> int:
    """Return how many bytes of memory the contents of all files need, at least."""
    return sum(-(-node.size // 4096) * 4096 for node in history.tree.nodes.values() if node.kind == REGULAR)
