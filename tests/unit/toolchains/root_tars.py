"""Root file systems as hand-made tars, protected and extracted again."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sconectl.protect.index import Index, scan
from sconectl.toolchains.image_archive import Layer
from sconectl.toolchains.launcher_bundle import Bundle
from sconectl.toolchains.sim import ProtectedRoot, Protection, protect

KEY = bytes(range(32))
LAUNCHER = "1a" * 32
BUNDLE = Bundle(Layer(Path("/nonexistent"), "00" * 32), LAUNCHER)
PARAMETERS = {"mode": "production", "heap": "1"}


def member(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = "", **more: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.mode, made.linkname = kind, mode, link
    for field, value in more.items():
        setattr(made, field, value)
    return made


def folder(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, tarfile.DIRTYPE, mode), b""


def file(name: str, content: bytes = b"content", mode: int = 0o644, **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, tarfile.REGTYPE, mode, size=len(content), **more), content


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, tarfile.SYMTYPE, 0o777, target), b""


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, tarfile.LNKTYPE, 0o644, target), b""


def tar_of(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    stream.seek(0)
    return stream


def protection(**changes: Any) -> Protection:
    values: dict[str, Any] = {"sealed": (), "outside": (), "injected": (), "parameters": PARAMETERS}
    return Protection(**values | changes)


@dataclass
class Result:
    """A protected root: what `protect` said, and the layer extracted to a folder."""

    protected: ProtectedRoot
    layer: Path
    root: Path

    def index_file(self) -> Index:
        return Index.from_bytes((self.root / "scone/image/index.json").read_bytes())

    def names(self) -> list[str]:
        with tarfile.open(self.layer) as tar:
            return tar.getnames()


def protected(work: Path, *members: tuple[tarfile.TarInfo, bytes], key: bytes = KEY, **changes: Any) -> Result:
    """Protect, and check what must hold always: the index is that of the extracted layer."""
    layer = work / "layer.tar"
    result = protect(tar_of(members), protection(**changes), key, BUNDLE, layer)
    root = work / "extracted"
    extract(layer, root)
    made = Result(result, layer, root)
    assert made.index_file().to_bytes() == result.index.to_bytes()
    assert scan(str(root), result.index).to_bytes() == result.index.to_bytes()
    return made


def extract(layer: Path, root: Path) -> None:
    """Extract a layer the way an engine does, with all modes."""
    root.mkdir()
    with tarfile.open(layer) as tar:
        for info in tar:
            tar.extract(info, root, set_attrs=False, filter="fully_trusted")
            if not info.issym():
                (root / info.name).chmod(info.mode)
