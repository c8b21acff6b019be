"""Images as hand-made layers, protected and unpacked again."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sconectl.image.layers.image_archive import ImageLayer
from sconectl.image.layers.layer_index import OPAQUE, WHITEOUT, index_layer, path_of
from sconectl.image.layers.layer_rewrite import BuildTime
from sconectl.image.layers.root_tree import merge
from sconectl.image.layers.saved_image import NativeImage, NativeLayer
from sconectl.ports import ImageInfo
from sconectl.protect.index import Index
from sconectl.protect.live import scan
from sconectl.toolchains.interface import Assembly, Launcher, ProtectedImage, Protection
from sconectl.toolchains.sim.protected_image import protect

KEY = bytes(range(32))
LAUNCHER = "1a" * 32
PARAMETERS = {"mode": "production", "heap": "1"}
EPOCH = 1_600_000_000

Entry = tuple[tarfile.TarInfo, bytes]


def member(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = "", **more: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.mode, made.linkname = kind, mode, link
    for field, value in more.items():
        setattr(made, field, value)
    return made


def folder(name: str, mode: int = 0o755, **more: Any) -> Entry:
    return member(name, tarfile.DIRTYPE, mode, **more), b""


def file(name: str, content: bytes = b"content", mode: int = 0o644, **more: Any) -> Entry:
    return member(name, tarfile.REGTYPE, mode, size=len(content), **more), content


def link(name: str, target: str) -> Entry:
    return member(name, tarfile.SYMTYPE, 0o777, target), b""


def hard(name: str, target: str) -> Entry:
    return member(name, tarfile.LNKTYPE, 0o644, target), b""


def removed(name: str) -> Entry:
    parent, slash, last = name.rpartition("/")
    return file(f"{parent}{slash}{WHITEOUT}{last}", b"", 0)


def opaque(name: str) -> Entry:
    return file(f"{name}/{OPAQUE}", b"", 0)


def tar_of(members: Iterable[Entry]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    stream.seek(0)
    return stream


def native_image(work: Path, layers: Sequence[Iterable[Entry]]) -> NativeImage:
    """Return an image of these layers, as if an engine had given it out."""
    found = []
    for number, members in enumerate(layers):
        file = work / f"native-{number}.tar"
        file.write_bytes(tar_of(members).getvalue())
        found.append(NativeLayer(hashlib.sha256(file.read_bytes()).hexdigest(), partial(Path, file), index_layer(file)))
    info = ImageInfo("sha256:" + "ab" * 32, "amd64", {}, tuple(f"sha256:{layer.digest}" for layer in found))
    return NativeImage(info, found, merge([layer.members for layer in found], [layer.fetched for layer in found]))


def protection(**changes: Any) -> Protection:
    values: dict[str, Any] = {"sealed": (), "outside": (), "injected": (), "parameters": PARAMETERS}
    return Protection(**values | changes)


def launcher(work: Path) -> Launcher:
    file = work / "launcher.tar"
    file.write_bytes(tar_of([folder("scone"), file_of_launcher()]).getvalue())
    return Launcher(ImageLayer(hashlib.sha256(file.read_bytes()).hexdigest(), lambda: file), LAUNCHER)


def file_of_launcher() -> Entry:
    return file("scone/launcher", b"the launcher")


@dataclass
class Result:
    """A protected image: what `protect` said, its layers, and the root that they make."""

    protected: ProtectedImage
    layers: list[Path]
    root: Path

    def index_file(self) -> Index:
        return Index.from_bytes((self.root / "scone/image/index.json").read_bytes())

    def content(self) -> bytes:
        return b"".join(layer.read_bytes() for layer in self.layers)

    def digests(self) -> list[str]:
        return [layer.digest for layer in self.protected.layers]

    def members(self, number: int) -> dict[str, tarfile.TarInfo]:
        with tarfile.open(self.layers[number]) as tar:
            found = {info.name: info for info in tar}
            assert len(found) == len(tar.getnames()), "a name twice"
            return found


def protected_layers(
    work: Path, *layers: Iterable[Entry], base: int = 0, key: bytes = KEY, epoch: int | None = None, **changes: Any
) -> Result:
    """Protect an image of which `base` layers are its base image's; check what must hold always.

    That is: the index is the one of the unpacked layers.
    """
    image = native_image(work, layers)
    assembly = Assembly(
        base=image.info.layers[:base],
        key=key,
        launcher=launcher(work),
        time=BuildTime(EPOCH if epoch is None else epoch, EPOCH),
        work=work,
        cache=work / "cache",
    )
    result = protect(image, protection(**changes), assembly)
    files = [layer.file() for layer in result.layers]
    for layer, made in zip(result.layers, files, strict=True):
        assert hashlib.sha256(made.read_bytes()).hexdigest() == layer.digest
    root = work / "unpacked"
    root.mkdir()
    for made in files:
        unpack(made, root)
    done = Result(result, files, root)
    index = done.index_file()
    assert (index.digest(), index.outside) == (result.root, result.outside)
    assert scan(str(root), index).index.to_bytes() == index.to_bytes()
    return done


def protected(work: Path, *members: Entry, **changes: Any) -> Result:
    """Protect an image of one layer, which a build made."""
    return protected_layers(work, members, **changes)


def unpack(layer: Path, root: Path) -> None:
    """Lay a layer over a folder the way an engine does, with all modes."""
    with tarfile.open(layer) as tar:
        tar.extraction_filter = lambda info, _path: info  # all is trusted; Python 3.11.2 does not know the argument
        entries = list(tar)
        for info in entries:
            parent, _, name = path_of(info.name).rpartition("/")
            if name == OPAQUE:
                for path in Path(f"{root}{parent}").iterdir():
                    _remove(path)
            elif name.startswith(WHITEOUT):
                _remove(Path(f"{root}{parent}/{name.removeprefix(WHITEOUT)}"))
        for info in entries:
            path = Path(f"{root}{path_of(info.name)}")
            if path.name.startswith(WHITEOUT) or info.ischr() or info.isblk():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if not (info.isdir() and path.is_dir() and not path.is_symlink()):
                _remove(path)
            info.name = path_of(info.name)[1:]
            info.linkname = path_of(info.linkname)[1:] if info.islnk() else info.linkname
            if path != root:
                tar.extract(info, root, set_attrs=False)
            if not info.issym():
                path.chmod(info.mode)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
