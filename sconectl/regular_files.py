"""Reads files that a user names or that lie where a command looks: never longer than there is something to read.

In: a path and how many bytes are wanted at most. Out: bytes, or `OSError` that says what the path is. A FIFO or socket
would make a command wait for ever for somebody to write into it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

_STREAM = re.compile(r"/(?:dev/(?:fd/[0-9]+|stdin)|proc/(?:self|[0-9]+)/fd/[0-9]+)\Z")
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a directory",
}


def first_bytes(path: Path, size: int, *, streams: bool = False) -> bytes:
    """Return at most `size` bytes from the beginning of a file.

    With `streams`, /dev/fd/N and /dev/stdin are read whatever they are: that is how shells hand over the output of a
    command. Character devices are read, too. Raises `OSError`.
    """
    stream = streams and _STREAM.match(str(path)) is not None
    if not stream:
        _check(path.stat(), path)  # before it is opened: some devices take it for a request
    # A FIFO that somebody puts there in this moment is opened without waiting, and refused below.
    waiting = 0 if stream else os.O_NONBLOCK
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | waiting), "rb") as file:
        if not stream:
            _check(os.fstat(file.fileno()), path)
        return file.read(size)


def _check(status: os.stat_result, path: Path) -> None:
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind:
        number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        raise OSError(number, f"this is {kind}, not a file", str(path))
