"""Model programs: operations on files that are chosen by numbers, and a launcher that dies at a chosen system call."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from protect.volume.worlds import open_volume, picture
from sconectl.protect.volume import volume as volume_module
from sconectl.protect.volume.hints import Hints
from sconectl.runtime.volumes.watch import Watcher

CALLS = (
    "close", "fdatasync", "fsync", "ftruncate", "mkdir", "open", "pread", "pwrite", "rename", "rmdir", "unlink",
    "write",
)  # fmt: skip
NAMES = ("a", "b", "c", "volume.fspf", "d")


def operate(live: Path, draw: random.Random) -> None:
    """Do one thing that programs do to files; what is not possible now is not done."""

    def any_path() -> Path:
        folders = [live, *(path for path in live.rglob("*") if path.is_dir() and not path.is_symlink())]
        return draw.choice(sorted(folders)) / draw.choice(NAMES)

    def append() -> None:
        with path.open("ab") as file:
            file.write(draw.randbytes(draw.choice((1, 5000))))

    def overwrite() -> None:
        with path.open("r+b") as file:
            file.seek(draw.randrange(1 + path.stat().st_size))
            file.write(draw.randbytes(draw.choice((1, 3000, 100_000))))

    path, other = any_path(), any_path()
    on_contents: list[Callable[[], object]] = [
        lambda: path.write_bytes(draw.randbytes(draw.choice((0, 10, 4096, 70_000, 200_000)))), append, overwrite,
    ]  # fmt: skip
    on_names: list[Callable[[], object]] = [
        lambda: os.truncate(path, draw.choice((0, 7, 65_536, 300_000))), path.unlink, path.mkdir, path.rmdir,
        lambda: path.rename(other), lambda: path.rename(other), lambda: os.link(path, other),
        lambda: path.symlink_to(draw.choice(NAMES)), lambda: path.chmod(draw.choice((0o600, 0o644, 0o755))),
        lambda: os.mkfifo(path),
    ]  # fmt: skip
    with contextlib.suppress(OSError):
        draw.choice(on_names if path.is_fifo() else on_contents + on_names)()


class Dying:
    """Counts the system calls of the launcher; the process ends without a trace at the one with number `at`."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.on = False
        for name in CALLS:
            setattr(os, name, self._counted(getattr(os, name), name))

    def _counted(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            if self.on:
                self.left -= 1
                if self.left <= 0:
                    if name in ("write", "pwrite") and self.left == 0:
                        flags = fcntl.fcntl(args[0], fcntl.F_GETFL)
                        fcntl.fcntl(args[0], fcntl.F_SETFL, flags & ~os.O_DIRECT)  # which is for whole blocks only
                        real(args[0], memoryview(args[1])[: len(args[1]) // 2], *args[2:])  # torn
                    os._exit(9)
            return real(*args, **more)

        return counted


def run(
    mount: Path, live: Path, tag: bytes | None, seed: int, at: int, report: int, fold_bytes: int, *, watched: bool
) -> None:
    """Be a program and its launcher: operate, commit, and tell about it in `report`, until call `at`. Never returns.

    Each line of the report is JSON: a commit is begun with this picture, or acknowledged with this state.
    """

    def tell(**what: str) -> None:
        real_write(report, json.dumps(what).encode() + b"\n")

    real_write = os.write
    status = 1
    try:
        volume_module.FOLD_BYTES = fold_bytes
        draw = random.Random(seed)
        dying = Dying(at)
        dying.on = True
        live.mkdir()
        watch = Watcher(str(live)) if watched else None
        volume = open_volume(mount, live, tag, watch=watch)
        dying.on = False
        hints = Hints()
        tell(acknowledged=volume.state.hex(), picture=repr(picture(live)))
        volume.confirm(volume.state)
        for _ in range(draw.randrange(20)):
            for _ in range(draw.randrange(6)):
                operate(live, draw)
            tell(begun=repr(picture(live)))
            dying.on = True
            if watch is None:
                hints.everything = True
            else:
                watch.drain(hints)
            state = volume.commit(hints)
            dying.on = False
            tell(acknowledged=(state or volume.state).hex())
            if draw.randrange(2):
                tell(confirmed=volume.state.hex())
                volume.confirm(volume.state)
            if not draw.randrange(4):
                dying.on = True
                volume.commit(hints, final=True)
                dying.on = False
                tell(acknowledged=volume.state.hex())
        dying.on = True
        volume.commit(hints, final=bool(draw.randrange(2)))
        volume.close()
        dying.on = False
        tell(acknowledged=volume.state.hex())
        status = 0
    finally:
        os._exit(status)


def lives(
    mount: Path, memory: Path, seeds: list[tuple[int, int, int, bool]]
) -> Iterator[tuple[int, list[str], str, bytes]]:
    """Run one program after another on the same storage.

    Yield after each one the exit status, the pictures of all commits that were begun since the last acknowledged one
    (that one first), the picture that is opened, and the tag that the CAS has.
    """
    tag: bytes | None = None
    allowed = [repr({})]
    for number, (seed, at, fold_bytes, watched) in enumerate(seeds):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            run(mount, memory / f"program-{number}", tag, seed, at, writing, fold_bytes, watched=watched)
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            lines = [json.loads(line) for line in file.read().splitlines()]
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for line in lines:
            if "begun" in line:
                allowed.append(line["begun"])
            elif "picture" in line:
                assert line["picture"] in allowed
                allowed = [line["picture"]]
                tag = bytes.fromhex(line["acknowledged"])
            elif "acknowledged" in line:
                allowed = allowed[-1:]
            else:
                tag = bytes.fromhex(line["confirmed"])
        if tag is None:
            continue
        volume = open_volume(mount, memory / f"look-{number}", tag)
        found = repr(picture(memory / f"look-{number}"))
        volume.close()
        yield status, allowed, found, tag
        assert found in allowed
        allowed = [found]
