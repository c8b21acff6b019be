"""Reads the files that go into an image without following any link: what was looked at is what is read.

In: absolute paths that were free of links when somebody looked. Out: open files. Raises `BuildFailed` for whatever has
become something else since then.
"""

from __future__ import annotations

import os
import stat
from itertools import takewhile
from types import TracebackType

from sconectl.errors import BuildFailed

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO that was put there must not stop us

Stamp = tuple[int, int, int, int]
"""Size, times of change of content and status in nanoseconds, and inode: equal as long as nobody touched the file."""


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp of a file."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def changed(path: str) -> BuildFailed:
    """Return the error for a file that changed while it was read."""
    return BuildFailed(f"{show_name(path)} changed while it was read", hint="apply again when nobody changes it")


def show_name(path: str) -> str:
    """Return a file name as one line of text, whatever bytes it has."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


class SourceFiles:
    """Opens files by path; the directories that lead to the last one stay open, so that neighbours are cheap."""

    def __init__(self) -> None:
        self._folder = ""
        self._names: list[str] = []
        self._descriptors: list[int] = []

    def __enter__(self) -> SourceFiles:
        self._descriptors.append(os.open("/", DIRECTORY))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def open(self, path: str, stamp: Stamp | None) -> int:
        """Return a descriptor of a regular file with this stamp (None: any). Raises `BuildFailed` for other files."""
        descriptor = self.open_unseen(path)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or (stamp and stamp_of(status) != stamp):
            os.close(descriptor)
            raise changed(path)
        return descriptor

    def open_unseen(self, path: str) -> int:
        """As `open`, without a check of its kind: anything but a regular file cannot be read, or is empty."""
        folder, _, name = path.rpartition("/")
        try:
            if folder != self._folder:
                self._enter(folder)
            return os.open(name, _FILE, dir_fd=self._descriptors[-1])
        except PermissionError as error:
            raise BuildFailed(f"{show_name(path)} may not be read", hint="check its permissions") from error
        except OSError as error:
            raise changed(path) from error

    def _enter(self, folder: str) -> None:
        names = folder.strip("/").split("/") if folder else []
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(names, self._names, strict=False)))
        self._folder = ""  # until all is done
        del self._names[same:]
        while len(self._descriptors) > same + 1:
            os.close(self._descriptors.pop())
        for name in names[same:]:
            self._descriptors.append(os.open(name, DIRECTORY, dir_fd=self._descriptors[-1]))
            self._names.append(name)
        self._folder = folder
