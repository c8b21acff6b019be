"""Live files stay open between commits, and no longer than that is of use."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sconectl.protect.volume.changes import Live
from sconectl.protect.volume.hints import Hints
from sconectl.protect.volume.journal import Journal
from sconectl.protect.volume.model import Node
from sconectl.protect.volume.volume import Volume

from .worlds import look_everywhere, open_volume, picture

LARGE = 8 << 20
"""A file that is larger is not left open."""


@pytest.fixture
def live(tmp_path: Path) -> Path:
    (tmp_path / "storage").mkdir()
    (tmp_path / "live").mkdir()
    return tmp_path / "live"


@pytest.fixture
def volume(live: Path) -> Iterator[Volume]:
    volume = open_volume(live.parent / "storage", live, None)
    yield volume
    with suppress(OSError):
        volume.close()


def open_in(live: Path) -> list[str]:
    """Return the live files that this process has open."""
    found = []
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(handle.readlink())
    return sorted(path.name for path in found if path.is_relative_to(live))


def written(path: Path, text: str) -> Hints:
    """Write to a file, and return what a supervisor knows of that."""
    with path.open("r+") as file:
        file.write(text)
    return Hints(written={path.stat().st_ino: [(0, len(text))]})


@pytest.mark.parametrize("size", [100, LARGE + 1])
def test_the_status_of_a_file_that_has_changed_is_not_asked_for(
    volume: Volume, live: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Its times would become finer, and those of the journal's file with them."""
    (live / "file").write_bytes(bytes(size))
    volume.commit(look_everywhere())
    for number in range(4):
        hints = written(live / "file", f"{number}")
        [inode] = hints.written
        if number % 2:
            hints = Hints(modified={inode})
        with monkeypatch.context() as patch:
            for name in ("stat", "lstat", "fstat"):
                patch.setattr(os, name, lambda *_arguments, **_named: pytest.fail("the status was asked for"))
            assert volume.commit(hints, inode, data_only=True)
    state = volume.state
    volume.close()
    open_volume(live.parent / "storage", live.parent / "again", state).close()
    assert (live.parent / "again" / "file").read_bytes() == b"3" + bytes(size - 1)


def test_how_many_stay_open(volume: Volume, live: Path) -> None:
    for number in range(200):
        (live / f"{number:03}").write_text("0")
    volume.commit(look_everywhere())
    for number in range(200):
        assert volume.commit(written(live / f"{number:03}", "1"))
    assert open_in(live) == [str(number) for number in range(192, 200)]
    hints = Hints()
    for number in range(200):
        hints.written |= written(live / f"{number:03}", "2").written
    assert volume.commit(hints)
    assert len(open_in(live)) == 8
    state = volume.state
    volume.close()
    assert open_in(live) == []
    open_volume(live.parent / "storage", live.parent / "again", state).close()
    assert picture(live.parent / "again").keys() == picture(live).keys()
    assert all((live.parent / "again" / f"{number:03}").read_text() == "2" for number in range(200))


def test_a_large_file_is_closed(volume: Volume, live: Path) -> None:
    """Whoever deletes it has the memory at once."""
    (live / "small").write_text("0")
    with (live / "large").open("w") as file:
        file.truncate(LARGE + 1)
    volume.commit(look_everywhere())
    assert volume.commit(written(live / "large", "1")) and volume.commit(written(live / "small", "1"))
    assert open_in(live) == ["small"]


def test_a_deleted_file_is_closed(volume: Volume, live: Path) -> None:
    for name in ("one", "two"):
        (live / name).write_text("0")
    volume.commit(look_everywhere())
    assert open_in(live) == []  # the watch may be blind
    for name in ("one", "two"):
        assert volume.commit(written(live / name, "1"))
    assert open_in(live) == ["one", "two"]
    (live / "one").unlink()
    volume.commit(Hints(names={(live.stat().st_ino, b"one")}))
    assert open_in(live) == []


def test_nothing_stays_open_when_a_commit_fails(volume: Volume, live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (live / "file").write_text("0")
    volume.commit(look_everywhere())
    hints = written(live / "file", "1")

    def fails(_journal: Journal) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "commit", fails)
        for _ in range(3):
            with pytest.raises(OSError, match="Input/output"):
                volume.commit(hints)
            assert open_in(live) == []
    assert volume.commit(hints)
    assert open_in(live) == ["file"]


def test_a_name_that_becomes_another_file_before_a_checkpoint_opens_it(
    volume: Volume, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old content must not be taken from the new file, of which it would be a part."""
    (live / "file").write_text("old")
    volume.commit(look_everywhere())
    (live / "new").write_text("the new one")
    found = Live.open

    def replaced(self: Live, node: Node, seen: Hints) -> int:
        with suppress(FileNotFoundError):
            (live / "new").rename(live / "file")
        return found(self, node, seen)

    monkeypatch.setattr(Live, "open", replaced)
    assert volume.commit(Hints(), final=True)
    state = volume.state
    volume.close()
    open_volume(live.parent / "storage", live.parent / "again", state).close()
    assert [(path.name, path.read_text()) for path in (live.parent / "again").iterdir()] == [("file", "the new one")]


def test_a_name_that_is_another_file_now(volume: Volume, live: Path) -> None:
    """The old one has no name, so nothing of it is kept, though it is open and has changed."""
    (live / "file").write_text("old")
    volume.commit(look_everywhere())
    hints = written(live / "file", "OLD")
    (live / "new").write_text("new")
    (live / "new").rename(live / "file")
    folder = live.stat().st_ino
    hints.names |= {(folder, b"new"), (folder, b"file")}
    volume.commit(hints)
    assert volume.commit(written(live / "file", "NEW"))
    state = volume.state
    volume.close()
    open_volume(live.parent / "storage", live.parent / "again", state).close()
    assert [(path.name, path.read_text()) for path in (live.parent / "again").iterdir()] == [("file", "NEW")]
