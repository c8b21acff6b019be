"""Arbitrary directory trees, on disk and protected, for the property tests."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import strategies as st

from sconectl.protect.extract import extract
from sconectl.protect.fspf import data_key, open_index, seal_index
from sconectl.protect.packs import write_pack
from sconectl.protect.regions import ENCRYPTED, KERNEL, NOT_PROTECTED, Region
from sconectl.protect.tree import list_tree

KEY = bytes(range(32))
CHUNK = 64  # many chunks in little content
Tree = dict[bytes, Any]
"""Name to (mode, content), a link's target, or (mode, another tree)."""

NAMES = st.binary(min_size=1, max_size=12).filter(lambda n: n not in (b".", b"..") and not set(n) & {0, 47})
TARGETS = st.binary(min_size=1, max_size=12).filter(lambda t: 0 not in t)
CONTENTS = st.one_of(st.binary(max_size=80), st.integers(0, 700).map(lambda n: bytes(i * 7 % 251 for i in range(n))))
FILES = st.tuples(st.integers(0, 0o777).map(lambda m: m | 0o400), CONTENTS)
FOLDER_MODES = st.integers(0, 0o777).map(lambda m: m | 0o700)


def _folders(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(FOLDER_MODES, st.dictionaries(NAMES, children, max_size=5))


TREES = st.dictionaries(NAMES, st.recursive(FILES | TARGETS, _folders, max_leaves=12), max_size=6)


def write_tree(folder: Path, tree: Tree) -> None:
    """Create a tree. `folder` must not exist."""
    folder.mkdir(0o755, parents=True)
    for name, item in tree.items():
        path = folder / os.fsdecode(name)
        if isinstance(item, bytes):
            os.symlink(item, path)  # noqa: PTH211 - a Path would change `a//b`
            continue
        mode, inner = item
        if isinstance(inner, bytes):
            path.write_bytes(inner)
        else:
            write_tree(path, inner)
        path.chmod(mode)


def read_tree(folder: Path) -> Tree:
    """Return a tree on disk as it was written."""
    found: Tree = {}
    for path in folder.iterdir():
        name, mode = os.fsencode(path.name), stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            found[name] = os.fsencode(os.readlink(path))  # noqa: PTH115 - a Path would change `a//b`
        elif path.is_dir():
            found[name] = (mode, read_tree(path))
        else:
            found[name] = (mode, path.read_bytes())
    return found


@contextmanager
def scratch() -> Iterator[Path]:
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None, prefix="sconectl-test-") as folder:
        yield Path(folder)


def protect(
    folder: Path, trees: Mapping[str, Tree], *, key: bytes = KEY, processes: int = 1
) -> tuple[str, dict[str, bytes]]:
    """Protect trees, each in a region and a pack of its own; return the tag and the bytes of index and packs."""
    regions, records = [Region("/", NOT_PROTECTED, KERNEL, "/")], []
    stored = {}
    for number, (path, tree) in enumerate(trees.items()):
        source = folder / f"source{number}"
        write_tree(source, tree)
        listing = list_tree(str(source), path)
        assert not listing.faults
        pack = folder / f"pack{number}"
        sealed = write_pack(data_key(key), str(number), listing.files, pack, processes=processes, chunk=CHUNK)
        stored[f"packs/{number}"] = pack.read_bytes()
        regions.append(Region(path, ENCRYPTED, KERNEL, "/packs", CHUNK))
        records += [*listing.others, *sealed]
    data, tag = seal_index(key, regions, records)
    return tag, {"fs.fspf": data, **stored}


def opened(folder: Path, tag: str, stored: Mapping[str, bytes], *, key: bytes = KEY, processes: int = 1) -> Tree:
    """Open what is stored, in the new directory `folder`, and return the trees in it."""
    (folder / "packs").mkdir(parents=True)
    for name, content in stored.items():
        if name != "fs.fspf":
            (folder / name).write_bytes(content)
    found = open_index(key, tag, stored.get("fs.fspf", b""))
    (folder / "target").mkdir()
    extract(found, str(folder / "target"), root=str(folder), processes=processes)
    return read_tree(folder / "target")
