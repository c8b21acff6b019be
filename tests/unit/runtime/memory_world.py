"""A memory for decrypted and injected files, blobs and a root, below a folder of the test."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest

from sconectl.protect.index import Index
from sconectl.protect.sealed import SealedFile, blob_name, seal_content, seal_index
from sconectl.runtime import files
from sconectl.runtime.configuration import Configuration, FileSystemKey
from sconectl.runtime.files import Fill, bring_in, injected_target
from sconectl.runtime.log import LaunchRefused

from .configurations import configuration, index

KEY = bytes(range(32))
TREE = {"/data": 0o750, "/data/deep": 0o500, "/data/deep/f": b"secret\n", "/data/empty": b"", "/data/l": "deep/f"}


class World:
    """A memory, blobs and a root below a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.memory = folder / "shm/scone"
        self.blobs = folder / "blobs"
        for made in (self.root, self.memory.parent, self.blobs):
            made.mkdir()

    def seal(self, tree: dict[str, Any], key: bytes = KEY) -> tuple[str, str]:
        """Write blobs and index; return path and tag of the index."""
        rows = []
        for path, item in tree.items():
            if isinstance(item, int):
                rows.append(SealedFile(path, "d", item))
            elif isinstance(item, str):
                rows.append(SealedFile(path, "l", 0o777, target=item))
            else:
                digest, blob = hashlib.sha256(item).hexdigest(), blob_name(key, path)
                (self.blobs / blob).write_bytes(b"".join(seal_content(key, path, digest, io.BytesIO(item))))
                rows.append(SealedFile(path, "f", 0o640, size=len(item), digest=digest, blob=blob))
        data, tag = seal_index(key, rows)
        (self.blobs.parent / "fs.fspf").write_bytes(data)
        return str(self.blobs.parent / "fs.fspf"), tag

    def open(self, tree: dict[str, Any], key: bytes = KEY, sealed: tuple[str, ...] = ("/data",)) -> None:
        path, tag = self.seal(tree)
        bring(configuration(fspf=FileSystemKey(path, key, (tag,))), index(sealed=sealed))

    def place_link(self, path: str) -> str:
        link = Path(f"{self.root}{path}")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(injected_target(str(link)))
        return str(link)

    def mode(self, path: str) -> str:
        return f"{Path(path).stat().st_mode & 0o7777:o}"


def make_world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Let the launcher use the places of a new world."""
    made = World(folder)
    monkeypatch.setattr(files, "MEMORY", str(made.memory))
    monkeypatch.setattr(files, "BLOBS", str(made.blobs))
    monkeypatch.setattr(files, "_require_memory", lambda folder: None)
    return made


def never(path: str, content: bytes) -> bytes:
    pytest.fail(f"{path} was sent to the CAS")


def bring(config: Configuration, measured: Index, fill: Fill = never) -> None:
    bring_in(config, measured, fill)


def refused(*arguments: Any) -> str:
    with pytest.raises(LaunchRefused) as caught:
        bring(*arguments)
    return "\n".join([caught.value.message, *caught.value.causes])
