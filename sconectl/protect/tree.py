"""Lists the files of a directory, as records that an FSPF can hold.

In: a directory and the path that it has in the protected file system. Out: records without digests, and what cannot be
protected there. The digests, computed by several processes, come from `digests`.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from sconectl.protect.fspf import SealedFile
from sconectl.protect.packs import open_regular
from sconectl.protect.workers import PROCESSES, balanced, each_unit

_BLOCK = 1 << 20
_RUN = 1 << 23
_FILES = 250
_EACH = 20_000


@dataclass
class Listing:
    """What is in a directory: sorted records, (path, reason) of what cannot be protected, what was left out."""

    files: list[SealedFile] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def list_tree(directory: str, at: str, *, leave_out: Container[str] = ()) -> Listing:
    """List `directory`, which is `at` in the protected file system, without the paths `leave_out`."""
    found = Listing()
    root = os.path.join(directory, "")  # noqa: PTH118 - a link to a directory is one
    files = found.files
    try:
        files.append(SealedFile(at, "d", stat.S_IMODE(os.stat(root).st_mode)))  # noqa: PTH116
    except OSError as error:
        return Listing(faults=[(at, _reason(error))])
    pending = [(directory, at.rstrip("/"))]
    while pending:
        folder, prefix = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = f"{prefix}/{entry.name}"
                    if path in leave_out:
                        found.left_out.append(path)
                        continue
                    try:
                        file = _record(entry, path)
                    except OSError as error:
                        found.faults.append((path, _reason(error)))
                        continue
                    if file is None:
                        found.faults.append((path, "neither a file nor a directory nor a symbolic link"))
                        continue
                    files.append(file)
                    if file.kind == "d":
                        pending.append((entry.path, path))
        except OSError as error:
            found.faults.append((prefix or "/", _reason(error)))
    files.sort(key=lambda file: file.path)
    found.faults.sort()
    return found


def _record(entry: os.DirEntry[str], path: str) -> SealedFile | None:
    status = entry.stat(follow_symlinks=False)
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return SealedFile(path, "f", mode & 0o7777, "", status.st_size)
    if stat.S_ISDIR(mode):
        return SealedFile(path, "d", mode & 0o7777)
    if stat.S_ISLNK(mode):
        return SealedFile(path, "l", 0o777, os.readlink(entry.path))  # noqa: PTH115
    return None


def _reason(error: OSError) -> str:
    return error.strerror or "cannot be read"


def digests(files: Sequence[tuple[str, int]], *, processes: int = PROCESSES) -> list[str]:
    """Return the SHA-256 of each file (host path, size) in hex; "" for one that cannot be read or has another size."""
    runs = balanced([size + _EACH for _, size in files], most=_RUN, many=_FILES)

    def hash_run(number: int) -> list[str]:
        return [_digest(*files[each]) for each in runs[number]]

    found = each_unit(len(runs), hash_run, processes=processes)
    result = [""] * len(files)
    for run, values in zip(runs, found, strict=True):
        result[run.start : run.stop] = values
    return result


def _digest(file: str, size: int) -> str:
    try:
        handle = open_regular(file)
    except OSError:
        return ""
    found, left = hashlib.sha256(), size
    with os.fdopen(handle, "rb", buffering=0) as source:
        while block := source.read(_BLOCK):
            found.update(block)
            left -= len(block)
    return "" if left else found.hexdigest()
