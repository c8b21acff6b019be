"""The docker-archive form: engines read it, and the same layers give the same image."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sconectl.toolchains.image_archive import Layer, LayerWriter, image_archive, image_config, image_id


def layer(path: Path, **files: bytes) -> Layer:
    with LayerWriter(path) as writer:
        for name, content in files.items():
            writer.add_bytes(name, content, mode=0o755)
        return writer.finish()


def made(tmp_path: Path) -> tuple[bytes, bytes, list[Layer]]:
    layers = [layer(tmp_path / "one.tar", a=b"1" * 10_000), layer(tmp_path / "two.tar", b=b"")]
    config = image_config({"Entrypoint": ["/x"], "Labels": {"ä": "\n"}}, architecture="arm64", layers=layers)
    return b"".join(image_archive("name/of:1", config, layers)), config, layers


def test_the_archive_is_what_engines_expect(tmp_path: Path) -> None:
    data, config, layers = made(tmp_path)
    assert len(data) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        content = {info.name: (tar.extractfile(info) or io.BytesIO()).read() for info in tar}
        assert all(info.isreg() and info.mtime == 0 and info.uid == 0 for info in tar.getmembers())
    [manifest] = json.loads(content["manifest.json"])
    assert manifest["RepoTags"] == ["name/of:1"]
    assert content[manifest["Config"]] == config
    assert [content[name] for name in manifest["Layers"]] == [found.file.read_bytes() for found in layers]
    assert set(content) == {"manifest.json", manifest["Config"], *manifest["Layers"]}


def test_digests_and_ids(tmp_path: Path) -> None:
    _, config, layers = made(tmp_path)
    document: dict[str, Any] = json.loads(config)
    assert document["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(found.file.read_bytes()).hexdigest()}" for found in layers
    ]
    assert document["architecture"] == "arm64" and document["os"] == "linux"
    assert len(document["history"]) == len(layers)
    assert image_id(config) == f"sha256:{hashlib.sha256(config).hexdigest()}"
    assert json.loads(image_config({}, architecture="", layers=[]))["architecture"] == "amd64"


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    first = made(tmp_path)[:2]
    assert made(tmp_path)[:2] == first
    assert b"20" not in first[1].split(b'"created":"')[1][:2]  # no clock


def test_a_layer_is_a_tar_of_root(tmp_path: Path) -> None:
    found = layer(tmp_path / "layer.tar", **{"deep/file": b"content"})
    with tarfile.open(found.file) as tar:
        [info] = tar.getmembers()
    assert (info.name, info.mode, info.uid, info.gid, info.mtime) == ("deep/file", 0o755, 0, 0, 0)


def test_an_unfinished_layer_is_closed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), LayerWriter(tmp_path / "layer.tar") as writer:
        writer.add_bytes("x", b"y")
        raise ZeroDivisionError
    with pytest.raises(ValueError):
        writer.write(b"more")


def test_huge_layers_fit(tmp_path: Path) -> None:
    """More than 8 GiB do not fit into the size field of a plain tar header."""
    sparse = tmp_path / "huge.tar"
    with sparse.open("wb") as file:
        file.truncate(9 << 30)
    archive = image_archive("n:1", b"{}", [Layer(sparse, "ab" * 32)])
    with tarfile.open(fileobj=io.BytesIO(next(archive)), mode="r|") as tar:
        first = tar.next()
        assert first is not None and first.size == 9 << 30
