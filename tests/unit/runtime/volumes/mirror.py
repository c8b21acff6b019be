"""A volume that keeps its files in plain text in another directory, and trusts hints as far as a real one does."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from sconectl.protect.volume.hints import Hints
from sconectl.runtime.volumes.interfaces import Progress
from sconectl.runtime.volumes.watch import Watcher

LARGE = 1 << 16
"""Above it a file is copied where the hints say, if they explain all of its changes."""


class Mirror:
    """Copies what changed from `live` to `kept`; a commit is durable when it returns."""

    def __init__(self, live: Path, kept: Path, watcher: Watcher, name: str = "V1") -> None:
        self.name, self.root, self.state = name, str(live), bytes(16)
        self.live, self.kept, self.watcher = live, kept, watcher
        self.log: list[tuple[Hints, int | None]] = []
        self.before: Callable[[int], None] = lambda _number: None
        self.after: Callable[[int], None] = lambda _number: None
        self.copied = 0
        self.inodes: dict[int, set[Path]] = {}
        self._numbers = itertools.count(1)
        self._scan(live)

    def _scan(self, folder: Path) -> None:
        self.watcher.add(str(folder))
        self.inodes.setdefault(folder.lstat().st_ino, set()).add(folder.relative_to(self.live))
        for path in folder.iterdir():
            self._put(path)

    def _put(self, path: Path) -> None:
        place, status = path.relative_to(self.live), path.lstat()
        known = status.st_ino in self.inodes
        self.inodes.setdefault(status.st_ino, set()).add(place)
        if stat.S_ISDIR(status.st_mode):
            (self.kept / place).mkdir(exist_ok=True)
            self._scan(path)
        elif known and status.st_nlink > 1:
            self.watcher.linked.add(status.st_ino)
            self._copy(path, place, None)
        else:
            self._copy(path, place, None)

    def _copy(self, path: Path, place: Path, ranges: list[tuple[int, int]] | None) -> None:
        if ranges is None or not (self.kept / place).exists():
            shutil.copyfile(path, self.kept.parent / "copy")
            (self.kept.parent / "copy").replace(self.kept / place)
            self.copied += path.stat().st_size
            return
        with path.open("rb") as source, (self.kept / place).open("r+b") as target:
            size, before = os.fstat(source.fileno()).st_size, os.fstat(target.fileno()).st_size
            target.truncate(size)
            for offset, length in [*ranges, (before, max(0, size - before))]:
                data = os.pread(source.fileno(), max(0, min(length, size - offset)), offset)
                self.copied += len(data)
                os.pwrite(target.fileno(), data, offset)

    def has_file(self, inode: int) -> bool:
        return any((self.kept / place).is_file() for place in self.inodes.get(inode, ()))

    def close_files(self) -> None: ...

    def commit(
        self, hints: Hints, target: int | None = None, *, data_only: bool = False, final: bool = False
    ) -> bytes | None:
        number = next(self._numbers)
        self.before(number)
        changed = not hints.is_empty
        self.log.append((Hints(set(hints.names), {i: list(r) for i, r in hints.written.items()}, set(hints.modified),
            set(hints.explained), set(hints.attributes), set(hints.times), set(hints.mapped), hints.everything),
            target))  # fmt: skip
        if hints.everything:
            self.inodes.clear()
            shutil.rmtree(self.kept)
            self.kept.mkdir()
            self._scan(self.live)
        else:
            self._apply(hints)
        hints.clear()
        if not changed:
            return None
        self.state = number.to_bytes(16, "big")
        self.after(number)
        return self.state

    def _apply(self, hints: Hints) -> None:
        for directory, name in sorted(hints.names):
            for folder in list(self.inodes.get(directory, ())):
                self._look_at(folder / os.fsdecode(name))
        for inode in hints.modified | hints.mapped | hints.written.keys():
            for place in self.inodes.get(inode, ()):
                path = self.live / place
                if not path.is_file():
                    continue
                whole = inode in hints.modified | hints.mapped and inode not in hints.explained
                whole = whole or path.stat().st_size <= LARGE
                self._copy(path, place, None if whole else hints.written.get(inode, []))

    def _look_at(self, place: Path) -> None:
        live, kept = self.live / place, self.kept / place
        for places in self.inodes.values():
            places -= {known for known in places if known == place or place in known.parents}
        if kept.is_dir():
            shutil.rmtree(kept)
        else:
            kept.unlink(missing_ok=True)
        if os.path.lexists(live):
            self._put(live)

    def confirm(self, state: bytes) -> None:
        assert state <= self.state

    def close(self) -> None:
        self.watcher.close()

    def full(self) -> None:
        """Fail as a full disk does; for `before`."""
        raise OSError(errno.ENOSPC, "No space left on device")


class Ledger:
    """Tags at a CAS that answers when, and what, a test says; runs in the supervisor."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        self.sent: list[bytes] = []
        self.answer: Callable[[Ledger, bytes], Progress | None] = lambda _ledger, state: Progress(state)
        self.last: Progress = Progress(None)
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)

    def start(self) -> None:
        with self.notes.open("a") as file:
            file.write("start\n")

    def send(self, state: bytes) -> None:
        self.sent.append(state)
        with self.notes.open("a") as file:
            file.write(f"send {int.from_bytes(state, 'big')}\n")
        news = self.answer(self, state)
        if news is not None:
            self.tell(news)

    def tell(self, news: Progress) -> None:
        self.last = news
        os.write(self.writing, b".")

    def fileno(self) -> int:
        return self.reading

    def progress(self) -> Progress:
        os.read(self.reading, 4096)
        return self.last

    def finish(self, seconds: float) -> Progress:
        with self.notes.open("a") as file:
            file.write("finish\n")
        return self.last
