"""Opens a volume: writes its newest state as plain files below a directory in memory, or only checks that it could.

In: the storage, the key, and the history. Out: the files. Raises `SealBroken` with the names of files whose stored
content is not the right one or missing, and `OSError` for what cannot be written. The directory is new, so no name
leads out of it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from sconectl.protect.chunks import CHUNK, SealBroken
from sconectl.protect.collector import no_collection
from sconectl.protect.volume.contents import contents_key, restore, written_parts
from sconectl.protect.volume.history import History
from sconectl.protect.volume.journal import OldJournal
from sconectl.protect.volume.model import DIRECTORY, FILE, LINK, PIPE, ROOT, Node, Resize, Stored, Write, Zeros
from sconectl.protect.volume.operations import decoded
from sconectl.protect.volume.storage import NEXT, Storage
from sconectl.protect.workers import PROCESSES, balanced, each_unit

_MOST, _FILES, _EACH = 16 << 20, 250, 100_000
"""How contents are shared out: bytes and files of one unit, and the work for a file besides its content, as bytes."""
_SHOWN = 20
_BITS = 0o777
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@no_collection()
def materialise(
    storage: Storage, key: bytes, history: History, target: str, *, path: str, processes: int = PROCESSES
) -> dict[int, int]:
    """Write all files to the existing, empty directory `target`. `path` is the volume's in messages.

    Return the inodes of the regular files, by the numbers of their nodes.
    """
    return _Opening(storage, key, history, target, path).run(processes)


def check(storage: Storage, key: bytes, history: History, *, path: str, processes: int = PROCESSES) -> None:
    """Check that every content is the one that the index means; write nothing."""
    _Opening(storage, key, history, None, path).check_contents(processes)


@dataclass
class _Opening:
    storage: Storage
    key: bytes
    history: History
    target: str | None
    path: str

    def __post_init__(self) -> None:
        self._contents = contents_key(self.key)
        self._own = (os.geteuid(), os.getegid())
        self._base = os.fsencode(self.target or "") + b"/"
        self._shown = os.fsencode(self.path.rstrip("/")) + b"/"
        tree = self.history.tree
        self._named = list(tree.walk())
        self._paths = tree.paths()
        self._files = [node for node in tree.nodes.values() if node.kind == FILE]
        self._left = frozenset(self.storage.list_folder(NEXT))

    def run(self, processes: int) -> dict[int, int]:
        """Write directories, contents, other names and attributes, in this order; return the inodes of files."""
        mask = os.umask(0)
        try:
            for name, node in self._named:
                if node.kind == DIRECTORY:
                    os.mkdir(self._base + name, 0o700)  # noqa: PTH102 - many files: no Path for each
            inodes = self.check_contents(processes)
            self._replay()
            for name, node in self._named:
                if node.kind != FILE or node.id in self.history.changed or self._paths[node.id] != name:
                    self._give_name(name, node)
            for _, node in reversed(self._named):
                if node.kind == DIRECTORY:
                    self._give_attributes(node)
            self._give_attributes(self.history.tree.nodes[ROOT])
            return inodes
        finally:
            os.umask(mask)

    def check_contents(self, processes: int) -> dict[int, int]:
        """Open the stored contents of all files, and write them if there is a target; return the inodes there."""
        costs = [(node.stored.size if node.stored else 0) + _EACH for node in self._files]
        runs = balanced(costs, most=_MOST, many=_FILES)
        if sum(costs) < _MOST:
            processes = 1
        found = each_unit(len(runs), lambda number: self._open_run(runs[number]), processes=processes)
        faults = sorted({fault for part, _ in found for fault in part})
        if faults:
            more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
            raise SealBroken("; ".join(faults[:_SHOWN]) + more)
        return dict(pair for _, pairs in found for pair in pairs)

    def _open_run(self, run: range) -> tuple[list[str], list[tuple[int, int]]]:
        self.storage.forget_folders()  # copies of this process share their positions
        faults, inodes = [], []
        for position in run:
            node = self._files[position]
            try:
                inodes.append((node.id, self._open(node)))
            except SealBroken as error:
                faults.append(str(error))
        return faults, inodes if self.target is not None else []

    def _open(self, node: Node) -> int:
        """Open the content of a file, and write it if there is a target; return the inode there, or 0."""
        name = self._paths[node.id]
        handle, is_done = None, node.id not in self.history.changed  # others are written to once more
        if self.target is not None:
            handle = os.open(self._base + name, _CREATE, node.mode & _BITS if is_done else 0o600)
        try:
            if node.stored is not None and node.stored.size:
                self._restore(node, node.stored, os.fsdecode(self._shown + name), handle)
            if handle is None:
                return 0
            if is_done:
                self._set_attributes(handle, node)
            return os.fstat(handle).st_ino
        finally:
            if handle is not None:
                os.close(handle)

    def _restore(self, node: Node, stored: Stored, shown: str, target: int | None) -> None:
        """Find the content of a file in the places where it may be, and write it to `target`."""
        failed: SealBroken | None = None
        for place in self._candidates(node.id, stored):
            try:
                source = self.storage.open(place)
            except FileNotFoundError:
                continue
            except OSError as error:
                failed = failed or SealBroken(f"the stored content of {shown} cannot be read: {error.strerror}")
                continue
            try:
                restore(self._contents, self.history.head.contents, node.id, stored, source, target, shown)
            except SealBroken as error:
                failed = failed or error
                if target is not None:
                    os.ftruncate(target, 0)
                    os.lseek(target, 0, os.SEEK_SET)
            else:
                return
            finally:
                os.close(source)
        raise failed or SealBroken(f"file {shown} is missing: its stored content was deleted")

    def _candidates(self, id_: int, stored: Stored) -> Iterator[bytes]:
        if self._left and (name := stored.identity.hex().encode()) in self._left:
            yield NEXT + b"/" + name
        yield stored.place
        if id_ in self.history.places:
            yield self.history.places[id_]

    def _replay(self) -> None:
        """Write what the journals hold to the files."""
        handles: dict[int, int] = {}
        try:
            for part in self.history.journals:
                journal = OldJournal(self.key, self.storage.open_journal(part.number))
                try:
                    for frame in journal.frames():
                        if frame.end > part.end:
                            break
                        for operation in decoded(frame.plain):
                            if isinstance(operation, Write | Resize | Zeros):
                                self._replay_content(operation, handles)
                finally:
                    journal.close()
        finally:
            for handle in handles.values():
                os.close(handle)

    def _replay_content(self, operation: Write | Resize | Zeros, handles: dict[int, int]) -> None:
        tree = self.history.tree
        if operation.id not in tree.nodes:
            return  # it was removed later
        if operation.id not in handles:
            if len(handles) >= 100:
                os.close(handles.pop(next(iter(handles))))
            handles[operation.id] = os.open(self._base + self._paths[operation.id], os.O_RDWR | os.O_NOFOLLOW)
        handle = handles[operation.id]
        if isinstance(operation, Resize):
            os.ftruncate(handle, operation.size)
            return
        if isinstance(operation, Zeros):
            for start, end in written_parts(handle, operation.offset, operation.offset + operation.length):
                for place in range(start, end, CHUNK):
                    os.pwrite(handle, bytes(min(CHUNK, end - place)), place)
            return
        data, offset = memoryview(operation.data), operation.offset
        while data:
            done = os.pwrite(handle, data, offset)
            data, offset = data[done:], offset + done

    def _give_name(self, name: bytes, node: Node) -> None:
        """Make what has no content, further names of files, and attributes of files that the journal changed."""
        path, first = self._base + name, self._paths[node.id]
        if first != name:
            if node.kind != DIRECTORY:
                if not os.path.lexists(self._base + first):
                    self._make(self._base + first, node)
                os.link(self._base + first, path, follow_symlinks=False)
        elif node.kind == FILE:
            self._give_attributes(node)
        elif node.kind != DIRECTORY and not os.path.lexists(path):
            self._make(path, node)

    def _make(self, path: bytes, node: Node) -> None:
        if node.kind == LINK:
            os.symlink(node.target, path)  # noqa: PTH211
        elif node.kind == PIPE:
            os.mkfifo(path, 0o600)
        self._give_attributes(node)

    def _set_attributes(self, handle: int, node: Node) -> None:
        """Set the attributes of a new file; most have the owner and mode already that it was made with."""
        if (node.uid, node.gid) != self._own:
            with contextlib.suppress(PermissionError):
                os.fchown(handle, node.uid, node.gid)
        if node.mode & ~_BITS:
            os.fchmod(handle, node.mode)
        os.utime(handle, ns=(node.mtime, node.mtime))

    def _give_attributes(self, node: Node) -> None:
        path = self._base + self._paths[node.id]
        with contextlib.suppress(PermissionError):
            os.chown(path, node.uid, node.gid, follow_symlinks=False)
        if node.kind != LINK:
            os.chmod(path, node.mode)  # noqa: PTH101
        os.utime(path, ns=(node.mtime, node.mtime), follow_symlinks=False)
