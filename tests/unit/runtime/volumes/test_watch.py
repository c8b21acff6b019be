"""Whatever changes below a directory is in the hints."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sconectl.protect.volume.hints import Hints
from sconectl.runtime.system_calls import kernel
from sconectl.runtime.volumes import watch
from sconectl.runtime.volumes.watch import Watcher

RENAMEAT2 = {"x86_64": 316, "aarch64": 276}[os.uname().machine]
EXCHANGE, HERE = 2, -100


def exchange(one: Path, other: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(RENAMEAT2, HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE)
    assert result == 0, os.strerror(ctypes.get_errno())


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory on a tmpfs: as volumes are, and no inode's number comes back as that of another file."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def root(memory: Path) -> Path:
    path = memory / "volume"
    path.mkdir()
    return path


@pytest.fixture
def watcher(root: Path) -> Iterator[Watcher]:
    found = Watcher(str(root))
    found.add(str(root))
    yield found
    found.close()


def drained(watcher: Watcher) -> Hints:
    hints = Hints()
    watcher.drain(hints)
    return hints


def inode(path: Path) -> int:
    return path.lstat().st_ino


def test_nothing_changed(watcher: Watcher) -> None:
    assert drained(watcher) == Hints()


def test_new_changed_and_deleted_files(watcher: Watcher, root: Path) -> None:
    (root / "a").write_text("a")
    (root / "b").touch()
    hints = drained(watcher)
    assert hints.names == {(inode(root), b"a"), (inode(root), b"b")}
    assert hints.modified == {inode(root / "a")}
    with (root / "a").open("a") as file:
        file.write("more")
    (root / "b").unlink()
    hints = drained(watcher)
    assert hints == Hints(names={(inode(root), b"b")}, modified={inode(root / "a")})
    assert drained(watcher) == Hints()


def test_modes_of_files_and_directories(watcher: Watcher, root: Path) -> None:
    (root / "a").touch()
    (root / "d").mkdir()
    watcher.add(str(root / "d"))
    drained(watcher)
    (root / "a").chmod(0o600)
    (root / "d").chmod(0o700)
    root.chmod(0o711)
    assert drained(watcher) == Hints(attributes={inode(root / "a"), inode(root / "d"), inode(root)})


@pytest.mark.parametrize("name", [b"new\nline", b"\xff\xfe", "ä ö".encode(), b"n" * 255])
def test_any_name(watcher: Watcher, root: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(root) + b"/" + name))
    path.write_text("x")
    hints = drained(watcher)
    assert hints.names == {(inode(root), name)} and hints.modified == {inode(path)}


def test_a_change_follows_its_file_through_renames(watcher: Watcher, root: Path) -> None:
    (root / "d").mkdir()
    (root / "a").write_text("a")
    watcher.add(str(root / "d"))
    drained(watcher)
    (root / "a").write_text("b")
    (root / "a").rename(root / "b")
    (root / "b").rename(root / "d" / "c")
    (root / "d").rename(root / "e")
    hints = drained(watcher)
    assert hints.modified == {inode(root / "e" / "c")} and not hints.everything
    (root / "e" / "c").write_text("more")
    assert drained(watcher).modified == {inode(root / "e" / "c")}


@pytest.mark.parametrize("changed", ["a", "b"])
def test_a_change_is_found_after_two_names_are_exchanged(watcher: Watcher, root: Path, changed: str) -> None:
    for name in "ab":
        (root / name).write_text(name)
    drained(watcher)
    touched = inode(root / changed)
    (root / changed).write_text("changed")
    exchange(root / "a", root / "b")
    assert touched in drained(watcher).modified


def test_a_file_that_was_elsewhere_may_have_changed_there(watcher: Watcher, root: Path, memory: Path) -> None:
    (root / "a").write_text("a")
    drained(watcher)
    (root / "a").rename(memory / "outside")
    (memory / "outside").write_text("changed")
    (memory / "outside").rename(root / "a")
    assert inode(root / "a") in drained(watcher).modified


def test_a_file_changed_by_a_name_that_is_gone(watcher: Watcher, root: Path) -> None:
    (root / "a").write_text("a")
    drained(watcher)
    (root / "b").hardlink_to(root / "a")
    watcher.linked.add(inode(root / "a"))
    (root / "b").write_text("changed")
    (root / "b").unlink()
    assert inode(root / "a") in drained(watcher).modified


def test_an_overflow_means_everything(watcher: Watcher, root: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    files = [(root / name).open("wb", buffering=0) for name in "ab"]
    for _ in range(limit // 2 + 2):
        for file in files:
            file.write(b"x")
    assert drained(watcher).everything
    assert drained(watcher) == Hints()
    files[0].write(b"x")
    assert drained(watcher) == Hints(modified={inode(root / "a")})
    for file in files:
        file.close()


def refuse(*_arguments: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["inotify", "add_watch"])
def test_without_a_watch_everything_may_have_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], call: str
) -> None:
    monkeypatch.setattr(kernel, call, refuse)
    blind = Watcher(str(root))
    blind.add(str(root))
    assert [drained(blind).everything for _ in range(2)] == [True, True]
    assert blind.fileno() == -1
    shown = capfd.readouterr().err
    assert shown.count("cannot be watched") == 1 and "max_user_watches" in shown


def test_a_directory_that_is_not_there_cannot_be_added(watcher: Watcher, root: Path) -> None:
    with pytest.raises(FileNotFoundError):
        watcher.add(str(root / "ghost"))
    assert not drained(watcher).everything


class Engine:
    """Knows the names, contents and modes of the last commit, as a volume does."""

    def __init__(self, root: Path, watcher: Watcher) -> None:
        self.root, self.watcher = root, watcher
        self.names: dict[tuple[int, bytes], int] = {}
        self.files: dict[int, tuple[bytes, int]] = {}
        self.look()

    def look(self) -> None:
        self.names, self.files = {}, {}
        waiting = [self.root]
        while waiting:
            folder = waiting.pop()
            self.watcher.add(str(folder))
            for path in folder.iterdir():
                status = path.lstat()
                self.names[folder.lstat().st_ino, os.fsencode(path.name)] = status.st_ino
                self.files[status.st_ino] = (b"" if path.is_dir() else path.read_bytes(), status.st_mode)
                if path.is_dir():
                    waiting.append(path)
                elif status.st_nlink > 1:
                    self.watcher.linked.add(status.st_ino)

    def check(self, hints: Hints) -> None:
        """Compare what is there with what was there; whatever differs has to be in the hints."""
        names, files, watched = self.names, self.files, {inode(self.root)} | set(self.names.values())
        self.look()
        if hints.everything:
            return
        for name in names.keys() | self.names.keys():
            if names.get(name) != self.names.get(name) and name[0] in watched:
                assert name in hints.names or not self._is_there(name[0])
        unwatched = {file for (directory, _), file in self.names.items() if directory not in watched}
        for file in files.keys() & self.files.keys() - unwatched:
            if files[file][0] != self.files[file][0]:
                assert file in hints.modified
            if files[file][1] != self.files[file][1]:
                assert file in hints.attributes

    def _is_there(self, directory: int) -> bool:
        return directory in self.files or directory == inode(self.root)


class Chaos:
    """Does anything to the files below a directory, and moves some out and in."""

    def __init__(self, root: Path, outside: Path, watcher: Watcher, seed: int) -> None:
        self.root, self.outside, self.watcher, self.chance = root, outside, watcher, random.Random(seed)

    def all(self, *, directories: bool, outside: bool = False) -> list[Path]:
        found = [p for p in self.root.rglob("*") if p.is_dir() == directories]
        if outside:
            found += [p for p in self.outside.rglob("*") if p.is_dir() == directories]
        return sorted(found)

    def place(self) -> Path:
        folders = [self.root, *self.all(directories=True)]
        folder = self.chance.choice([*folders, *folders, self.outside])
        return folder / self.chance.choice("abcde")

    def step(self) -> None:
        actions: list[Callable[[], object]] = [
            self.write, self.write, self.write, self.rename, self.rename, self.link, self.unlink, self.mode, self.swap,
            self.make, self.move, self.remove,
        ]  # fmt: skip
        try:
            self.chance.choice(actions)()
        except (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError):
            pass  # a name of another kind is in the way
        except OSError as error:
            assert error.errno in (errno.ENOTEMPTY, errno.EINVAL), error

    def file(self) -> Path:
        return self.chance.choice(self.all(directories=False, outside=True) or [self.root / "nothing"])

    def write(self) -> None:
        path = self.chance.choice([self.file(), self.place()])
        if self.is_hidden(path):
            return
        with path.open("ab") as file:
            file.write(self.chance.randbytes(2))

    def is_hidden(self, path: Path) -> bool:
        """Tell whether the file has a name in the volume, too: changes from outside are seen by nobody."""
        return path.is_relative_to(self.outside) and path.exists() and path.stat().st_nlink > 1

    def rename(self) -> None:
        self.file().rename(self.place())

    def link(self) -> None:
        source, target = self.file(), self.place()
        if not (source.is_relative_to(self.root) and target.is_relative_to(self.root)):
            return
        self.watcher.linked.add(inode(source))
        target.hardlink_to(source)

    def unlink(self) -> None:
        self.file().unlink()

    def mode(self) -> None:
        path = self.file()
        if not self.is_hidden(path):
            path.chmod(self.chance.choice([0o600, 0o640, 0o644]))

    def swap(self) -> None:
        one, other = self.file(), self.file()
        if one.exists() and other.exists():
            exchange(one, other)

    def make(self) -> None:
        self.place().mkdir()

    def folder(self) -> Path:
        return self.chance.choice(self.all(directories=True, outside=True) or [self.root / "nothing"])

    def move(self) -> None:
        self.folder().rename(self.place())

    def remove(self) -> None:
        self.folder().rmdir()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_is_in_the_hints(root: Path, memory: Path, watcher: Watcher, seed: int) -> None:
    (memory / "outside").mkdir()
    chaos = Chaos(root, memory / "outside", watcher, seed)
    engine = Engine(root, watcher)
    everything = 0
    for _ in range(60):
        for _ in range(chaos.chance.randrange(1, 12)):
            chaos.step()
        hints = drained(watcher)
        everything += hints.everything
        engine.check(hints)
    assert everything < 20  # or the test would mean little


def test_the_test_would_notice_a_lost_change(
    root: Path, memory: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_GONE", watch._MODIFY)  # changes follow no renames
    with pytest.raises(AssertionError):
        for seed in range(40):
            (memory / str(seed)).mkdir()
            test_whatever_happens_is_in_the_hints(root, memory / str(seed), watcher, seed)
