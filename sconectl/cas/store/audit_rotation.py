"""Closes a segment of the audit log: what lies in the database becomes a file that never changes.

In: the store, its directory, and how many bytes may stay in the database. Out: the new segment, if one was due.
"""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

from sconectl.cas.audit.entries import parse
from sconectl.cas.disk.private_files import private_directory, sync_directory, write_private
from sconectl.cas.store.audit_segments import CLOSED, FOLDER, NAME
from sconectl.cas.store.store import Store

_LEVEL = 6


def rotate(store: Store, directory: Path, most: int) -> Path | None:
    """Move the entries in the database into a segment if they have more than `most` bytes; return the segment.

    Only one process may do so. Raises the errors of a transaction, and `CasError` if the file cannot be written.
    """
    with store.reading() as transaction:
        if transaction.audit_bytes() <= most:
            return None
        taken = list(transaction.audit_lines())
    first, last = parse(taken[0]).sequence, parse(taken[-1]).sequence
    folder = private_directory(directory / FOLDER)
    sync_directory(directory)
    _clear(folder, first)
    path = folder / f"{first:012}-{last:012}.jsonl.gz"
    raw = _compressed(taken)
    write_private(path, raw)
    with store.writing() as transaction:
        transaction.record(CLOSED, file=path.name, first=first, last=last, sha256=hashlib.sha256(raw).hexdigest())
        transaction.forget_audit(last)
    return path


def _compressed(taken: Iterable[str]) -> bytes:
    raw = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=_LEVEL, mtime=0) as stream:
        for line in taken:
            stream.write(line.encode() + b"\n")
    return raw.getvalue()


def _clear(folder: Path, first: int) -> None:
    """Remove the files of a rotation that was killed: unfinished ones, and those whose entries are in the database."""
    for path in folder.iterdir():
        name = NAME.fullmatch(path.name)
        if path.name.startswith(".") or (name is not None and int(name[2]) >= first):
            path.unlink()
