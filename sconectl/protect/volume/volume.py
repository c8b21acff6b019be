"""An opened volume that a program writes to: commits what has changed, and folds the journal into the files.

In: the storage, the key, the history of the storage, the live directory, hints where to look. Out: durable states.
Raises `OSError` for a commit that could not be made durable: then nothing is promised, and the next one tries again.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from sconectl.protect.chunks import CHUNK as BLOCK
from sconectl.protect.volume.changes import Changes, Content, Live, Watch
from sconectl.protect.volume.checkpoint import Folding
from sconectl.protect.volume.digests import Digests
from sconectl.protect.volume.hints import Hints
from sconectl.protect.volume.history import History
from sconectl.protect.volume.index import Checkpoint, Head, sealed
from sconectl.protect.volume.journal import FRAME, STATE, Journal
from sconectl.protect.volume.model import Make, Tree, Zeros, new_root
from sconectl.protect.volume.operations import WRITE_HEAD, encoded, write_head
from sconectl.protect.volume.ranges import MOST_HOLES, ZEROS
from sconectl.protect.volume.storage import NEXT, Storage

FOLD_BYTES = 64 << 20
"""A journal that is shorter is not folded into the files while the program runs."""
_TRIES = 5
_MANY_JOURNALS = 8


@dataclass
class Volume:
    """A volume; `name` and `path` are those of the policy, `root` is the live directory."""

    name: str
    path: str
    root: str
    storage: Storage
    key: bytes = field(repr=False)
    history: History
    watch: Watch
    inodes: Mapping[int, int] = field(default_factory=dict, repr=False)
    """Those of live files, by the numbers of their nodes, as far as they are known; they need not be looked up."""

    def __post_init__(self) -> None:
        """Take the live files, which are those of the history."""
        self._head, self._tree = self.history.head, self.history.tree
        self._digests = Digests()
        self._live = Live(self.root, self._tree, self._digests, self.watch, self.inodes)
        self._unconfirmed = list(self.history.states)
        self._changed = set(self.history.changed)
        self._journal: Journal | None = None
        self._old_bytes = sum(part.end for part in self.history.journals)
        self._old_journals = len(self.history.journals)
        self._next_journal = max([self._head.journal - 1, *self.storage.journals()]) + 1
        self._folding = Folding(self.storage, self.key, self._tree, self._digests, self.history.placed)
        self._fold_later = 0
        """By how much more than usual the journal has to grow, after a checkpoint that could not be made."""
        self._unplaced = self.history.unplaced
        with contextlib.suppress(OSError):  # it can be done at the next checkpoint, too
            self._put_in_place() if self._unplaced else self._folding.clean()

    @property
    def state(self) -> bytes:
        """The newest committed state, 16 bytes."""
        return self._unconfirmed[-1]

    def has_file(self, inode: int) -> bool:
        """Tell whether this is the inode of a file that is committed, and still there, as far as is known."""
        return self._live.has_file(inode)

    def close_files(self) -> None:
        """Close live files that were left open, in case that they are deleted."""
        self._live.close_files()

    def confirm(self, state: bytes) -> None:
        """Note that the CAS has `state` as its tag: a storage that is older will never be accepted again."""
        if state in self._unconfirmed:
            del self._unconfirmed[: self._unconfirmed.index(state)]

    def commit(
        self, hints: Hints, target: int | None = None, *, data_only: bool = False, final: bool = False
    ) -> bytes | None:
        """Make what has changed durable; return the new state, or None if nothing has.

        `target` is the inode of the file whose sync asks, None: of all. Mapped files that are not asked for, and with
        `data_only` times, wait for a later commit. The `final` commit also folds the journal into the files, if that is
        not much. The hints are used up. Raises `OSError`; then they are kept, so that the next commit tries again.
        """
        for tries_left in reversed(range(_TRIES)):
            undo: list[Callable[[], object]] = []
            self._tree.undo = undo
            try:
                changes = self._live.changes(hints, target, data_only=data_only)
                state = self._write(changes, hints, final=final)
            except BaseException as error:
                self._live.close_files()
                while undo:
                    undo.pop()()
                if isinstance(error, FileNotFoundError) and tries_left:  # it was moved or removed at the same time
                    self.watch.drain(hints)  # without its new name it would be taken for removed
                    hints.explained.clear()  # they were not explained for what was seen just now
                    continue
                raise
            finally:
                self._tree.undo = None
            for node in changes.dropped:
                self._digests.forget(node.id)
            self._live.forget([node.id for node in changes.dropped])
            self._live.close_files(but_some=not hints.everything)  # else nobody tells if they are deleted
            hints.clear()
            hints.modified |= changes.later
            hints.names |= changes.names_later
            hints.times |= changes.times_later
            return state
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """Close all files."""
        self._live.close_files()
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self.storage.close()

    def _write(self, changes: Changes, hints: Hints, *, final: bool) -> bytes | None:
        new = sum(content.length for content in changes.contents)
        size = self._journal_bytes() + new
        if changes.is_empty and not (final and size):
            return None
        if self._is_fold_due(size, new, changes, final=final):
            try:
                return self._fold(changes, hints)
            except FileNotFoundError:
                raise
            except OSError:  # it takes more space than the journal does, and is tried again when that is longer
                self._fold_later, self._old_journals = size, 0
        return None if changes.is_empty else self._append(changes, hints)

    def _is_fold_due(self, size: int, new: int, changes: Changes, *, final: bool) -> bool:
        """Tell whether a commit is to be a checkpoint, when the journal would have `size` bytes, `new` ones included.

        Then more has been written to it than twice what a checkpoint writes; or the commit would write as much itself.
        """
        is_long, are_many = size >= FOLD_BYTES + self._fold_later, self._old_journals >= _MANY_JOURNALS
        if not (final or is_long or are_many):
            return False
        cost = self._fold_cost(self._changed | changes.files())
        return are_many or (is_long and size + new >= 2 * cost) or (final and cost <= FOLD_BYTES)

    def _append(self, changes: Changes, hints: Hints) -> bytes:
        """Commit by a part of the journal."""
        if self._journal is None:
            self._journal = self._new_journal()
        journal = self._journal
        try:
            for operation in changes.operations:
                journal.add(encoded(operation))
            for content in changes.contents:
                if content.handle is not None:
                    self._append_content(journal, content, content.handle)
                    continue
                handle = self._live.open(self._tree.nodes[content.id], hints)
                try:
                    self._append_content(journal, content, handle)
                finally:
                    os.close(handle)
            state = journal.commit()
        except BaseException:
            for content in changes.contents:
                self._digests.forget(content.id)
            journal.give_up()
            raise
        for operation in changes.operations:
            if isinstance(operation, Zeros) and operation.length <= MOST_HOLES * BLOCK:
                for block in range(operation.offset // BLOCK, (operation.offset + operation.length) // BLOCK):
                    self._digests.note(operation.id, block, ZEROS)
        self._changed |= changes.files()
        self._unconfirmed.append(state)
        return state

    def _append_content(self, journal: Journal, content: Content, handle: int) -> None:
        for offset, length in content.ranges:
            place, end = offset, offset + length
            while place < end:
                length = min(end, (place // FRAME + 1) * FRAME) - place
                room = journal.place(WRITE_HEAD + length)
                got = os.preadv(handle, [room[WRITE_HEAD:]], place)
                if got < length:
                    journal.cut(length - got if got else WRITE_HEAD + length)
                if not got:
                    break  # it was cut off at the same time
                room[:WRITE_HEAD] = write_head(content.id, place, got)
                self._note(content, place, room[WRITE_HEAD : WRITE_HEAD + got])
                place += got

    def _note(self, content: Content, place: int, data: memoryview) -> None:
        """Note the digests of whole blocks, and that those of others are not known any more."""
        end = place + len(data)
        for block in range(place // BLOCK, -(-end // BLOCK)):
            first, last = block * BLOCK, min((block + 1) * BLOCK, content.size)
            if first >= place and last <= end:
                self._digests.note(content.id, block, data[first - place : last - place])
            else:
                self._digests.forget(content.id, block, block)

    def _new_journal(self) -> Journal:
        number = self._next_journal
        handle = self.storage.open_journal(number, new=True)
        self._next_journal += 1
        try:
            journal = Journal(self.key, handle, number, self.state)
        except BaseException:
            os.close(handle)
            raise
        try:
            self.storage.sync_root()
        except BaseException:
            journal.close()
            raise
        return journal

    def _fold(self, changes: Changes, hints: Hints) -> bytes:
        """Commit by a new index: contents of changed files go to where their names say."""
        self._put_in_place()
        head = Head(os.urandom(STATE), self._next_journal, self._head.contents)
        changed = (self._changed | changes.files()) & self._tree.nodes.keys()
        unplaced = self._folding.run(changed, lambda node: self._live.open(node, hints), head, tuple(self._unconfirmed))
        self._head = head
        self._unconfirmed.append(head.state)
        self._changed.clear()
        self._old_bytes = self._old_journals = self._fold_later = 0
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self._unplaced = unplaced
        with contextlib.suppress(OSError):  # the state is durable: what is left is done at the next checkpoint or start
            self._put_in_place()
        return head.state

    def _put_in_place(self) -> None:
        if self._unplaced is not None:
            self._folding.put_in_place(self._head, self._unplaced)
            self._unplaced = None

    def _journal_bytes(self) -> int:
        return self._old_bytes + (self._journal.size if self._journal is not None else 0)

    def _fold_cost(self, ids: Iterable[int]) -> int:
        """Return how many bytes of contents a checkpoint would write."""
        return sum(self._tree.nodes[id_].size for id_ in ids if id_ in self._tree.nodes)


def initialise(storage: Storage, key: bytes, contents: int, root: os.stat_result) -> History:
    """Make an empty volume on the storage; its directory has the attributes of `root`. Raises `OSError`."""
    tree = Tree()
    tree.apply(Make(new_root(stat.S_IMODE(root.st_mode), root.st_uid, root.st_gid, root.st_mtime_ns)))
    head = Head(os.urandom(STATE), 1, contents)
    for number in storage.journals():
        storage.remove_journal(number)
    storage.replace_index(sealed(key, Checkpoint(head, tree)))
    storage.remove(NEXT)
    return History(head, tree, (head.state,), ())
