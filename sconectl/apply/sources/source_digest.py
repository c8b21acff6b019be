"""The digest of all copied files, with a memory: what nobody has touched since is not read again.

In: the copied files and a directory for the memory. Out: SHA-256 in hex. Raises `BuildFailed` for files that change
meanwhile. The memory holds BLAKE3 values by path and stamp, mode 0600; it may be deleted at any time, and if it makes
no sense, the files are read again.

As in git, a file that was touched so shortly before it was read that a later change may have the same times is not
remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import marshal
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blake3 import blake3

from sconectl.apply.sources.sources import CopiedTree, Entry
from sconectl.apply.sources.two_processes import in_two
from sconectl.errors import BuildFailed
from sconectl.image.build.native_build import CopiedFile
from sconectl.image.build.source_files import SourceFiles, Stamp, changed, show_name, stamp_of

_FORMAT = f"2 {sys.version_info[:2]}"
_INTO = (bytearray(1 << 17),)  # small enough to stay in the processor's cache
_VIEW = memoryview(_INTO[0])
_COARSEST = 2_000_000_000  # nanoseconds: the step in which the coarsest file systems tell the time
_WORTH_A_COPY = 4 << 20  # bytes
_COST = 20_000  # of opening a file, in bytes that could be read meanwhile

Known = dict[str, tuple[Stamp, bytes]]
"""Stamp and BLAKE3 of files by path."""


def copied_digest(files: Sequence[CopiedFile], folder: Path) -> str:
    """Return a digest of places, modes, links and contents of all files; `folder` is where the memory is."""
    memory = folder / _name(files)
    fingerprint = _fingerprint(files)
    digest, known = _recall(memory, fingerprint)
    if digest:
        return digest
    started = time.time_ns()
    entries = _entries(files)
    known = _contents({source: stamp for _, _, source, stamp in entries.values() if stamp}, known)
    about = [
        (path, mode, link, known[source][1] if source else b"") for path, (mode, link, source, _) in entries.items()
    ]
    digest = hashlib.sha256(marshal.dumps(about, 2)).hexdigest()
    lasting = {path: entry for path, entry in known.items() if max(entry[0][1:3]) + _COARSEST < started}
    _remember(memory, digest, fingerprint if len(lasting) == len(known) else "", lasting)
    return digest


def _entries(files: Sequence[CopiedFile]) -> Mapping[str, Entry]:
    if isinstance(files, CopiedTree):
        return files.entries
    stamps = {file.path: file.stamp or stamp_of(file.source.lstat()) for file in files if file.source}
    return {
        file.path: (file.mode, file.link, str(file.source or ""), stamps.get(file.path))
        for file in sorted(files, key=lambda file: file.path)
    }


def _name(files: Sequence[CopiedFile]) -> str:
    """Return the name of the memory: of its own for each directory and set of entries."""
    if isinstance(files, CopiedTree):
        about = [(listing.source, listing.place) for listing in files.listings]
    else:
        about = [(str(file.source or ""), file.path) for file in files]
    return hashlib.sha256(json.dumps([_FORMAT, about]).encode()).hexdigest()[:32]


def _fingerprint(files: Sequence[CopiedFile]) -> str:
    """Return a digest of all that can be known of the files without reading them."""
    about: list[Any]
    if isinstance(files, CopiedTree):
        about = [(each.source, each.place, each.rows, sorted(each.links.items())) for each in files.listings]
    else:
        about = list(_entries(files).items())
    return hashlib.sha256(marshal.dumps(about, 2)).hexdigest()


def _recall(memory: Path, fingerprint: str) -> tuple[str, Known]:
    """Return the digest if no file was touched, else the known digests of single files."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError), memory.open("rb") as file:
        head = json.loads(file.readline(400))
        if head["fingerprint"] == fingerprint:
            return str(head["digest"]), {}
        table = file.read()
        if hashlib.sha256(table).hexdigest() == head["table"]:
            known: Known = marshal.loads(table)  # noqa: S302 - ours, as its digest says
            return "", known
    return "", {}


def _remember(memory: Path, digest: str, fingerprint: str, known: Known) -> None:
    """Replace the memory at once; that it cannot be written costs time, and nothing else."""
    table = marshal.dumps(known, 2)
    head = {"digest": digest, "fingerprint": fingerprint, "table": hashlib.sha256(table).hexdigest()}
    with contextlib.suppress(OSError):
        memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=memory.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(head).encode() + b"\n" + table)
            Path(name).replace(memory)
        except OSError:
            Path(name).unlink()
            raise


def _contents(files: Mapping[str, Stamp], known: Known) -> Known:
    """Return stamp and BLAKE3 of each file, taking what is known already."""
    found = {path: known[path] for path, stamp in files.items() if path in known and known[path][0] == stamp}
    unknown = [(path, stamp) for path, stamp in files.items() if path not in found]
    halves = _halves(unknown)
    if sum(stamp[0] for _, stamp in unknown) < _WORTH_A_COPY:
        results = [_hash(half) for half in halves]
    else:
        results = list(in_two(_hash, *halves))
    for half, (problem, hint, digests) in zip(halves, results, strict=True):
        if problem:
            raise BuildFailed(problem, hint=hint)
        for number, (path, stamp) in enumerate(half):
            found[path] = (stamp, digests[32 * number : 32 * number + 32])
    return found


def _halves(files: Sequence[tuple[str, Stamp]]) -> tuple[list[tuple[str, Stamp]], list[tuple[str, Stamp]]]:
    """Share files out so that there is about as much to do for both."""
    first: list[tuple[str, Stamp]] = []
    second: list[tuple[str, Stamp]] = []
    ahead = 0
    for file in files:
        cost = _COST + file[1][0]
        if ahead <= 0:
            first.append(file)
            ahead += cost
        else:
            second.append(file)
            ahead -= cost
    return first, second


def _hash(files: Sequence[tuple[str, Stamp]]) -> tuple[str, str, bytes]:
    """Return message and hint of an error (empty: none), and the BLAKE3 values of all files in their order.

    Whether a file has changed since it was looked at does not matter here: its stamp has, too, so that the digest for
    the old stamp is never asked for again.
    """
    digests = bytearray()
    path = ""
    try:
        with SourceFiles() as opened:
            for path, stamp in files:
                digests += _content(opened.open_unseen(path), stamp[0])
    except EOFError:
        return changed(path).message, changed(path).hint, b""
    except BuildFailed as error:
        return error.message, error.hint, b""
    except OSError as error:
        return f"{show_name(path)} cannot be read: {error.strerror}", "", b""
    return "", "", bytes(digests)


def _content(descriptor: int, size: int) -> bytes:
    """Return the BLAKE3 of a file and close it. Raises `EOFError` if it is shorter than it was."""
    try:
        count = os.readv(descriptor, _INTO)
        if count == size:
            return blake3(_VIEW[:count]).digest()
        digest = blake3(_VIEW[:count])
        while count and (size := size - count) > 0:
            count = os.readv(descriptor, _INTO)
            digest.update(_VIEW[: min(count, size)])
        if size > 0:
            raise EOFError
        return digest.digest()
    finally:
        os.close(descriptor)
