"""Authenticated regions: every edit to the files in place is found, and said to be what it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sconectl.protect.fspf import ProtectedFiles, open_plain_index, plain_index
from sconectl.protect.regions import AUTHENTICATED, ENCRYPTED, EPHEMERAL, KERNEL, Region
from sconectl.protect.tree import list_tree, with_digests
from sconectl.protect.verify import differences

from .trees import TREES, Tree, read_tree, scratch, write_tree


def recorded(source: Path, at: str = "/lib", *more: Region) -> ProtectedFiles:
    region = Region(at, AUTHENTICATED, KERNEL, str(source))
    listing = list_tree(str(source), at, leave_out={other.path for other in more})
    assert not listing.faults
    data, tag = plain_index([region, *more], with_digests(listing), bytes(32))
    return open_plain_index(tag, data)


def link(path: Path, target: str) -> None:
    path.rename(path.parent.parent / "was")
    path.symlink_to(target)


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


EDITS: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "content": (lambda d: (d / "f").write_bytes(b"other"), ["changed: /lib/f"]),
    "a byte more": (lambda d: (d / "f").write_bytes(b"file+"), ["changed: /lib/f"]),
    "mode": (lambda d: (d / "f").chmod(0o755), ["changed: /lib/f"]),
    "set-id bit": (lambda d: (d / "f").chmod(0o4644), ["changed: /lib/f"]),
    "mode of a directory": (lambda d: (d / "sub").chmod(0o777), ["changed: /lib/sub"]),
    "mode of the region": (lambda d: d.chmod(0o777), ["changed: /lib"]),
    "target of a link": (lambda d: link(d / "l", "/f"), ["changed: /lib/l"]),
    "link to the same content": (lambda d: link(d / "f", "../was"), ["changed: /lib/f"]),
    "directory to link": (
        lambda d: link(d / "sub", "../was"),
        ["changed: /lib/sub", "missing: /lib/sub/g"],
    ),
    "rename": (lambda d: (d / "f").rename(d / "x"), ["missing: /lib/f", "added: /lib/x"]),
    "swap": (
        lambda d: ((d / "f").rename(d / "x"), (d / "sub/g").rename(d / "f"), (d / "x").rename(d / "sub/g")),
        ["changed: /lib/f", "changed: /lib/sub/g"],
    ),
    "add": (lambda d: (d / "sub/new").touch(), ["added: /lib/sub/new"]),
    "add a directory": (lambda d: (d / "new").mkdir(), ["added: /lib/new"]),
    "add a FIFO": (lambda d: fifo(d / "p"), ["added: /lib/p"]),
    "file to FIFO": (lambda d: ((d / "f").rename(d.parent / "was"), fifo(d / "f")), ["unreadable: /lib/f"]),
    "delete": (lambda d: (d / "f").unlink(), ["missing: /lib/f"]),
    "delete all": (
        lambda d: shutil.rmtree(d),
        ["unreadable: /lib", "missing: /lib/f", "missing: /lib/l", "missing: /lib/sub", "missing: /lib/sub/g"],
    ),
    "nothing": (lambda d: os.utime(d / "f", (0, 0)), []),
}


@pytest.mark.parametrize("name", EDITS)
def test_edits_are_named(tmp_path: Path, name: str) -> None:
    source = tmp_path / "lib"
    write_tree(source, {b"f": (0o644, b"file"), b"l": b"f", b"sub": (0o755, {b"g": (0o644, b"good")})})
    found = recorded(source)
    assert differences(found) == []
    change, expected = EDITS[name]
    change(source)
    assert [str(difference) for difference in differences(found)] == expected


@settings(deadline=None, max_examples=60)
@given(TREES, TREES, st.booleans())
def test_only_the_same_tree_is_the_same(one: Tree, two: Tree, relocated: bool) -> None:
    with scratch() as folder:
        write_tree(folder / "one", one)
        found = recorded(folder / "one")
        assert differences(found) == []
        shutil.rmtree(folder / "one")
        write_tree(folder / "one", two)
        assert bool(differences(found)) == (read_tree(folder / "one") != one)


def test_regions_within_are_left_alone(tmp_path: Path) -> None:
    write_tree(tmp_path / "root", {b"f": (0o644, b"x"), b"tmp": (0o755, {}), b"data": (0o755, {b"s": (0o600, b"s")})})
    within = (Region("/tmp", ENCRYPTED, EPHEMERAL), Region("/data", ENCRYPTED, KERNEL, "/packs"))
    found = recorded(tmp_path / "root", "/", *within)
    (tmp_path / "root/tmp/new").touch()
    shutil.rmtree(tmp_path / "root/data")
    assert differences(found) == []
    (tmp_path / "root/new").touch()
    assert [str(difference) for difference in differences(found)] == ["added: /new"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read_is_not_verified(tmp_path: Path) -> None:
    write_tree(tmp_path / "lib", {b"f": (0o644, b"x"), b"d": (0o755, {})})
    found = recorded(tmp_path / "lib")
    (tmp_path / "lib/f").chmod(0)
    (tmp_path / "lib/d").chmod(0)
    assert [str(difference) for difference in differences(found)] == ["unreadable: /lib/d", "unreadable: /lib/f"]
