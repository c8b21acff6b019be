"""A memory for decrypted and injected files, packs and a root, below a folder of the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sconectl.protect import fspf
from sconectl.protect.fspf import SealedFile, data_key, seal_index
from sconectl.protect.index import Index
from sconectl.protect.packs import Plain, write_pack
from sconectl.protect.regions import ENCRYPTED, KERNEL, NOT_PROTECTED, Region
from sconectl.runtime import files
from sconectl.runtime.configuration import Configuration, FileSystemKey
from sconectl.runtime.files import Fill, bring_in, injected_target
from sconectl.runtime.log import LaunchRefused

from .configurations import configuration, index

KEY = bytes(range(32))
TREE = {"/data": 0o750, "/data/deep": 0o500, "/data/deep/f": b"secret\n", "/data/empty": b"", "/data/l": "deep/f"}


class World:
    """A memory, packs and a root below a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.memory = folder / "shm/scone"
        self.packs = folder / "packs"
        for made in (self.root, self.memory.parent, self.packs):
            made.mkdir()
        self.pack = self.packs / "0"

    def seal(self, tree: dict[str, Any], key: bytes = KEY, sealed: tuple[str, ...] = ("/data",)) -> tuple[str, str]:
        """Write pack and index, of records that make no sense, too; return path and tag of the index."""
        rows, plains = [], []
        for number, (path, item) in enumerate(tree.items()):
            if isinstance(item, int):
                rows.append(SealedFile(path, "d", item))
            elif isinstance(item, str):
                rows.append(SealedFile(path, "l", 0o777, target=item))
            else:
                plain = self.packs / f"plain-{number}"
                plain.write_bytes(item)
                plains.append(Plain(path, 0o640, len(item), plain))
        self.pack.unlink(missing_ok=True)
        rows += write_pack(data_key(key), self.pack.name, plains, self.pack)
        for made in plains:
            Path(made.file).unlink()
        regions = [
            Region("/", NOT_PROTECTED, KERNEL, "/"),
            *(Region(p, ENCRYPTED, KERNEL, str(self.packs)) for p in sealed),
        ]
        with pytest.MonkeyPatch.context() as unchecked:
            unchecked.setattr(fspf, "check_records", lambda *_: None)
            data, tag = seal_index(key, regions, rows)
        (self.packs.parent / "fs.fspf").write_bytes(data)
        return str(self.packs.parent / "fs.fspf"), tag

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
    monkeypatch.setattr(files, "require_memory", lambda folder: None)
    return made


def never(path: str, content: bytes) -> bytes:
    pytest.fail(f"{path} was sent to the CAS")


def bring(config: Configuration, measured: Index, fill: Fill = never) -> None:
    bring_in(config, measured, fill)


def refused(*arguments: Any) -> str:
    with pytest.raises(LaunchRefused) as caught:
        bring(*arguments)
    return "\n".join([caught.value.message, *caught.value.causes])
