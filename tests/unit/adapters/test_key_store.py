"""Keys: drawn once, private, never replaced silently, and whole or not there."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import NoReturn

import pytest
from fakes.workspace import FakeKeys

from sconectl.adapters.key_store import KEY_BYTES, SIGNING_KEY, KeyStore
from sconectl.errors import BuildFailed, Refused


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys"


def test_a_key_is_drawn_once_and_stays(directory: Path) -> None:
    key = KeyStore(directory).image_key("registry.example.org/a")
    assert len(key) == KEY_BYTES
    assert KeyStore(directory).image_key("registry.example.org/a") == key
    assert len(list(directory.iterdir())) == 1


def test_each_name_has_its_own_key(directory: Path) -> None:
    store = KeyStore(directory)
    names = ["a/b", "a~b", "a:b", "x" * 100 + "1", "x" * 100 + "2", "../../up", "é"]
    assert len({store.image_key(name) for name in names}) == len(names)
    assert len(list(directory.iterdir())) == len(names)
    assert {path.parent for path in directory.rglob("*")} == {directory}


def test_only_the_owner_may_read(directory: Path) -> None:
    previous = os.umask(0)
    try:
        KeyStore(directory).image_key("a")
    finally:
        os.umask(previous)
    assert directory.stat().st_mode & 0o777 == 0o700
    (file,) = directory.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_may_read_is_refused(directory: Path, mode: int) -> None:
    KeyStore(directory).image_key("a")
    (file,) = directory.iterdir()
    file.chmod(mode)
    with pytest.raises(Refused) as caught:
        KeyStore(directory).image_key("a")
    assert caught.value.exit_code == 7
    assert caught.value.hint == f"chmod 600 {file}"


@pytest.mark.parametrize("content", [b"", b"00", b"zz" * 32, b"00" * 33, b"\xff" * 32])
def test_a_damaged_key_is_refused_and_kept(directory: Path, content: bytes) -> None:
    KeyStore(directory).image_key("a")
    (file,) = directory.iterdir()
    file.write_bytes(content)
    with pytest.raises(Refused, match="damaged"):
        KeyStore(directory).image_key("a")
    assert file.read_bytes() == content


def test_a_full_disk_leaves_nothing_behind(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> NoReturn:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(BuildFailed, match="No space left"):
            KeyStore(directory).image_key("a")
    assert list(directory.iterdir()) == []
    assert len(KeyStore(directory).image_key("a")) == KEY_BYTES


def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildFailed) as caught:
        KeyStore(tmp_path / "file" / "keys").image_key("a")
    assert "XDG_DATA_HOME" in caught.value.hint


def test_a_link_is_not_followed_to_make_a_key(directory: Path, tmp_path: Path) -> None:
    KeyStore(directory).image_key("a")
    (file,) = directory.iterdir()
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BuildFailed):
        KeyStore(directory).image_key("a")
    assert not (tmp_path / "elsewhere").exists()


def test_all_who_ask_at_once_get_one_key(directory: Path) -> None:
    found: list[bytes] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        found.append(KeyStore(directory).image_key("a"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(list(directory.iterdir())) == 1


def test_the_signing_key_is_drawn_once_and_private(directory: Path) -> None:
    previous = os.umask(0)
    try:
        key = KeyStore(directory).signing_key()
    finally:
        os.umask(previous)
    assert KeyStore(directory).signing_key() == key
    KeyStore(directory).image_key("enclave-signing.pem")  # no image has its name
    assert len(list(directory.iterdir())) == 2
    file = directory / SIGNING_KEY
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with pytest.raises(Refused, match="read by others"):
        KeyStore(directory).signing_key()


@pytest.mark.parametrize("cut", [0, 100, -100])
def test_a_damaged_signing_key_is_refused_and_kept(directory: Path, cut: int) -> None:
    directory.mkdir(parents=True)
    file = directory / SIGNING_KEY
    file.write_bytes(FakeKeys().signing_key()[:cut])
    file.chmod(0o600)
    before = file.read_bytes()
    with pytest.raises(Refused, match="damaged"):
        KeyStore(directory).signing_key()
    assert file.read_bytes() == before
