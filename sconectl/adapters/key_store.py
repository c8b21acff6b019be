"""The local key store: one key per image name, drawn once, in files that only their owner can read."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from sconectl.errors import BuildFailed, Refused

KEY_BYTES = 32


class KeyStore:
    """Keys of encrypted paths below one directory (0700)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def image_key(self, image_name: str) -> bytes:
        """Return the key of an image (its name without tag), drawing it if there is none.

        Raises `Refused` if the file is readable by others or damaged: its key must not be replaced silently; and
        `BuildFailed` if the directory cannot be used.
        """
        path = self._directory / self._file_name(image_name)
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                self._draw(path)
            return self._read(path)
        except OSError as error:
            message = f"the key store {self._directory} cannot be used: {error.strerror}"
            raise BuildFailed(message, hint="check space and rights, or set XDG_DATA_HOME") from error

    def _draw(self, path: Path) -> None:
        """Write a new key under a temporary name; the key file appears whole, and only if there is none yet."""
        handle, temporary = tempfile.mkstemp(prefix=".new-", dir=self._directory)  # mode 0600
        try:
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_bytes(KEY_BYTES).hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was faster: its key counts
                os.link(temporary, path)
        finally:
            Path(temporary).unlink()

    def _file_name(self, image_name: str) -> str:
        readable = re.sub(r"[^A-Za-z0-9_.-]", "~", image_name)[:80]
        return f"{readable}-{hashlib.sha256(image_name.encode()).hexdigest()[:12]}.key"

    def _read(self, path: Path) -> bytes:
        if path.stat().st_mode & 0o077:
            raise Refused(f"the key file {path} can be read by others", hint=f"chmod 600 {path}")
        try:
            key = bytes.fromhex(path.read_text().strip())
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise Refused(f"the key file {path} is damaged", hint="restore it, or remove it to draw a new key")
        return key
