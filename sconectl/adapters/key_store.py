"""The local key store: one key per image name and one for signatures, drawn once, in files only their owner can read.

In: names. Out: keys. Raises `Refused` for files that are damaged or open to others, and `BuildFailed` for a place that
cannot be used.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sconectl.errors import BuildFailed, Refused
from sconectl.regular_files import first_bytes

KEY_BYTES = 32
_MAX_BYTES = 1 << 16  # of a key file
SIGNING_KEY = "enclave-signing.pem"


class KeyStore:
    """Keys of encrypted paths, and the one that signs enclaves, below one directory (0700).

    Raises `Refused` if a file is readable by others or damaged: a key must not be replaced silently; and `BuildFailed`
    if the directory cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def image_key(self, image_name: str) -> bytes:
        """Return the key of an image (its name without tag), drawing it if there is none."""
        path = self._directory / self._file_name(image_name)
        content = self._content(path, lambda: secrets.token_bytes(KEY_BYTES).hex().encode() + b"\n")
        try:
            key = bytes.fromhex(content.decode().strip())
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise _damaged(path)
        return key

    def signing_key(self) -> bytes:
        """Return the enclave signing key (PEM, RSA-3072 with exponent 3), drawing it if there is none."""
        from sconectl.protect.signature import BadKey, load_key

        path = self._directory / SIGNING_KEY
        content = self._content(path, _new_signing_key)
        try:
            load_key(content)
        except BadKey as error:
            raise _damaged(path) from error
        return content

    def _content(self, path: Path, draw: Callable[[], bytes]) -> bytes:
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                self._keep(path, draw())
            if path.stat().st_mode & 0o077:
                raise Refused(f"the key file {path} can be read by others", hint=f"chmod 600 {path}")
            return first_bytes(path, _MAX_BYTES)
        except OSError as error:
            where = error.filename or path
            message = f"the key store {self._directory} cannot be used: {where}: {error.strerror}"
            raise BuildFailed(message, hint="check space and rights, or set XDG_DATA_HOME") from error

    def _keep(self, path: Path, content: bytes) -> None:
        """Write a new key under a temporary name; the key file appears whole, and only if there is none yet."""
        handle, temporary = tempfile.mkstemp(prefix=".new-", dir=self._directory)  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was faster: its key counts
                os.link(temporary, path)
        finally:
            Path(temporary).unlink()

    def _file_name(self, image_name: str) -> str:
        readable = re.sub(r"[^A-Za-z0-9_.-]", "~", image_name)[:80]
        return f"{readable}-{hashlib.sha256(image_name.encode()).hexdigest()[:12]}.key"


def _new_signing_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from sconectl.protect.signature import BITS, EXPONENT

    key = rsa.generate_private_key(EXPONENT, BITS)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _damaged(path: Path) -> Refused:
    return Refused(f"the key file {path} is damaged", hint="restore it, or remove it to draw a new key")
