"""One writer at a time for the directory of a CAS: the server for its life, a command for one operation.

In: the directory. Out: a held lock, or `CasError` that names who holds it. The lock is on `server.json`, in which a
server describes itself; the system releases it when the holder dies, so a stale process id is never believed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sconectl.errors import CasError, LocalFault

STATE_FILE = "server.json"
_POLL_SECONDS = 0.02
_GRACE_SECONDS = 5.0  # for a command, which holds the lock for a moment, and for a server that was killed just now


@dataclass(frozen=True)
class Running:
    """A server that runs: its process and its address."""

    pid: int
    address: str


@dataclass(frozen=True)
class Writer:
    """The right to write to a directory."""

    descriptor: int

    def describe(self, address: str) -> None:
        """Say that this process serves the directory at `address`; from now on `status` tells others."""
        text = json.dumps({"pid": os.getpid(), "address": address}).encode()
        os.pwrite(self.descriptor, text, 0)


@contextlib.contextmanager
def writer(directory: Path, wait: float = 0.0) -> Iterator[Writer]:
    """Hold the lock of `directory`; wait some seconds, or `wait` if that is more, but never for a server that runs.

    Raises `CasError` if a server runs on it, or if somebody else keeps it longer.
    """
    deadline = time.monotonic() + max(wait, _GRACE_SECONDS)
    while (descriptor := _try_lock(directory)) is None:
        if (running := status(directory)) is not None:
            raise CasError(
                f"the CAS in {directory} is already running at {running.address} (process {running.pid})",
                hint="stop it with `sconectl cas stop`, or choose another directory with --dir",
            )
        if time.monotonic() >= deadline:
            raise CasError(f"another process is using the CAS in {directory}", hint="try again when it is done")
        time.sleep(_POLL_SECONDS)
    try:
        os.ftruncate(descriptor, 0)  # it may still describe a server that died
        yield Writer(descriptor)
    finally:
        os.close(descriptor)


def status(directory: Path) -> Running | None:
    """Return the server that runs on `directory`, or None; raises `CasError` if that cannot be found out."""
    try:
        descriptor = os.open(directory / STATE_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LocalFault(f"cannot look into {directory}: {error.strerror}", hint="fix its owner") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        try:
            state = json.loads(os.read(descriptor, 4096))
            running = Running(int(state["pid"]), str(state["address"]))
        except (ValueError, KeyError, TypeError):
            return None  # a server that is only just starting, or a command
        return None if _is_ending(running.pid) else running
    finally:
        os.close(descriptor)


def _is_ending(pid: int) -> bool:
    """Tell whether a process was killed of which a thread still waits, for a disk perhaps, and holds files open."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return False  # that of another machine or container


def _try_lock(directory: Path) -> int | None:
    """Return a descriptor that holds the lock of the directory that is at this path now, or None."""
    path = directory / STATE_FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LocalFault(f"cannot use {path}: {error.strerror}", hint="fix the owner of the directory") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass  # it is held, or the directory was replaced while we waited
    os.close(descriptor)
    return None
