"""Opening encrypted files: where they belong, with their modes, and nothing through a link."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from sconectl.protect.chunks import CHUNK, SealBroken
from sconectl.protect.extract import check, extract
from sconectl.protect.fspf import ProtectedFiles, SealedFile
from sconectl.protect.index import Difference
from sconectl.protect.packs import Plain, write_pack
from sconectl.protect.regions import AUTHENTICATED, ENCRYPTED, KERNEL, NOT_PROTECTED, Region

KEY = bytes(range(32))
LONG = hashlib.shake_128(b"long").digest(9 << 20)
CONTENTS = {"/d/a": b"one", "/d/empty": b"", "/d/long": LONG, "/d/sub/deep/f": b"two"}


def protected(folder: Path, *others: SealedFile, contents: dict[str, bytes] = CONTENTS) -> ProtectedFiles:
    """Encrypt contents into two packs, in regions /d and /d/sub/deep."""
    packs = folder / "packs"
    packs.mkdir()
    records: list[SealedFile] = []
    for number, paths in enumerate((list(contents)[::2], list(contents)[1::2])):
        plain = []
        for path in paths:
            file = folder / "plain" / path.replace("/", "_")
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(contents[path])
            plain.append(Plain(path, 0o4751, len(contents[path]), file))
        records += write_pack(KEY, str(number), plain, packs / str(number))
    regions = [
        Region("/", NOT_PROTECTED, KERNEL, "/"),
        Region("/d", ENCRYPTED, KERNEL, "/packs"),
        Region("/d/sub/deep", ENCRYPTED, KERNEL, "/packs"),
    ]
    records += [SealedFile("/d", "d", 0o755), SealedFile("/d/sub/deep", "d", 0o2500), *others]
    return ProtectedFiles(
        {region.path: region for region in regions}, sorted(records, key=lambda r: r.path), KEY, "tag"
    )


def contents_of(target: Path) -> dict[str, bytes]:
    return {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file() and not p.is_symlink()}


@pytest.mark.parametrize("processes", [1, 2])
def test_everything_is_where_it_was(tmp_path: Path, processes: int) -> None:
    target = tmp_path / "t"
    target.mkdir()
    umask = os.umask(0o077)
    try:
        found = protected(tmp_path, SealedFile("/d/l", "l", 0o777, "/etc/passwd"))
        extract(found, str(target), root=str(tmp_path), processes=processes)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(umask)
    assert {f"/{name}": content for name, content in contents_of(target).items()} == CONTENTS
    assert os.readlink(target / "d/l") == "/etc/passwd"  # noqa: PTH115
    modes = {name: (target / name).stat().st_mode & 0o7777 for name in ("d", "d/a", "d/sub", "d/sub/deep")}
    assert modes == {"d": 0o755, "d/a": 0o751, "d/sub": 0o700, "d/sub/deep": 0o500}  # set-id bits are never restored


def test_nothing_that_is_there_is_written_to(tmp_path: Path) -> None:
    found = protected(tmp_path)
    for name in ("d", "d/a", "d/long"):
        target = tmp_path / f"t-{name.replace('/', '-')}"
        (target / name).parent.mkdir(parents=True)
        (target / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match="File exists") as caught:
            extract(found, str(target), root=str(tmp_path))
        assert caught.value.errno == errno.EEXIST
        assert not (tmp_path / "elsewhere").exists()


def damaged(folder: Path, pack: str, content: bytes) -> None:
    (folder / "packs" / pack).write_bytes(content)


def changes(folder: Path, found: ProtectedFiles) -> Sequence[str]:
    return [str(difference).replace(str(folder), "") for difference in check(found, root=str(folder))]


def test_every_fault_is_listed(tmp_path: Path) -> None:
    found = protected(tmp_path)
    assert check(found, root=str(tmp_path)) == []
    good = {name: (tmp_path / "packs" / name).read_bytes() for name in ("0", "1")}
    damaged(tmp_path, "0", b"?" + good["0"][1:-1] + b"?")
    damaged(tmp_path, "1", b"?" + good["1"][1:])
    assert changes(tmp_path, found) == ["changed: /d/a", "changed: /d/long", "changed: /d/sub/deep/f"]
    damaged(tmp_path, "0", good["0"][:-1])
    damaged(tmp_path, "1", good["1"] + b"?")
    assert changes(tmp_path, found) == ["changed: /d/long", "changed: /packs/0", "changed: /packs/1"]
    (tmp_path / "packs/0").unlink()
    (tmp_path / "packs/1").unlink()
    (tmp_path / "packs/1").symlink_to("2")
    damaged(tmp_path, "2", good["1"])
    assert changes(tmp_path, found) == ["missing: /packs/0", "missing: /packs/1"]
    os.mkfifo(tmp_path / "packs/0")
    assert check(found, root=str(tmp_path))[0] == Difference("missing", f"{tmp_path}/packs/0")


@pytest.mark.parametrize("place", [0, CHUNK + 16, 5 << 20, -1])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_changed_byte_of_a_long_file(tmp_path: Path, place: int, processes: int) -> None:
    found = protected(tmp_path, contents={"/d/long": LONG})
    content = bytearray((tmp_path / "packs/0").read_bytes())
    content[place] ^= 1
    damaged(tmp_path, "0", bytes(content))
    (tmp_path / "t").mkdir()
    with pytest.raises(SealBroken, match="/d/long"):
        extract(found, str(tmp_path / "t"), root=str(tmp_path), processes=processes)
    written = (tmp_path / "t/d/long").read_bytes() if (tmp_path / "t/d/long").exists() else b""
    assert LONG.startswith(written)  # nothing that did not verify is ever written


def test_a_full_memory_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = protected(tmp_path)
    (tmp_path / "t").mkdir()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match=r"No space left on device: .*/t/d/") as caught:
        extract(found, str(tmp_path / "t"), root=str(tmp_path), processes=1)
    assert caught.value.errno == errno.ENOSPC


def test_authenticated_files_are_not_touched(tmp_path: Path) -> None:
    found = protected(tmp_path)
    region = Region("/a", AUTHENTICATED, KERNEL, "/a")
    files = [SealedFile("/a", "d", 0o755), SealedFile("/a/f", "f", 0o644, "", 1, "ab" * 32), *found.files]
    both = ProtectedFiles({**found.regions, "/a": region}, sorted(files, key=lambda f: f.path), KEY, "tag")
    (tmp_path / "t").mkdir()
    extract(both, str(tmp_path / "t"), root=str(tmp_path))
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["d"]


def test_a_whole_root(tmp_path: Path) -> None:
    packs, plain = tmp_path / "packs", tmp_path / "plain"
    packs.mkdir()
    plain.write_bytes(b"x")
    records = write_pack(KEY, "0", [Plain("/f", 0o644, 1, plain)], packs / "0")
    region = Region("/", ENCRYPTED, KERNEL, str(packs))
    (tmp_path / "t").mkdir(0o700)
    extract(ProtectedFiles({"/": region}, [SealedFile("/", "d", 0o755), *records], KEY, ""), str(tmp_path / "t"))
    assert contents_of(tmp_path / "t") == {"f": b"x"}
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o700
