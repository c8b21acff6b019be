"""A target directory in memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sconectl.errors import BuildFailed


class MemoryWorkspace:
    """Implements `ports.Workspace`. `full` makes it refuse whatever would change something."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.private: set[str] = set()
        self.full = False

    def read(self, path: str) -> bytes | None:
        return self.content.get(path)

    def files(self, folder: str) -> tuple[str, ...]:
        return tuple(sorted(path for path in self.content if path.startswith(f"{folder}/")))

    def write(self, files: Mapping[str, bytes], *, replaces: tuple[str, ...] = (), private: bool = False) -> int:
        exposed = {path for path in files if private and path not in self.private}
        changed = {path for path, content in files.items() if self.content.get(path) != content or path in exposed}
        stale = {path for folder in replaces for path in self.files(folder) if path not in files}
        if not changed and not stale:
            return 0
        if self.full:
            raise BuildFailed("the target directory cannot be written: no space", hint="check space and rights")
        self.content = {path: content for path, content in self.content.items() if path not in stale}
        self.content.update({path: files[path] for path in changed})
        if private:
            self.private |= changed
        else:
            self.private -= changed
        self.private -= stale
        return len(changed) + len(stale)


class FakeKeys:
    """Implements `ports.Keys`: the key of an image follows from its name and the machine."""

    def __init__(self, machine: str = "a") -> None:
        self.machine = machine

    def image_key(self, image_name: str) -> bytes:
        return f"{self.machine}:{image_name}".encode().ljust(32, b".")[:32]

    def signing_key(self) -> bytes:
        return signing_key(self.machine)


@cache
def signing_key(name: str) -> bytes:
    """Return the signing key with this name, drawn once: that takes a second."""
    key = rsa.generate_private_key(3, 3072)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
