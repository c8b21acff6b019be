"""Images as engines give them out: every form, and everything that can be wrong with it."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from fakes.engine import FakeEngine, Image, of_layers

from sconectl.errors import BuildFailed, EngineUnreachable
from sconectl.image.layers import layer_writer
from sconectl.image.layers.known_contents import KnownContents
from sconectl.image.layers.layer_cache import LayerCache
from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.saved_image import NativeImage, open_native
from sconectl.ports import ImageEngine

from .root_tars import file, folder, tar_of

LOWER = tar_of([folder("a"), file("a/f", b"1" * 3000)]).getvalue()
UPPER = tar_of([file("a/f", b"2"), file("empty", b"")]).getvalue()
IMAGE = of_layers([LOWER, UPPER], {"Env": ["A=1"]})
EMPTY = bytes(1024)


def archive(parts: Mapping[str, bytes | str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in parts.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def manifest(config: str, layers: Sequence[str], entries: int = 1) -> bytes:
    return json.dumps([{"Config": config, "RepoTags": ["x:1"], "Layers": list(layers)}] * entries).encode()


def legacy(image: Image = IMAGE, changes: Mapping[str, bytes | str | None] | None = None) -> bytes:
    names = [f"{number}0ab/layer.tar" for number in range(len(image.layers))]
    parts: dict[str, bytes | str | None] = dict(zip(names, image.layers, strict=True))
    parts |= {"00ab/VERSION": b"1.0", "00ab/json": b"{}", "c.json": image.blob, "repositories": b"{}"}
    parts |= {"manifest.json": manifest("c.json", names), **(changes or {})}
    return archive({name: content for name, content in parts.items() if content is not None})


def layout(*, squeeze: bool, image: Image = IMAGE) -> bytes:
    """Return the form of newer engines."""
    blobs = [image.blob, *(gzip.compress(layer) if squeeze else layer for layer in image.layers)]
    names = [f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}" for blob in blobs]
    parts = dict(zip(names, blobs, strict=True))
    parts |= {"index.json": b"{}", "oci-layout": b"{}", "manifest.json": manifest(names[0], names[1:])}
    return archive(parts)


class Engine(FakeEngine):
    """Gives out what the test says."""

    def __init__(self, data: bytes | BinaryIO, image: Image = IMAGE) -> None:
        super().__init__(images={"x:1": image})
        self.data = data

    @contextmanager
    def save(self, reference: str) -> Iterator[BinaryIO]:
        self._called(f"save {reference}")
        yield io.BytesIO(self.data) if isinstance(self.data, bytes) else self.data


def opened(work: Path, data: bytes | BinaryIO, image: Image = IMAGE) -> NativeImage:
    with open_native(cast(ImageEngine, Engine(data, image)), "x:1", image.info, work, work / "cache") as native:
        for layer in native.layers:
            assert hashlib.sha256(layer.file.read_bytes()).hexdigest() == layer.digest
        assert native.tree.read("/a/f") == b"2"
    assert not list(work.glob("native-*"))
    return native


def refused(work: Path, data: bytes | BinaryIO, image: Image = IMAGE) -> str:
    with pytest.raises(BuildFailed) as caught:
        opened(work, data, image)
    assert not list(work.glob("native-*"))
    return f"{caught.value.message}\n{caught.value.hint}"


@pytest.mark.parametrize("data", [legacy(), layout(squeeze=False), layout(squeeze=True)], ids=["legacy", "oci", "gzip"])
def test_every_form_is_read(tmp_path: Path, data: bytes) -> None:
    native = opened(tmp_path, data)
    assert native.info.layers == tuple(f"sha256:{layer.digest}" for layer in native.layers)
    assert sorted(native.tree.members) == ["/", "/a", "/a/f", "/empty"]


def test_a_layer_may_be_a_link_to_another(tmp_path: Path) -> None:
    image = of_layers([EMPTY, LOWER, EMPTY, UPPER], {})
    assert len(opened(tmp_path, legacy(image, {"20ab/layer.tar": "../00ab/layer.tar"}), image).layers) == 4


def test_gzip_in_several_pieces(tmp_path: Path) -> None:
    pieces = gzip.compress(LOWER[:1000]) + gzip.compress(LOWER[1000:])
    opened(tmp_path, legacy(changes={"00ab/layer.tar": pieces}))


def test_an_engine_whose_ids_are_not_those_of_configurations(tmp_path: Path) -> None:
    other = replace(IMAGE, info=replace(IMAGE.info, id="sha256:" + "ab" * 32))
    opened(tmp_path, legacy(), other)
    unknown = replace(IMAGE, info=replace(other.info, layers=()))
    assert "another image than x:1" in refused(tmp_path, legacy(), unknown)
    assert "another image" in refused(tmp_path, legacy(of_layers([UPPER], {})), other)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (legacy(changes={"00ab/layer.tar": UPPER}), "a layer of x:1 is not what the image says\nthe engine's storage"),
        (legacy(changes={"00ab/layer.tar": None}), "incompletely"),
        (legacy(changes={"manifest.json": None}), "incompletely"),
        (legacy(changes={"manifest.json": b"{"}), "incompletely"),
        (legacy(changes={"manifest.json": b"[]"}), "incompletely"),
        (legacy(changes={"manifest.json": b"[" * 100_000}), "incompletely"),
        (legacy(changes={"manifest.json": manifest("c.json", ["00ab/layer.tar"] * 2, entries=2)}), "incompletely"),
        (legacy(changes={"manifest.json": manifest("../../etc/passwd", [])}), "incompletely"),
        (legacy(changes={"c.json": b"[]"}), "incompletely"),
        (legacy(of_layers([LOWER], {})), "another image"),
        (legacy(changes={"00ab/layer.tar": b"\x28\xb5\x2f\xfd" + bytes(60)}), "zstd, which is not understood here"),
        (legacy(changes={"00ab/layer.tar": b"\x1f\x8b" + bytes(60)}), "cannot be read from the engine"),
        (legacy(changes={"00ab/layer.tar": gzip.compress(LOWER)[:-20]}), "cannot be read from the engine"),
        (legacy()[:2000], "cannot be read from the engine"),
        (b"", "cannot be read from the engine"),
        (b"noise" * 1000, "cannot be read from the engine"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    assert reason in refused(tmp_path, data)


@pytest.mark.parametrize("layer", [b"no tar at all" * 100, LOWER[:1500]])
def test_a_layer_that_is_no_tar(tmp_path: Path, layer: bytes) -> None:
    blob = IMAGE.blob.replace(IMAGE.info.layers[0].encode(), f"sha256:{hashlib.sha256(layer).hexdigest()}".encode())
    image = Image(replace(IMAGE.info, id=f"sha256:{hashlib.sha256(blob).hexdigest()}"), {}, blob, (layer, UPPER))
    assert "a layer of the image cannot be read" in refused(tmp_path, legacy(image), image)


def test_a_sparse_file_in_a_layer_is_refused(tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("holes").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    image = of_layers([bytes(header) + bytes(1024)], {})
    assert "/holes is a sparse file in the form of GNU tar" in refused(tmp_path, legacy(image), image)


def test_another_processor_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    image = of_layers([LOWER], {}, architecture="arm64")
    engine = Engine(b"", image)
    with (
        pytest.raises(BuildFailed, match="image for arm64, and only linux/amd64") as caught,
        open_native(cast(ImageEngine, engine), "x:1", image.info, tmp_path, tmp_path),
    ):
        pass
    assert "--platform linux/amd64" in caught.value.hint
    assert engine.count("save") == 0


class Dying(io.RawIOBase):
    """A stream that ends with an exception."""

    def __init__(self, data: bytes, error: Exception) -> None:
        self._data, self._error = io.BytesIO(data), error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._data.read(len(buffer))
        if not data:
            raise self._error
        buffer[: len(data)] = data
        return len(data)


def test_an_engine_that_dies_while_it_gives_out(tmp_path: Path) -> None:
    gone = EngineUnreachable("the engine is gone")
    for length in (0, 700, 2000, len(legacy()) - 1024):
        stream = cast(BinaryIO, io.BufferedReader(Dying(legacy()[:length], gone)))
        with pytest.raises(EngineUnreachable):
            opened(tmp_path, stream)
        assert not list(tmp_path.glob("native-*"))


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_writer: object, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(layer_writer.HoleWriter, "write", full)
    text = refused(tmp_path, legacy())
    assert f"cannot be worked on in {tmp_path}: No space left on device\nset TMPDIR" in text


def test_large_empty_files_take_no_room_and_no_memory(tmp_path: Path) -> None:
    layer = tmp_path / "layer.tar"
    size = 256 << 20
    head = tarfile.TarInfo("large")
    head.size = size
    with layer.open("wb") as output:
        output.write(head.tobuf())
        output.truncate(output.tell() + size + 1024)
    with layer.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    writer = layer_writer.HoleWriter(tmp_path / "copy")
    with layer.open("rb") as content:
        while chunk := content.read(1 << 20):
            writer.write(chunk)
    writer.close()
    with (tmp_path / "copy").open("rb") as content:
        assert hashlib.file_digest(content, "sha256").hexdigest() == digest
    assert (tmp_path / "copy").stat().st_blocks * 512 < 4 << 20


def test_indexes_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(tmp_path, legacy())
    monkeypatch.setattr("sconectl.image.layers.saved_image.index_layer", None)
    assert opened(tmp_path, legacy()).layers == first.layers
    kept = list((tmp_path / "cache/layers").iterdir())
    assert len(kept) == 2 and all(path.stat().st_mode & 0o777 == 0o600 for path in kept)


def test_an_image_whose_layers_are_known_is_fetched_when_content_is_needed(tmp_path: Path) -> None:
    opened(tmp_path, legacy())
    engine = Engine(legacy())

    def read(path: str, size: int = -1, secret: Sequence[str] = ("/b",)) -> bytes:
        """Read in an image that is opened for it alone."""
        given = cast(ImageEngine, engine)
        with open_native(given, "x:1", IMAGE.info, tmp_path, tmp_path / "cache", secret=secret) as native:
            return native.tree.read(path, 0, size) if path else b""

    assert (read(""), engine.count("save")) == (b"", 0)
    assert (read("/a/f"), engine.count("save")) == (b"2", 1)
    assert (read("/a/f"), engine.count("save")) == (b"2", 1)
    assert (read("/empty"), engine.count("save")) == (b"", 2)
    for times in (3, 4):
        assert (read("/a/f", 0, ("/a",)), engine.count("save")) == (b"", times)  # what is secret is not remembered
    engine.data = legacy(changes={"00ab/layer.tar": UPPER})
    assert read("/a/f") == b"2"
    with pytest.raises(BuildFailed, match="not what the image says"):
        read("/a/f", 0)
    assert not list(tmp_path.glob("native-*"))


def test_what_was_read_of_a_file_is_not_kept_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sconectl.image.layers.known_contents._MOST", 3)
    known, member = LayerCache(tmp_path), Member("/f", "f", 0o644, size=9, digest="ab" * 32)
    for _ in range(2):
        contents = KnownContents(["sha256:1"], known, ())
        for size in (2, 2, 1):
            assert contents.part(member, size, size, lambda n=size: bytes(n)) == bytes(size)  # type: ignore[misc]
        contents.keep()
    [file] = tmp_path.iterdir()
    assert json.loads(file.read_bytes().partition(b"\n")[2]) == {
        f"{member.digest}:2:2": "AAA=",
        f"{member.digest}:1:1": "AA==",
    }


@pytest.mark.parametrize("value", [["a"], {"a": 1}, {"a": "=="}, {"a": "é"}, "text", None])
def test_parts_of_files_that_are_none_are_read_again(tmp_path: Path, value: Any) -> None:
    known = LayerCache(tmp_path)
    KnownContents(["sha256:1"], known, ()).part(Member("/f", "f", 0o644, digest="d"), 0, 1, lambda: b"1")
    known.keep(hashlib.sha256(b"contents\nsha256:1").hexdigest(), value)
    assert KnownContents(["sha256:1"], known, ()).part(Member("/f", "f", 0, digest="d"), 0, 1, lambda: b"2") == b"2"


@pytest.mark.parametrize("damage", [b"", b"{}", b"[" * 10_000, b'{"format": "layer-1"}', b"\xff"])
def test_a_damaged_memory_is_none(tmp_path: Path, damage: bytes) -> None:
    opened(tmp_path, legacy())
    for path in (tmp_path / "cache/layers").iterdir():
        path.write_bytes(damage or path.read_bytes()[:-40])
    opened(tmp_path, legacy())


def test_a_memory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    opened(tmp_path, legacy())


def test_the_memory_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sconectl.image.layers.layer_cache._KEPT", 3)
    cache = LayerCache(tmp_path)
    for number in range(6):
        cache.keep(str(number), number)
        assert cache.value("0") == 0 or number > 2
    assert len(list(tmp_path.iterdir())) <= 4


def test_the_memory_keeps_every_kind_of_member(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        image = of_layers([LOWER, UPPER], {})
        native = opened(Path(work), legacy(image), image)
    cache = LayerCache(tmp_path)
    for layer in native.layers:
        strange = [
            replace(m, path=m.path + "\udcff\n", xattrs=(("user.a", "\udcff"),), device=(1, 2)) for m in layer.members
        ]
        cache.keep_members(layer.digest, strange)
        assert cache.members(layer.digest) == tuple(strange)
