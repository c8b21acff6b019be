"""Files and directories that only their owner may read.

In: paths and bytes. Out: directories with mode 0700 and files with mode 0600, written atomically.
Raises `CasError` with a remedy where the system does not let us.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from sconectl.errors import CasError, LocalFault
from sconectl.regular_files import first_bytes

MAX_BYTES = 16 << 20  # of a private file

_log = logging.getLogger(__name__)


def private_directory(path: Path) -> Path:
    """Make sure that `path` is a directory of mode 0700 and return it; raises `CasError` if that is impossible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise LocalFault(
            f"cannot use the directory {path}: {error.strerror}", hint="choose another directory, or fix its owner"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise LocalFault(f"cannot write to the directory {path}", hint="choose another directory, or fix its owner")
    return path


def read_private(path: Path) -> bytes | None:
    """Return the content of `path` after taking it away from everyone else, or None if there is no such file.

    That others could read or change it until now is a warning of the log, which every command shows.
    A link without its target (on a disk that is not mounted) raises `CasError`: that is no file that was never made.
    """
    try:
        if warn_if_open(path):
            path.chmod(0o600)
        return first_bytes(path, MAX_BYTES)
    except FileNotFoundError:
        if path.is_symlink():
            raise CasError(f"{path} is a link to a file that is missing", hint="mount or restore that file") from None
        return None
    except OSError as error:
        raise LocalFault(f"cannot read {path}: {error.strerror}", hint="fix the owner of the file") from error


def warn_if_open(path: Path) -> bool:
    """Say whether other users than its owner may do anything with the file `path`, here and in the log."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        _log.warning(
            "warning: %s holds keys and was open to other users (mode %04o):"
            " if somebody may have read or changed it, they are no secret any more",
            path,
            mode,
        )
    return bool(mode & 0o077)


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` atomically and durably by a file of mode 0600 that holds `content`; a link stays one."""
    path = path.resolve()
    _write(path, content, lambda temporary: temporary.replace(path))


def create_private(path: Path, content: bytes) -> None:
    """Do the same for a file that was never there; raises `CasError` if there is one now, which stays as it is."""
    _write(path, content, lambda temporary: path.hardlink_to(temporary))


def _write(path: Path, content: bytes, put: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            put(temporary)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)
    except FileExistsError as error:
        raise CasError(f"{path} appeared at this very moment", hint="repeat the command") from error
    except OSError as error:
        raise LocalFault(f"cannot write {path}: {error.strerror}", hint="fix the owner of the directory") from error


def sync_directory(path: Path) -> None:
    """Make what was created, renamed or removed in the directory `path` last over a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of `directory` against other processes and threads that change its files."""
    try:
        descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LocalFault(
            f"cannot lock {directory}: {error.strerror}", hint="check free space, and the owner of the directory"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
