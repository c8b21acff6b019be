"""The docker-archive form: engines read it, and the same layers give the same image."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from sconectl.image.layers.image_archive import ImageLayer, image_archive, image_config
from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.layer_writer import Layer, LayerWriter


def written(path: Path, *members: Member, content: bytes = b"") -> Layer:
    writer = LayerWriter(path)
    for member in members:
        if content and member.kind == "f":
            writer.add_bytes(member, content)
        else:
            writer.add(member)
    writer.close()
    return writer.finish()


def layer(path: Path, name: str, content: bytes) -> ImageLayer:
    made = written(path, Member(name, "f", 0o755, size=len(content)), content=content)
    return ImageLayer(made.digest, lambda: made.file)


def made(tmp_path: Path) -> tuple[bytes, list[ImageLayer]]:
    layers = [layer(tmp_path / "one.tar", "/a", b"1" * 10_000), layer(tmp_path / "two.tar", "/b", b"")]
    config = {"Entrypoint": ["/x"], "Labels": {"ä": "\n"}}
    return image_config(config, layers=[made.digest for made in layers], epoch=1714979289), layers


def contents(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert all(info.isreg() and info.mtime == 0 and info.uid == 0 for info in tar.getmembers())
        return {info.name: (tar.extractfile(info) or io.BytesIO()).read() for info in tar}


def test_the_archive_is_what_engines_expect(tmp_path: Path) -> None:
    config, layers = made(tmp_path)
    data = b"".join(image_archive(config, layers))
    assert len(data) % 512 == 0
    content = contents(data)
    [manifest] = json.loads(content["manifest.json"])
    assert manifest["RepoTags"] is None
    assert content[manifest["Config"]] == config
    assert [content[name] for name in manifest["Layers"]] == [found.file().read_bytes() for found in layers]
    assert set(content) == {"manifest.json", manifest["Config"], *manifest["Layers"]}


def test_layers_that_the_engine_has_are_left_out_and_not_even_made(tmp_path: Path) -> None:
    config, layers = made(tmp_path)

    def never() -> Path:
        raise AssertionError

    known = ImageLayer(layers[0].digest, never)
    content = contents(b"".join(image_archive(config, [known, layers[1]], left_out=1)))
    [manifest] = json.loads(content["manifest.json"])
    assert len(manifest["Layers"]) == 2
    assert manifest["Layers"][0] not in content and manifest["Layers"][1] in content


def test_the_configuration_tells_nothing_but_what_it_was_given(tmp_path: Path) -> None:
    config, layers = made(tmp_path)
    document: dict[str, Any] = json.loads(config)
    assert document == {
        "architecture": "amd64",
        "config": {"Entrypoint": ["/x"], "Labels": {"ä": "\n"}},
        "created": "2024-05-06T07:08:09Z",
        "history": [{"created": "2024-05-06T07:08:09Z", "created_by": "sconectl"}] * 2,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{found.digest}" for found in layers]},
    }


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    (one, first), (two, second) = made(tmp_path), made(tmp_path / "again")
    assert one == two
    assert b"".join(image_archive(one, first)) == b"".join(image_archive(two, second))


def test_every_kind_of_member_is_a_tar_of_root(tmp_path: Path) -> None:
    members = [
        Member("/c", "c", 0o600, device=(1, 3)), Member("/d", "d", 0o1777, 5, 6),
        Member("/d/h", "h", 0o644, target="/f"),
        Member("/f", "f", 0o4755, 2**31, 7, mtime=2**34, xattrs=(("security.capability", "\x01\udcff"),)),
        Member("/l" + "x" * 200, "l", 0o777, target="../ä"), Member("/p", "p", 0o600), Member("/d/gone", "w", 0),
    ]  # fmt: skip
    found = written(tmp_path / "layer.tar", *members)
    assert hashlib.sha256(found.file.read_bytes()).hexdigest() == found.digest
    with tarfile.open(found.file) as tar:
        infos = {info.name: info for info in tar}
    assert list(infos) == ["c", "d", "d/h", "f", "l" + "x" * 200, "p", "d/.wh.gone"]
    assert (infos["f"].uid, infos["f"].gid, infos["f"].mtime, infos["f"].mode) == (2**31, 7, 2**34, 0o4755)
    assert infos["f"].pax_headers["SCHILY.xattr.security.capability"] == "\x01\udcff"
    assert infos["c"].ischr() and (infos["c"].devmajor, infos["c"].devminor) == (1, 3)
    assert infos["d/h"].islnk() and infos["d/h"].linkname == "f"
    assert infos["l" + "x" * 200].linkname == "../ä" and infos["p"].isfifo()
    assert {info.uname + info.gname for info in infos.values()} == {""}


def test_room_for_a_file_that_somebody_else_writes(tmp_path: Path) -> None:
    writer = LayerWriter(tmp_path / "layer.tar")
    writer.add(Member("/before", "d", 0o755))
    start = writer.reserve(Member("/pack", "f", 0o644, size=3000))
    writer.add(Member("/z", "d", 0o755))
    writer.close()
    with (tmp_path / "layer.tar").open("r+b") as output:
        output.seek(start)
        output.write(b"p" * 3000)
    found = writer.finish()
    assert hashlib.sha256(found.file.read_bytes()).hexdigest() == found.digest
    with tarfile.open(found.file) as tar:
        assert tar.getnames() == ["before", "pack", "z"]
        assert (tar.extractfile("pack") or io.BytesIO()).read() == b"p" * 3000


def test_huge_layers_fit(tmp_path: Path) -> None:
    """More than 8 GiB do not fit into the size field of a plain tar header."""
    sparse = tmp_path / "huge.tar"
    with sparse.open("wb") as file:
        file.truncate(9 << 30)
    archive = image_archive(b"{}", [ImageLayer("ab" * 32, lambda: sparse)])
    with tarfile.open(fileobj=io.BytesIO(next(archive)), mode="r|") as tar:
        first = tar.next()
        assert first is not None and first.size == 9 << 30
