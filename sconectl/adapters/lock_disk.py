"""sconectl.lock on disk: read, and changed by one process at a time.

In: the file's path. Out: its bytes. Raises `BuildFailed` for a file that cannot be read or written.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from sconectl.errors import BuildFailed
from sconectl.regular_files import first_bytes

MAX_BYTES = 64 << 20
_REMEDY = "check space and rights"


class DiskLock:
    """Implements `ports.LockFile`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """What messages call the file."""
        return str(self._path)

    def read(self) -> bytes | None:
        """Return the content, or None if there is no file."""
        try:
            return first_bytes(self._path, MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BuildFailed(f"{self._path} cannot be read: {error.strerror}", hint=_REMEDY) from error

    def update(self, change: Callable[[bytes | None], bytes]) -> bool:
        """Replace the content by what `change` makes of it; nobody else changes it meanwhile. Say if it differs."""
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(directory, fcntl.LOCK_EX)  # the file itself is replaced
                before = self.read()
                after = change(before)
                if after != before:
                    self._replace(after)
                return after != before
            finally:
                os.close(directory)
        except OSError as error:
            raise BuildFailed(f"{self._path} cannot be written: {error.strerror}", hint=_REMEDY) from error

    def _replace(self, content: bytes) -> None:
        handle, temporary = tempfile.mkstemp(prefix=".sconectl-lock-", dir=self._path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(handle, 0o644)
                os.fsync(handle)
            Path(temporary).replace(self._path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
