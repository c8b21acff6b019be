"""A volume keeps what was committed, and nothing of it can be read on the storage."""

from __future__ import annotations

import errno
import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from protect.volume.worlds import look_everywhere, open_volume, picture
from sconectl.protect.chunks import SealBroken
from sconectl.protect.volume.checkpoint import Folding
from sconectl.protect.volume.hints import Hints
from sconectl.protect.volume.index import AUTHENTICATED, ENCRYPTED
from sconectl.protect.volume.journal import RESERVE, STATE, Journal
from sconectl.protect.volume.storage import Storage

TEXT = b"nobody but the program may read this sentence"


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory, where inodes are not used again."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    """The storage."""
    found = tmp_path / "mount"
    found.mkdir()
    return found


def fill(live: Path) -> None:
    """Make files of every kind."""
    (live / "text").write_bytes(TEXT)
    (live / "empty").touch()
    (live / "folder/inner").mkdir(parents=True)
    (live / "folder/inner/long").write_bytes(os.urandom(300_000))
    (live / "folder/inner/exact").write_bytes(bytes(65536))
    (live / "link").symlink_to("folder/../text")
    os.link(live / "text", live / "folder/second name")
    os.mkfifo(live / "pipe", 0o620)
    (live / "volume.fspf").write_bytes(b"a file of the program")
    (live / "volume.next").mkdir()
    (live / "volume.next/volume.journal.1").write_bytes(b"another one")
    (live / os.fsdecode(b"not \xff utf-8\nat all")).write_bytes(b"x")
    with (live / "sparse").open("wb") as file:
        file.truncate(3 << 20)
        file.seek(1 << 20)
        file.write(b"in the midst")
    (live / "closed").write_bytes(b"mode")
    (live / "closed").chmod(0o000)
    (live / "folder").chmod(0o1731)


@pytest.mark.parametrize("kind", [ENCRYPTED, AUTHENTICATED])
@pytest.mark.parametrize("fold", [False, True])
def test_everything_is_there_again(memory: Path, mount: Path, kind: int, fold: bool) -> None:
    volume = open_volume(mount, memory / "1", None, kind=kind)
    fill(memory / "1")
    seen = picture(memory / "1")
    state = volume.commit(look_everywhere())
    assert state is not None
    state = volume.commit(look_everywhere()) or state  # compares what takes no space for the first time
    assert volume.commit(look_everywhere()) is None
    if fold:
        folded = volume.commit(Hints(), final=True)
        assert folded is not None
        assert not list(mount.glob("volume.journal.*"))
        assert not (mount / "volume.next").exists()
        state = folded
    assert picture(memory / "1") == seen
    volume.close()
    volume = open_volume(mount, memory / "2", state, kind=kind, processes=2)
    assert picture(memory / "2") == seen
    assert (memory / "2/sparse").stat().st_blocks * 512 < 1 << 20
    assert volume.commit(Hints()) is None
    volume.close()


def test_contents_are_not_on_the_storage(memory: Path, mount: Path) -> None:
    volume = open_volume(mount, memory / "1", None)
    fill(memory / "1")
    volume.commit(look_everywhere())
    on_mount = [path.read_bytes() for path in mount.rglob("*") if path.is_file()]
    volume.commit(Hints(), final=True)
    on_mount += [path.read_bytes() for path in mount.rglob("*") if path.is_file()]
    assert all(TEXT not in content and b"inner" not in content for content in on_mount)
    assert (mount / "folder/inner/long").stat().st_size == 300_000 + 5 * 16


def test_authenticated_contents_can_be_read(memory: Path, mount: Path) -> None:
    volume = open_volume(mount, memory / "1", None, kind=AUTHENTICATED)
    fill(memory / "1")
    volume.commit(look_everywhere())
    volume.commit(Hints(), final=True)
    assert (mount / "text").read_bytes()[:-16] == TEXT
    assert b"inner" not in (mount / "volume.fspf").read_bytes()


def stored(memory: Path, mount: Path) -> bytes:
    """Fill a volume and fold everything; return its state."""
    volume = open_volume(mount, memory / "stored", None)
    fill(memory / "stored")
    volume.commit(look_everywhere())
    state = volume.commit(Hints(), final=True)
    volume.close()
    assert state is not None
    return state


def test_every_change_of_a_byte_is_noticed(memory: Path, mount: Path) -> None:
    state = stored(memory, mount)
    files = [path for path in mount.rglob("*") if path.is_file() and path.name != "volume.lock"]
    assert len(files) > 8
    for number, path in enumerate(files):
        content = path.read_bytes()
        for place in {min(place, len(content) - 1) for place in (0, 9, 20, 33, 50, len(content) // 2, len(content))}:
            if path.name == "sparse" and not content[place]:
                continue  # a hole: it is not read
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(SealBroken):
                open_volume(mount, memory / f"{number}-{place}", state).close()
        path.write_bytes(content[:-1])
        with pytest.raises(SealBroken):
            open_volume(mount, memory / f"{number}-cut", state).close()
        path.write_bytes(content)
    open_volume(mount, memory / "again", state).close()


def test_an_old_file_is_refused_by_name(memory: Path, mount: Path) -> None:
    volume = open_volume(mount, memory / "1", None)
    (memory / "1/num").write_bytes(b"1")
    volume.commit(look_everywhere())
    volume.commit(Hints(), final=True)
    old = (mount / "num").read_bytes()
    (memory / "1/num").write_bytes(b"2")
    volume.commit(look_everywhere())
    state = volume.commit(Hints(), final=True)
    volume.close()
    (mount / "num").write_bytes(old)
    with pytest.raises(SealBroken, match=r"Verification of file chunk 0 \(bytes 0 to 0\) of file /V1/num failed"):
        open_volume(mount, memory / "2", state)


def test_a_deleted_file_is_refused_by_name(memory: Path, mount: Path) -> None:
    state = stored(memory, mount)
    (mount / "folder/inner/long").unlink()
    with pytest.raises(SealBroken, match="file /V1/folder/inner/long is missing"):
        open_volume(mount, memory / "2", state)


def test_links_on_the_storage_lead_nowhere(memory: Path, mount: Path) -> None:
    state = stored(memory, mount)
    (mount / "folder").rename(mount.parent / "elsewhere")
    (mount / "folder").symlink_to(mount.parent / "elsewhere")
    with pytest.raises(SealBroken, match="/V1/folder/inner/long cannot be read"):
        open_volume(mount, memory / "2", state)


def test_a_deleted_volume_is_refused(memory: Path, mount: Path) -> None:
    state = stored(memory, mount)
    (mount / "volume.fspf").unlink()
    with pytest.raises(SealBroken, match=r"volume\.fspf is missing: the volume was deleted"):
        open_volume(mount, memory / "2", state)


def test_another_key_opens_nothing(memory: Path, mount: Path) -> None:
    state = stored(memory, mount)
    with pytest.raises(SealBroken, match="belongs to another key"):
        open_volume(mount, memory / "2", state, key=bytes(32))


def test_foreign_files_are_not_taken_for_an_empty_storage(memory: Path, mount: Path) -> None:
    (mount / "lost+found").mkdir()
    open_volume(mount, memory / "1", None).close()
    (mount / "volume.fspf").unlink()
    (mount / "somebody's").touch()
    with pytest.raises(SealBroken, match="not empty"):
        open_volume(mount, memory / "2", None)


def test_a_volume_that_was_written_is_no_new_one(memory: Path, mount: Path) -> None:
    stored(memory, mount)
    with pytest.raises(SealBroken, match="never written"):
        open_volume(mount, memory / "2", None)


def test_only_states_that_extend_the_tag_are_opened(memory: Path, mount: Path) -> None:
    volume = open_volume(mount, memory / "1", None)
    states = [volume.state]
    for number in range(5):
        (memory / "1/num").write_bytes(b"%d" % number)
        states.append(volume.commit(look_everywhere()) or b"")
        if number == 2:
            states.append(volume.commit(Hints(), final=True) or b"")
    volume.close()
    for number, tag in enumerate(states):
        opened = open_volume(mount, memory / f"at-{number}", tag)
        assert opened.state == states[-1]
        opened.close()
    with pytest.raises(SealBroken, match="rolled back"):
        open_volume(mount, memory / "no", bytes(16))
    opened = open_volume(mount, memory / "any", bytes(16), any_state=True)
    opened.confirm(opened.state)
    (memory / "any/num").write_bytes(b"more")
    last = opened.commit(look_everywhere())
    opened.commit(Hints(), final=True)
    opened.close()
    open_volume(mount, memory / "last", last).close()
    for number, tag in enumerate(states[:-1]):
        with pytest.raises(SealBroken, match="rolled back"):
            open_volume(mount, memory / f"older-{number}", tag)


def test_a_second_launcher_is_refused(memory: Path, mount: Path) -> None:
    volume = open_volume(mount, memory / "1", None)
    with pytest.raises(OSError, match="another process has this storage"):
        open_volume(mount, memory / "2", None)
    volume.close()
    open_volume(mount, memory / "3", volume.state).close()


def test_directories_can_be_renamed_and_exchanged(memory: Path, mount: Path) -> None:
    volume = open_volume(mount, memory / "1", None)
    live = memory / "1"
    for name in ("a", "b"):
        (live / name / "deep").mkdir(parents=True)
        (live / name / "deep/file").write_bytes(name.encode() * 1000)
    volume.commit(look_everywhere())
    volume.commit(Hints(), final=True)
    (live / "a").rename(live / "c")
    (live / "b").rename(live / "a")
    (live / "c").rename(live / "b")
    seen = picture(live)
    state = volume.commit(look_everywhere())
    assert state is not None
    (copy := mount.parent / "copy").mkdir()
    os.system(f"cp -a {mount}/. {copy}")
    other = open_volume(copy, memory / "2", state)
    assert picture(memory / "2") == seen
    other.close()
    state = volume.commit(Hints(), final=True)
    volume.close()
    open_volume(mount, memory / "3", state).close()
    assert picture(memory / "3") == seen
    assert (mount / "a/deep/file").is_file()


def test_a_file_may_take_the_place_of_a_directory(memory: Path, mount: Path) -> None:
    volume = open_volume(mount, memory / "1", None)
    live = memory / "1"
    (live / "a").mkdir()
    (live / "a/file").write_bytes(b"one")
    (live / "b").write_bytes(b"two")
    volume.commit(look_everywhere())
    volume.commit(Hints(), final=True)
    (live / "a/file").unlink()
    (live / "a").rmdir()
    (live / "a").write_bytes(b"three")
    (live / "b").unlink()
    (live / "b").mkdir()
    (live / "b/file").write_bytes(b"four")
    seen = picture(live)
    volume.commit(look_everywhere())
    state = volume.commit(Hints(), final=True)
    volume.close()
    open_volume(mount, memory / "2", state).close()
    assert picture(memory / "2") == seen


def test_a_full_storage_promises_nothing_and_goes_on_later(
    memory: Path, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = open_volume(mount, memory / "1", None)
    (memory / "1/a").write_bytes(b"a" * 100_000)
    first = volume.commit(look_everywhere())
    (memory / "1/a").write_bytes(b"b" * 200_000)
    (memory / "1/new").write_bytes(b"new")
    hints, real, left = look_everywhere(), os.pwrite, [10_000]

    def full(handle: int, data: memoryview, offset: int) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        done = real(handle, data[: left[0]], offset)
        left[0] -= done
        return done

    monkeypatch.setattr(os, "pwrite", full)
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            volume.commit(hints)
    assert volume.state == first
    monkeypatch.undo()
    last = volume.commit(hints)
    volume.close()
    open_volume(mount, memory / "2", last).close()
    assert picture(memory / "2") == picture(memory / "1")


@pytest.mark.parametrize("rest", [b"", bytes(RESERVE)], ids=["cut off", "in what was reserved"])
def test_a_torn_last_write_is_no_commit(memory: Path, mount: Path, rest: bytes) -> None:
    volume = open_volume(mount, memory / "1", None)
    (memory / "1/a").write_bytes(b"first")
    first = volume.commit(look_everywhere())
    volume.confirm(first or b"")
    reserved = (mount / "volume.journal.1").read_bytes()
    size = reserved.index(first or b"") + STATE
    assert not any(reserved[size:])
    assert len(reserved) - size >= RESERVE
    (memory / "1/a").write_bytes(b"second")
    second = volume.commit(look_everywhere())
    assert (mount / "volume.journal.1").stat().st_size == len(reserved)
    volume.close()
    whole = (mount / "volume.journal.1").read_bytes()
    assert size < len(whole) < size + 1000
    for cut in range(size, len(whole)):
        (mount / "volume.journal.1").write_bytes(whole[:cut] + rest)
        opened = open_volume(mount, memory / f"cut-{cut}", first)
        assert opened.state == first
        assert (memory / f"cut-{cut}/a").read_bytes() == b"first"
        opened.close()
        with pytest.raises(SealBroken, match="rolled back"):
            open_volume(mount, memory / f"tag-{cut}", second)


def test_nothing_is_reserved_once_there_was_no_space(
    memory: Path, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = open_volume(mount, memory / "1", None)
    write = os.pwrite

    def no_space_for_more(handle: int, data: bytes, offset: int) -> int:
        if len(data) == RESERVE:
            raise OSError(errno.ENOSPC, "no space left on device")
        return write(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", no_space_for_more)
    (memory / "1/a").write_bytes(b"first")
    volume.commit(look_everywhere())
    monkeypatch.undo()
    (memory / "1/a").write_bytes(b"second")
    last = volume.commit(look_everywhere())
    assert (mount / "volume.journal.1").stat().st_size < 1000
    volume.close()
    open_volume(mount, memory / "2", last).close()
    assert picture(memory / "2") == picture(memory / "1")


def test_a_file_that_goes_at_the_same_time_does_not_end_what_is_reserved(
    memory: Path, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = open_volume(mount, memory / "1", None)
    (memory / "1/a").write_bytes(b"first")
    volume.commit(look_everywhere())
    gone = iter([FileNotFoundError()])
    add = Journal.add

    def once(journal: Journal, *parts: bytes) -> None:
        if error := next(gone, None):
            raise error
        add(journal, *parts)

    monkeypatch.setattr(Journal, "add", once)
    (memory / "1/a").write_bytes(b"second")
    assert volume.commit(look_everywhere())
    assert (mount / "volume.journal.1").stat().st_size > RESERVE
    volume.close()


@pytest.mark.parametrize("changed", [(), (0,), (511,), (3, 500), tuple(range(512)), tuple(range(1, 512))], ids=len)
def test_large_files_that_are_written_anew(memory: Path, mount: Path, changed: tuple[int, ...]) -> None:
    block = 1 << 16
    volume = open_volume(mount, memory / "1", None)
    (memory / "1/large").write_bytes(b"".join(os.urandom(16) * (block // 16) for _ in range(512)) + b"end")
    volume.commit(look_everywhere())
    with (memory / "1/large").open("r+b") as file:
        for number in changed:
            file.seek(number * block)
            file.write(b"changed")
    last = volume.commit(look_everywhere())
    assert (last is None) == (not changed)
    state = volume.state
    volume.close()
    open_volume(mount, memory / "2", state).close()
    assert picture(memory / "2") == picture(memory / "1")


def test_more_files_than_can_be_open_at_once(memory: Path, mount: Path) -> None:
    volume = open_volume(mount, memory / "1", None)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = len(list(Path("/proc/self/fd").iterdir())) + 150
    for number in range(400):
        (memory / f"1/{number}").write_bytes(b"%d" % number)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, soft), hard))
    try:
        volume.commit(look_everywhere())
        state = volume.commit(Hints(), final=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    volume.close()
    open_volume(mount, memory / "2", state).close()
    assert picture(memory / "2") == picture(memory / "1")


def full_disk(*_args: object, **_more: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_checkpoint_that_fails_is_a_commit_in_the_journal(
    memory: Path, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = open_volume(mount, memory / "1", None)
    fill(memory / "1")
    with monkeypatch.context() as patched:
        patched.setattr(Storage, "replace_index", full_disk)
        state = volume.commit(look_everywhere(), final=True)
        assert volume.commit(Hints(), final=True) is None
    assert (mount / "volume.journal.1").exists() and not (mount / "text").exists()
    volume.close()
    open_volume(mount, memory / "2", state).close()
    assert picture(memory / "2") == picture(memory / "1")


def test_what_a_failed_checkpoint_wrote_is_not_taken_for_committed(
    memory: Path, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = open_volume(mount, memory / "1", None)
    (memory / "1/a").write_bytes(b"a" * 200_000)
    volume.commit(look_everywhere())
    (memory / "1/a").write_bytes(b"b" * 200_000)
    hints = look_everywhere()
    with monkeypatch.context() as patched:
        patched.setattr(Storage, "replace_index", full_disk)
        patched.setattr(os, "pwrite", full_disk)
        with pytest.raises(OSError, match="No space left"):
            volume.commit(hints, final=True)
    state = volume.commit(hints)
    volume.close()
    open_volume(mount, memory / "2", state).close()
    assert (memory / "2/a").read_bytes() == b"b" * 200_000


def test_an_interrupted_end_of_a_checkpoint_moves_nothing_twice(
    memory: Path, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files change their names; the launcher dies while it removes its notes, in whatever order."""
    volume = open_volume(mount, memory / "1", None)
    for name in ("a", "b"):
        (memory / f"1/{name}").write_bytes(name.encode() * 5000)
    volume.commit(look_everywhere(), final=True)
    (memory / "1/a").rename(memory / "1/c")
    (memory / "1/b").rename(memory / "1/a")
    (memory / "1/c").rename(memory / "1/b")
    monkeypatch.setattr(Folding, "clean", full_disk)
    state = volume.commit(look_everywhere(), final=True)
    monkeypatch.undo()
    assert [path.name for path in (mount / "volume.next").iterdir()] == [f"moved-{volume.state.hex()}"]
    volume.close()
    open_volume(mount, memory / "2", state).close()
    assert picture(memory / "2") == picture(memory / "1")
    assert not (mount / "volume.next").exists()


def test_what_is_known_of_all_files_is_what_a_look_at_each_says(mount: Path, memory: Path) -> None:
    volume = open_volume(mount, memory / "1", None)
    fill(memory / "1")
    state = volume.commit(look_everywhere())
    volume.close()
    volume = open_volume(mount, memory / "2", state, processes=2)
    tree = volume._tree
    found = tree.paths()
    assert found == {id_: tree.path(id_) for id_ in tree.nodes} and len(found) > 10
    assert {path for path, _ in tree.walk()} >= set(found.values()) - {b""}
    inodes = {id_: os.lstat(os.fsencode(memory / "2") + b"/" + path).st_ino for id_, path in found.items()}
    assert volume._live._inodes == inodes
    volume.close()
