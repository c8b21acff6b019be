"""Decrypted and injected files: only in memory, only where they belong, and whole or not at all."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from fakes.nobody import NOBODY, as_nobody, needs_root, reachable_folder

from sconectl.protect.index import Index
from sconectl.runtime import files
from sconectl.runtime.configuration import FileSystemKey
from sconectl.runtime.files import injected_target, sealed_target
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.mounts import Mount

from .configurations import configuration, index
from .memory_world import KEY, TREE, World, bring, make_world, refused


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(tmp_path, monkeypatch)


def test_nothing_is_touched_if_there_is_nothing_to_do(world: World) -> None:
    bring(configuration(), index())
    assert not world.memory.exists()


def test_sealed_directories_appear_as_they_were(world: World) -> None:
    world.open(TREE)
    assert Path(sealed_target("/data/deep/f")).read_bytes() == b"secret\n"
    assert Path(sealed_target("/data/empty")).read_bytes() == b""
    assert str(Path(sealed_target("/data/l")).readlink()) == "deep/f"
    assert [world.mode(sealed_target(p)) for p in ("/data", "/data/deep", "/data/deep/f")] == ["750", "700", "640"]
    assert world.mode(str(world.memory)) == "711"


def test_the_umask_of_the_container_makes_no_difference(world: World) -> None:
    old = os.umask(0o777)
    try:
        world.open(TREE)
    finally:
        os.umask(old)
    assert [world.mode(sealed_target(p)) for p in ("/data", "/data/deep/f")] == ["750", "640"]


def test_a_second_start_replaces_the_first(world: World) -> None:
    world.open(TREE)
    Path(sealed_target("/data/left")).write_text("left by the program")
    world.open(TREE)
    assert not Path(sealed_target("/data/left")).exists()
    assert Path(sealed_target("/data/deep/f")).read_bytes() == b"secret\n"


def test_sealed_directories_need_a_key(world: World) -> None:
    assert "no key" in refused(configuration(), index(sealed=("/data",)))


def test_changed_sealed_files_are_refused(world: World) -> None:
    path, tag = world.seal(TREE)
    fspf, sealed = FileSystemKey(path, KEY, (tag,)), index(sealed=("/data",))
    good = world.pack.read_bytes()
    for content in (good[:-1], good + b"x", bytes(len(good)), b""):
        world.pack.write_bytes(content)
        text = refused(configuration(fspf=fspf), sealed)
        assert "encrypted files of the image were changed" in text
        assert "secret" not in text
        assert b"secret" not in b"".join(f.read_bytes() for f in world.memory.rglob("*") if f.is_file())
    world.pack.unlink()
    assert "changed" in refused(configuration(fspf=fspf), sealed)
    world.pack.write_bytes(good)
    bring(configuration(fspf=fspf), sealed)
    assert "changed" in refused(configuration(fspf=FileSystemKey(path, bytes(32), (tag,))), sealed)
    assert "changed" in refused(configuration(fspf=FileSystemKey(path, KEY, ("0" * 32,))), sealed)
    assert "changed" in refused(configuration(fspf=FileSystemKey(path, KEY, ())), sealed)
    assert "missing" in refused(configuration(fspf=FileSystemKey(f"{path}x", KEY, (tag,))), sealed)
    assert "missing" in refused(configuration(fspf=FileSystemKey("/dev/zero", KEY, (tag,))), sealed)


def test_an_older_state_is_refused(world: World) -> None:
    path, old = world.seal({"/data": 0o755, "/data/f": b"old"})
    old_index = Path(path).read_bytes()
    _, new = world.seal({"/data": 0o755, "/data/f": b"new"})
    sealed = index(sealed=("/data",))
    Path(path).write_bytes(old_index)
    assert "tag differs" in refused(configuration(fspf=FileSystemKey(path, KEY, (new,))), sealed)
    assert "not what was sealed" in refused(
        configuration(fspf=FileSystemKey(path, KEY, (old,))), sealed
    )  # its pack is gone


def test_the_policy_says_which_states_it_accepts(world: World) -> None:
    path, tag = world.seal(TREE)
    sealed = index(sealed=("/data",))
    for tags in ((tag,), ("0" * 32, tag), None):
        bring(configuration(fspf=FileSystemKey(path, KEY, tags)), sealed)
        assert Path(sealed_target("/data/deep/f")).read_bytes() == b"secret\n"
    assert "tag differs" in refused(configuration(fspf=FileSystemKey(path, KEY, ("0" * 32,))), sealed)
    assert "does not open" in refused(configuration(fspf=FileSystemKey(path, bytes(32), None)), sealed)
    Path(path).write_bytes(b"")
    assert "changed" in refused(configuration(fspf=FileSystemKey(path, KEY, None)), sealed)


@pytest.mark.parametrize(
    "path", ["/etc/x", "/data/../etc/x", "/database", "//data/x", "/data//x", "/data/./x", "data/x"]
)
def test_a_sealed_index_cannot_leave_its_directories(world: World, path: str) -> None:
    for item in (0o755, b"content", "target"):
        with pytest.raises(LaunchRefused) as caught:
            world.open({"/data": 0o755, path: item})
        assert "does not belong" in caught.value.causes[0]


@pytest.mark.parametrize("item", [0o755, b"content", "target"])
def test_a_sealed_index_cannot_write_through_its_own_links(world: World, item: Any) -> None:
    away = world.root / "away"
    away.mkdir()
    with pytest.raises(LaunchRefused):
        world.open({"/data": 0o755, "/data/a": str(away), "/data/a/b": item})
    with pytest.raises(LaunchRefused):
        world.open({"/data": str(away), "/data/b": item})
    assert list(away.iterdir()) == []


def test_injected_files(world: World) -> None:
    one, two = world.place_link("/etc/app/one.conf"), world.place_link("/two")
    bring(configuration(files=((one, 0o640, b"1"), (two, 0o4444, b"\0\xff"))), index())
    assert Path(one).read_bytes() == b"1" and Path(two).read_bytes() == b"\0\xff"
    assert [world.mode(one), world.mode(two)] == ["640", "444"]
    assert not Path(one).resolve().is_relative_to(world.root)


def test_injected_files_in_a_sealed_directory(world: World) -> None:
    target = injected_target(sealed_target("/data/conf"))
    path, tag = world.seal({"/data": 0o755, "/data/conf": target})
    config = configuration(fspf=FileSystemKey(path, KEY, (tag,)), files=((sealed_target("/data/conf"), 0o600, b"in"),))
    bring(config, index(sealed=("/data",)))
    assert Path(sealed_target("/data/conf")).read_bytes() == b"in"


def test_injection_needs_the_link_of_the_image(world: World) -> None:
    file, foreign, missing = world.root / "file", world.root / "foreign", world.root / "missing"
    file.write_text("measured")
    foreign.symlink_to(world.root / "file")
    for path in (file, foreign, missing):
        assert "was not built for that" in refused(configuration(files=((str(path), 0o600, b"x"),)), index())
    assert file.read_text() == "measured"


def test_injecting_twice_is_refused(world: World) -> None:
    path = world.place_link("/x")
    text = refused(configuration(files=((path, 0o600, b"TOPSECRET"), (path, 0o600, b"TOPSECRET"))), index())
    assert "cannot be written" in text and "TOPSECRET" not in text and "shm-size" not in text


def test_files_of_the_runtime_are_written_in_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts, link, gone = world.root / "hosts", world.root / "link", world.root / "gone"
    hosts.write_text("a longer text than the new one")
    link.symlink_to(hosts)
    monkeypatch.setattr(files, "IN_PLACE", tuple(map(str, (hosts, link, gone))))
    inode = hosts.stat().st_ino
    bring(configuration(files=((str(hosts), 0o600, b"new\n"),)), index())
    assert hosts.read_bytes() == b"new\n" and hosts.stat().st_ino == inode
    for path in (link, gone):  # never through a link, never a file of its own
        text = refused(configuration(files=((str(path), 0o600, b"evil"),)), index())
        assert "cannot be written" in text and "root" in text
    assert hosts.read_bytes() == b"new\n" and not gone.exists()


def test_a_full_memory_is_explained(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_inject", full)
    assert "shm-size" in refused(configuration(files=(("/x", 0o600, b"x"),)), index())


# The folder in memory: attacks of others that share /dev/shm, and of mounts.

INJECTED = configuration(files=(("/x", 0o600, b"x"),))


def test_a_link_in_place_of_the_folder_is_refused(world: World) -> None:
    away = world.root / "away"
    away.mkdir()
    (away / "kept").touch()
    world.memory.symlink_to(away)
    assert "does not belong to this container" in refused(INJECTED, index())
    assert (away / "kept").exists()


def test_a_file_in_place_of_the_folder_is_refused(world: World) -> None:
    world.memory.touch()
    assert "does not belong to this container" in refused(INJECTED, index())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_somebody_else_is_refused(world: World) -> None:
    world.memory.mkdir()
    (world.memory / "planted").touch()
    os.chown(world.memory, 12345, 12345)
    assert "does not belong to this container" in refused(INJECTED, index())
    assert (world.memory / "planted").exists()


@pytest.mark.parametrize("below", ["", "/files", "/sealed/data"])
def test_mounts_in_the_folder_are_refused_before_anything_is_removed(
    world: World, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    world.memory.mkdir()
    (world.memory / "kept").touch()
    monkeypatch.setattr(files, "mounts", lambda: [Mount(f"{world.memory}{below}", "0:1", "tmpfs")])
    assert f"something is mounted at {world.memory}{below}" in refused(INJECTED, index())
    assert (world.memory / "kept").exists()
    monkeypatch.setattr(files, "mounts", lambda: [Mount(f"{world.memory}-other", "0:1", "ext4")])
    assert "was not built" in refused(INJECTED, index())


@needs_root
@pytest.mark.parametrize("way", ["closed", "closed/open"])
def test_a_file_in_a_directory_that_the_user_may_not_enter(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    with reachable_folder() as folder:
        closed = folder / "closed"
        (folder / way).mkdir(parents=True)
        closed.chmod(0o750)
        os.chown(closed, 102, 103)
        path = folder / way / "app.conf"

        def inject() -> tuple[str, ...]:
            with pytest.raises(LaunchRefused) as caught:
                files._inject(str(path), 0o600, b"secret")
            return (caught.value.message, *caught.value.causes)

        message, mode, user, capability = as_nobody(inject)
    assert message.endswith(f"user {NOBODY} may not enter {closed}") and str(path) in message
    assert mode == f"{closed} belongs to user 102, group 103, and has the mode 0750"
    assert "--user 102:103" in user and "DAC_OVERRIDE" in capability


@pytest.mark.parametrize(("kind", "good"), [("tmpfs", True), ("ramfs", True), ("ext4", False), ("fuse.tmpfs", False)])
def test_memory_is_what_the_kernel_calls_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, good: bool
) -> None:
    """The file system behind the folder counts: not a mount that another one hides, nor one that a link avoids."""
    device = tmp_path.stat().st_dev
    own = f"{os.major(device)}:{os.minor(device)}"
    (tmp_path / "link").symlink_to(tmp_path)
    found = [Mount(str(tmp_path), "99:99", "tmpfs"), Mount("/somewhere", own, kind)]
    monkeypatch.setattr(files, "mounts", lambda: found)
    for folder in (tmp_path, tmp_path / "link"):
        if good:
            files.require_memory(str(folder))
        else:
            with pytest.raises(LaunchRefused, match="not in memory"):
                files.require_memory(str(folder))
    with pytest.raises(LaunchRefused, match="not in memory"):
        files.require_memory(str(tmp_path / "ghost"))


@pytest.mark.parametrize(
    ("older", "source", "name_space", "terminals", "good"),
    [
        (True, "shm", "ipc:[4026532257]", "devpts", False),  # of another container, of a pod, or shareable
        (True, "tmpfs", "ipc:[4026531839]", "devpts", False),  # of the machine
        (True, "tmpfs", "ipc:[4026532257]", "devpts", True),  # a volume
        (False, "shm", "ipc:[4026532257]", "devpts", True),  # made with the container
        (False, "tmpfs", "ipc:[4026531839]", "devpts", True),  # --tmpfs, in the name space of the machine
        (True, "shm", "ipc:[4026532257]", "tmpfs", True),  # nothing to compare with
    ],
)
def test_memory_that_was_there_before_the_container_is_shared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    older: bool,
    source: str,
    name_space: str,
    terminals: str,
    good: bool,
) -> None:
    shm, pts = tmp_path / "shm", tmp_path / "pts"
    for folder in (shm, pts) if older else (pts, shm):
        folder.mkdir()
        time.sleep(0.02)
    found = [
        Mount(str(shm), "0:1", "tmpfs", "shm"),
        Mount(str(shm), "0:2", "tmpfs", source),
        Mount(str(pts), "0:3", terminals),
    ]
    monkeypatch.setattr(files, "_TERMINALS", str(pts))
    monkeypatch.setattr(files, "mounts", lambda: found)
    monkeypatch.setattr(os, "readlink", lambda path: name_space)
    if good:
        files.refuse_shared(str(shm))
    else:
        with pytest.raises(LaunchRefused, match="shared with other containers"):
            files.refuse_shared(str(shm))


def test_what_is_sealed_must_be_what_was_measured(world: World) -> None:
    """An index without encrypted directories opens none, whatever key the policy brings."""
    path, tag = world.seal(TREE)
    bring(configuration(fspf=FileSystemKey(path, KEY, (tag,))), Index((), (), {}))
    assert not world.memory.exists()
