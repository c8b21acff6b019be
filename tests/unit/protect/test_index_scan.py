"""Every way in which a live root file system can differ from the measured one is seen, and nothing else is."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from fakes.nobody import NOBODY, as_nobody, needs_root, reachable_folder

from sconectl.protect import live
from sconectl.protect.index import Index, differences

NOTHING = Index(outside=("/tmp", "/etc/hosts"), sealed=(), entries={})


@pytest.fixture
def root() -> Iterator[Path]:
    with reachable_folder() as folder:
        for name in ("bin", "etc", "tmp", "srv", "srv/inner"):
            (folder / name).mkdir()
            (folder / name).chmod(0o755)
        for name, mode in {"bin/tool": 0o755, "etc/hosts": 0o644, "etc/conf": 0o644, "srv/inner/data": 0o644}.items():
            (folder / name).write_text(f"this is {name}\n")
            (folder / name).chmod(mode)
        (folder / "tmp/scratch").write_text("anything")
        (folder / "bin/alias").symlink_to("tool")
        yield folder


def scan(root: str, expected: Index) -> Index:
    """Measure as a launcher does that has given up all ways to another user."""
    return live.scan(root, expected).believed(expected)


def changes(root: Path, expected: Index) -> list[str]:
    return [str(difference) for difference in differences(expected, scan(str(root), expected))]


def test_an_unchanged_tree_has_no_differences(root: Path) -> None:
    expected = scan(str(root), NOTHING)
    assert changes(root, expected) == []
    assert sorted(expected.entries) == [
        "/bin", "/bin/alias", "/bin/tool", "/etc", "/etc/conf", "/srv", "/srv/inner", "/srv/inner/data",
    ]  # fmt: skip
    assert expected.entries["/bin"] == ("d", "755")
    assert expected.entries["/bin/alias"] == ("l", "tool")
    assert expected.entries["/bin/tool"][:3] == ("f", "755", "17")
    assert scan(f"{root}/", NOTHING) == expected


Step = Callable[[Path], object]


def replaced_by_a_directory(r: Path) -> None:
    (r / "bin/tool").unlink()
    (r / "bin/tool").mkdir()


def replaced_by_a_fifo(r: Path) -> None:
    (r / "etc/conf").unlink()
    os.mkfifo(r / "etc/conf")


def replaced_by_a_file(r: Path) -> None:
    (r / "bin/alias").unlink()
    (r / "bin/alias").touch()


def another_target(r: Path) -> None:
    (r / "bin/alias").unlink()
    (r / "bin/alias").symlink_to("tool2")


def moved_behind_a_link(r: Path) -> None:
    (r / "srv").rename(r / "tmp/srv")
    (r / "srv").symlink_to("tmp/srv")


def changed_outside(r: Path) -> None:
    (r / "tmp/scratch").unlink()
    (r / "tmp").rmdir()
    (r / "etc/hosts").chmod(0o600)


CHANGES: dict[str, tuple[Step, list[str]]] = {
    "content": (lambda r: (r / "bin/tool").write_text("THIS is bin/tool\n"), ["changed: /bin/tool"]),
    "length": (lambda r: (r / "bin/tool").write_text(""), ["changed: /bin/tool"]),
    "mode": (lambda r: (r / "bin/tool").chmod(0o4755), ["changed: /bin/tool"]),
    "mode of a directory": (lambda r: (r / "etc").chmod(0o1777), ["changed: /etc"]),
    "target": (another_target, ["changed: /bin/alias"]),
    "added": (lambda r: (r / "etc/new").touch(), ["added: /etc/new"]),
    "added directory": (lambda r: (r / "new/x").mkdir(parents=True), ["added: /new", "added: /new/x"]),
    "added link": (lambda r: (r / "tool").symlink_to("/bin/tool"), ["added: /tool"]),
    "missing": (lambda r: (r / "bin/tool").unlink(), ["missing: /bin/tool"]),
    "file for link": (replaced_by_a_file, ["changed: /bin/alias"]),
    "directory for file": (replaced_by_a_directory, ["changed: /bin/tool"]),
    "link for directory": (
        moved_behind_a_link,
        ["changed: /srv", "missing: /srv/inner", "missing: /srv/inner/data"],
    ),
    "FIFO": (lambda r: os.mkfifo(r / "etc/pipe"), ["added: /etc/pipe"]),
    "FIFO for file": (replaced_by_a_fifo, ["changed: /etc/conf"]),
    "outside": (changed_outside, []),
    "times": (lambda r: os.utime(r / "bin/tool", (1, 1)), []),
    "a second name": (lambda r: (r / "tmp/hard").hardlink_to(r / "bin/tool"), []),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_seen(root: Path, name: str) -> None:
    expected = scan(str(root), NOTHING)
    change, seen = CHANGES[name]
    change(root)
    assert changes(root, expected) == seen


@pytest.mark.sockets
def test_a_socket_is_no_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = scan(str(root), NOTHING)
    monkeypatch.chdir(root / "etc")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("conf2")
    assert changes(root, expected) == ["added: /etc/conf2"]


@pytest.mark.parametrize(
    "name", [b"two\nlines", b"\xff\xfe", "größe".encode(), b" ", b"a\\040b", b"\xed\xa0\x80", b"\x1b[2J"]
)
def test_strange_names_survive_the_canonical_form(root: Path, name: bytes) -> None:
    (root / os.fsdecode(name)).write_text("x")
    found = scan(str(root), NOTHING)
    again = Index.from_bytes(found.to_bytes())
    assert again == Index(tuple(sorted(found.outside)), (), dict(found.entries))
    assert again.digest() == found.digest()
    assert changes(root, again) == []
    assert b"/" + name in [os.fsencode(path) for path in again.entries]


def test_an_entry_that_stands_in_never_comes_from_a_link_that_appears(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replaced by a link or a FIFO between looking at it and reading it: neither followed nor waited for."""
    expected = scan(str(root), NOTHING)
    real = os.open
    (root / "tmp/tool").write_text("this is bin/tool\n")
    (root / "tmp/tool").chmod(0o755)

    def replaced(path: str, flags: int) -> int:
        if path.endswith("bin/tool"):
            Path(path).unlink()
            Path(path).symlink_to("../tmp/tool")
        if path.endswith("etc/conf"):
            Path(path).unlink()
            os.mkfifo(path)
        return real(path, flags)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", replaced)
        seen = changes(root, expected)
    assert seen == ["unreadable: /bin/tool", "unreadable: /etc/conf"]


def test_files_that_vanish_while_they_are_measured_are_missing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = scan(str(root), NOTHING)
    real, real_open = os.lstat, os.open

    def opened(path: str, flags: int) -> int:
        if path.endswith(("bin/tool", "inner/data")):
            Path(path).unlink()
        return real_open(path, flags)

    def removed(path: str) -> os.stat_result:
        status = real(path)
        if path.endswith("srv/inner"):
            (root / "srv/inner/data").unlink()
            (root / "srv/inner").rmdir()
        return status

    with monkeypatch.context() as patched:
        patched.setattr(os, "lstat", removed)
        patched.setattr(os, "open", opened)
        seen = changes(root, expected)
    assert seen == ["missing: /bin/tool", "missing: /srv/inner/data"]


def test_a_root_that_cannot_be_listed_matches_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert scan(str(tmp_path / "file"), NOTHING).entries == {"/": ("unreadable",)}


def test_paths_too_long_to_be_read_are_refused_without_a_traceback(root: Path) -> None:
    expected = scan(str(root), NOTHING)
    folder = os.open(root, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("n" * 200, dir_fd=folder)
        inner = os.open("n" * 200, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    assert changes(root, expected)


# What a user without privileges cannot read. The attack: make a changed file unreadable, but still executable.


@needs_root
def test_what_nobody_can_use_is_taken_as_expected(root: Path) -> None:
    (root / "etc/conf").chmod(0o600)
    (root / "srv").chmod(0o700)
    expected = scan(str(root), NOTHING)
    assert as_nobody(lambda: changes(root, expected)) == []
    assert as_nobody(lambda: scan(str(root), expected).digest()) == expected.digest()


@needs_root
def test_what_nobody_can_use_is_said_to_be_unread(root: Path) -> None:
    """Without the certainty that the program stays the same user, nothing of it is believed."""
    (root / "etc/conf").chmod(0o600)
    (root / "srv").chmod(0o700)
    (root / "bin").chmod(0o744)
    expected = scan(str(root), NOTHING)

    def look() -> tuple[list[str], list[str], list[str]]:
        found = live.scan(str(root), expected)
        return [str(d) for d in differences(expected, found.index)], sorted(found.hidden), sorted(found.closed)

    seen, hidden, closed = as_nobody(look)
    assert seen == ["unreadable: /bin", "unreadable: /etc/conf", "unreadable: /srv"]
    assert hidden == ["/bin", "/bin/alias", "/bin/tool", "/etc/conf", "/srv"] and closed == ["/srv"]


@needs_root
def test_the_group_decides_where_it_is_the_callers(root: Path) -> None:
    """Members of the group may be kept out while everybody else may read: the program cannot leave its group."""
    for mode, seen in ((0o604, []), (0o614, ["unreadable: /etc/conf"]), (0o640, [])):
        (root / "etc/conf").chmod(mode)
        os.chown(root / "etc/conf", 0, NOBODY)
        expected = scan(str(root), NOTHING)
        (root / "etc/conf").write_text("THIS is etc/conf\n")
        assert as_nobody(partial(changes, root, expected)) == (["changed: /etc/conf"] if mode == 0o640 else seen)
        (root / "etc/conf").write_text("this is etc/conf\n")


@needs_root
def test_what_an_access_list_keeps_out_is_never_believed(root: Path) -> None:
    (root / "etc/conf").chmod(0o600)
    (root / "srv").chmod(0o700)
    expected = scan(str(root), NOTHING)
    entry = struct.Struct("<HHI")
    acl = struct.pack("<I", 2) + b"".join(
        entry.pack(*fields)
        for fields in ((1, 6, 2**32 - 1), (2, 0, 1234), (4, 0, 2**32 - 1), (16, 0, 2**32 - 1), (32, 0, 2**32 - 1))
    )
    for name in ("etc/conf", "srv"):
        try:
            os.setxattr(root / name, "system.posix_acl_access", acl)
        except OSError:
            pytest.skip("this file system has no access control lists")
        (root / name).chmod(0o600 if name == "etc/conf" else 0o700)
    assert as_nobody(lambda: changes(root, expected)) == ["unreadable: /etc/conf", "unreadable: /srv"]


@needs_root
def test_names_that_can_be_listed_must_be_the_expected_ones(root: Path) -> None:
    """A program that lists the directory sees them, even if it can open nothing."""
    (root / "srv").chmod(0o744)
    expected = scan(str(root), NOTHING)
    (root / "srv/new").touch()
    assert as_nobody(lambda: changes(root, expected)) == ["added: /srv/new"]
    (root / "srv/new").unlink()
    (root / "srv/inner").rename(root / "tmp/inner")
    assert as_nobody(lambda: changes(root, expected)) == ["missing: /srv/inner", "missing: /srv/inner/data"]
    (root / "srv/inner").symlink_to("/tmp/inner")
    assert as_nobody(lambda: changes(root, expected)) == ["unreadable: /srv/inner"]


@needs_root
@pytest.mark.parametrize(
    ("before", "change", "seen"),
    [
        (0o600, lambda f: f.write_text("longer than before, and so noticed"), ["unreadable: /etc/conf"]),
        (0o600, lambda f: f.chmod(0o200), ["unreadable: /etc/conf"]),
        (0o644, lambda f: f.chmod(0o711), ["unreadable: /etc/conf"]),
        (0o711, lambda f: None, ["unreadable: /etc/conf"]),  # runs, and cannot be measured
        (0o700, lambda f: os.chown(f, NOBODY, NOBODY), []),  # now it can be read
        (0o000, lambda f: os.chown(f, NOBODY, NOBODY), ["unreadable: /etc/conf"]),  # its owner can change that
        (0o600, lambda f: f.rename(f.parent / "hosts"), ["missing: /etc/conf"]),
    ],
)
def test_unreadable_files_must_look_as_expected_and_be_useless(
    root: Path, before: int, change: Callable[[Path], object], seen: list[str]
) -> None:
    file = root / "etc/conf"
    file.chmod(before)
    expected = scan(str(root), NOTHING)
    change(file)
    assert as_nobody(lambda: changes(root, expected)) == seen


@needs_root
def test_added_files_that_can_only_be_executed_are_seen(root: Path) -> None:
    expected = scan(str(root), NOTHING)
    (root / "bin/evil").write_text("#!/bin/sh\n")
    (root / "bin/evil").chmod(0o711)
    (root / "bin/dull").touch(0o600)
    assert as_nobody(lambda: changes(root, expected)) == ["added: /bin/dull", "added: /bin/evil"]


@needs_root
@pytest.mark.parametrize("mode", [0o711, 0o311])
def test_a_directory_that_can_be_entered_but_not_listed_is_refused(root: Path, mode: int) -> None:
    (root / "srv").chmod(mode)
    expected = scan(str(root), NOTHING)
    (root / "srv/inner/data").write_text("changed, and can be opened by name")
    seen = as_nobody(lambda: changes(root, expected))
    assert "unreadable: /srv" in seen


@needs_root
def test_a_directory_that_can_be_listed_but_not_entered_hides_what_is_in_it(root: Path) -> None:
    (root / "srv").chmod(0o744)
    expected = scan(str(root), NOTHING)
    assert as_nobody(lambda: changes(root, expected)) == []


@needs_root
def test_a_hidden_directory_must_be_there_and_keep_its_mode(root: Path) -> None:
    (root / "srv").chmod(0o700)
    expected = scan(str(root), NOTHING)
    (root / "srv").chmod(0o710)
    assert as_nobody(lambda: changes(root, expected)) == ["changed: /srv"]
    os.chown(root / "srv", NOBODY, NOBODY)
    (root / "srv").chmod(0o000)
    assert "unreadable: /srv" in as_nobody(lambda: changes(root, expected))
