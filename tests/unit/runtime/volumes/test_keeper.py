"""When a volume is committed without being asked: within a second of a change, and not in the midst of the next one."""

from __future__ import annotations

import errno
from pathlib import Path

from sconectl.protect.volume.hints import Hints
from sconectl.runtime.volumes.interfaces import Mount
from sconectl.runtime.volumes.keeper import Keeper, Sync


class Watch:
    """Sees nothing."""

    def __init__(self) -> None:
        self.linked: set[int] = set()

    def drain(self, hints: Hints) -> None: ...

    def fileno(self) -> int:
        return 0


class Volume:
    """Has something to commit each time, and leaves the files with these inodes for later."""

    name = "v"
    state = b"state"

    def __init__(self, root: Path, *left: int) -> None:
        self.root, self.left = str(root), left

    def commit(
        self, hints: Hints, target: int | None = None, *, data_only: bool = False, final: bool = False
    ) -> bytes | None:
        hints.modified |= {*self.left}
        return b"state"

    def has_file(self, inode: int) -> bool:
        return False

    def close_files(self) -> None: ...

    def confirm(self, state: bytes) -> None: ...

    def close(self) -> None: ...


def keeper(root: Path, *left: int) -> Keeper:
    return Keeper(Mount(Volume(root, *left), Watch(), None, None))


def sync(keeper: Keeper, now: float) -> None:
    answers: list[int] = []
    keeper.ask(Sync(answers.append, 1), 1)
    keeper.commit(now)
    assert answers == [0]


def test_a_sync_that_leaves_nothing_ends_the_wait(tmp_path: Path) -> None:
    one = keeper(tmp_path)
    one.changed(10.0)
    assert one.next() == 11.0
    sync(one, 10.5)
    assert one.next() is None
    one.changed(10.9)
    assert one.next() == 11.9


def test_syncs_of_other_files_do_not_put_off_what_is_left(tmp_path: Path) -> None:
    one = keeper(tmp_path, 5)
    one.changed(10.0)
    for now in (10.3, 10.6, 10.9):
        sync(one, now)
        assert one.next() == 11.0
    one.tick(11.0)
    assert one.next() == 12.0


def test_a_sync_waits_until_its_file_is_found_or_fails(tmp_path: Path) -> None:
    """A file that was just renamed is left for the next commit: nothing of it is durable yet."""
    volume = Volume(tmp_path, 5)
    one = Keeper(Mount(volume, Watch(), None, None))
    answers: dict[str, int] = {}
    one.ask(Sync(lambda error: answers.update(other=error), 1), 4)
    one.ask(Sync(lambda error: answers.update(own=error), 1), 5)
    one.ask(Sync(lambda error: answers.update(all=error), 1), None)
    one.commit(10.0)
    assert answers == {"other": 0} and one.next() == 10.0
    volume.left = ()
    one.hints.clear()
    one.tick(10.0)
    assert answers == {"other": 0, "own": 0, "all": 0} and one.next() is None

    volume.left = (5,)
    one.ask(Sync(lambda error: answers.update(own=error), 1), 5)
    for _ in range(1000):
        one.commit(11.0)
        if answers["own"]:
            break
    assert answers["own"] == errno.EIO
