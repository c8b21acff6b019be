"""Lists the files of a directory, as they are to be protected.

In: a directory and the path that it has in the protected file system. Out: what is there, and what cannot be protected.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Container
from dataclasses import dataclass, field
from itertools import chain

from sconectl.protect.collector import no_collection
from sconectl.protect.fspf import SealedFile
from sconectl.protect.packs import Plain, open_regular
from sconectl.protect.workers import PROCESSES, balanced, each_unit

_BLOCK = 1 << 20
_RUN = 1 << 23
_FILES = 250
_EACH = 20_000


@dataclass
class Listing:
    """The content of a directory: files, and records of directories and links, all sorted by path.

    `faults` are (path, reason) of entries that cannot be protected; `left_out` are paths that the caller leaves out.
    """

    files: list[Plain] = field(default_factory=list)
    others: list[SealedFile] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@no_collection()
def list_tree(directory: str, at: str, *, leave_out: Container[str] = ()) -> Listing:
    """List `directory`, which is `at` in the protected file system, without the paths `leave_out`."""
    found = Listing()
    try:
        mode = stat.S_IMODE(os.stat(os.path.join(directory, "")).st_mode)  # noqa: PTH116, PTH118
    except OSError as error:
        return Listing(faults=[(at, _reason(error))])
    found.others.append(SealedFile(at, "d", mode))
    pending = [(directory, at.rstrip("/"))]
    while pending:
        folder, prefix = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = f"{prefix}/{entry.name}"
                    if path in leave_out:
                        found.left_out.append(path)
                    elif _add(entry, path, found):
                        pending.append((entry.path, path))
        except OSError as error:
            found.faults.append((prefix or "/", _reason(error)))
    found.files.sort(key=_path)
    found.others.sort(key=_path)
    found.faults.sort()
    return found


def _path(file: Plain | SealedFile) -> str:
    return file.path


def _add(entry: os.DirEntry[str], path: str, found: Listing) -> bool:
    """Add one entry of a directory; tell whether it is a directory itself."""
    try:
        status = entry.stat(follow_symlinks=False)
        mode = status.st_mode
        if stat.S_ISREG(mode):
            found.files.append(Plain(path, mode & 0o7777, status.st_size, entry.path))
        elif stat.S_ISDIR(mode):
            found.others.append(SealedFile(path, "d", mode & 0o7777))
            return True
        elif stat.S_ISLNK(mode):
            found.others.append(SealedFile(path, "l", 0o777, os.readlink(entry.path)))  # noqa: PTH115
        else:
            found.faults.append((path, "neither a file nor a directory nor a symbolic link"))
    except OSError as error:
        found.faults.append((path, _reason(error)))
    return False


def _reason(error: OSError) -> str:
    return error.strerror or "cannot be read"


def with_digests(listing: Listing, *, processes: int = PROCESSES) -> list[SealedFile]:
    """Return records of everything listed, each file with the SHA-256 of its content; "" if that cannot be read."""
    files = listing.files
    runs = balanced([file.size + _EACH for file in files], most=_RUN, many=_FILES)

    def hash_run(number: int) -> list[str]:
        return [_digest(files[each]) for each in runs[number]]

    found = each_unit(len(runs), hash_run, processes=processes)
    digest_of = dict(zip(chain(*runs), chain(*found), strict=True))
    records = [SealedFile(f.path, "f", f.mode, "", f.size, digest_of[number]) for number, f in enumerate(files)]
    return sorted([*listing.others, *records], key=_path)


def _digest(file: Plain) -> str:
    try:
        handle, _ = open_regular(file.file)
    except OSError:
        return ""
    found, left = hashlib.sha256(), file.size
    with os.fdopen(handle, "rb", buffering=0) as source:
        while block := source.read(_BLOCK):
            found.update(block)
            left -= len(block)
    return "" if left else found.hexdigest()
