"""Files that are read from the image, filled in by the CAS, and put in their place in memory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from sconectl.protect.index import file_entry
from sconectl.runtime import files
from sconectl.runtime.configuration import FileSystemKey
from sconectl.runtime.files import original_of, sealed_target
from sconectl.runtime.log import LaunchRefused

from .configurations import configuration, index
from .memory_world import KEY, TREE, World, bring, make_world, refused


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(tmp_path, monkeypatch)


def shouting(path: str, content: bytes) -> bytes:
    return f"{Path(path).name}={content.decode().upper()}".encode()


def test_a_file_of_an_encrypted_directory_is_filled_in(world: World) -> None:
    path, tag = world.seal(TREE)
    config = configuration(fspf=FileSystemKey(path, KEY, (tag,)), fs_files=(("/data/deep/f", 0o440),))
    bring(config, index(sealed=("/data",)), shouting)
    assert Path(sealed_target("/data/deep/f")).read_bytes() == b"f=SECRET\n"
    assert world.mode(sealed_target("/data/deep/f")) == "440"


@pytest.mark.parametrize("name", ["/data/l", "/data/ghost", "/data/deep", "/data/out/etc", "/data/ghost/f"])
def test_what_is_no_file_of_an_encrypted_directory(world: World, name: str) -> None:
    path, tag = world.seal(TREE | {"/data/out": "/"})
    config = configuration(fspf=FileSystemKey(path, KEY, (tag,)), fs_files=((name, 0o440),))
    text = refused(config, index(sealed=("/data",)))
    assert "from the image, which" in text or "leads through a link" in text


class Original:
    """An image that was built to inject one of its files."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "ORIGINALS", f"{world.root}/originals")
        self.path = world.place_link("/app.ini")
        self.file = Path(original_of(self.path))
        self.file.parent.mkdir(parents=True)
        self.file.write_bytes(b"template")
        self.file.chmod(0o644)
        entry = file_entry(0o644, 8, hashlib.sha256(b"template").hexdigest())
        self.index = index(entries={str(self.file): entry})
        self.config = configuration(fs_files=((self.path, 0o640),))


@pytest.fixture
def original(world: World, monkeypatch: pytest.MonkeyPatch) -> Original:
    return Original(world, monkeypatch)


def test_a_protected_file_is_filled_in(world: World, original: Original) -> None:
    bring(original.config, original.index, shouting)
    assert Path(original.path).read_bytes() == b"app.ini=TEMPLATE"
    assert world.mode(original.path) == "640"
    assert original.file.read_bytes() == b"template"


def test_a_file_that_changed_after_the_measurement_is_not_sent(original: Original) -> None:
    original.file.write_bytes(b"TEMPLATE")
    assert "differs from the measured file" in refused(original.config, original.index)


def test_a_file_that_was_not_measured_is_not_sent(world: World, original: Original) -> None:
    assert "differs from the measured file" in refused(original.config, index())
    link = index(entries={str(original.file): ("l", "elsewhere")})
    assert "differs from the measured file" in refused(original.config, link)


def test_an_original_that_is_no_file(original: Original) -> None:
    original.file.unlink()
    assert "cannot be read there" in refused(original.config, original.index)
    original.file.symlink_to("/etc/hostname")
    assert "cannot be read there" in refused(original.config, original.index)
    original.file.unlink()
    os.mkfifo(original.file)
    assert "is no file there" in refused(original.config, original.index)


def test_an_image_that_was_not_built_to_inject_the_file(world: World, original: Original) -> None:
    Path(original.path).unlink()
    Path(original.path).write_text("the template itself")
    assert "was not built for that" in refused(original.config, original.index)
    assert Path(original.path).read_text() == "the template itself"


def test_files_of_the_runtime_are_not_read(original: Original, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "IN_PLACE", (original.path,))
    assert "the container runtime provides it" in refused(original.config, original.index)


def test_a_refusal_of_the_cas_leaves_nothing_behind(world: World, original: Original) -> None:
    def refusing(path: str, content: bytes) -> bytes:
        raise LaunchRefused("no")

    assert refused(original.config, original.index, refusing) == "no"
    assert not Path(original.path).exists()
