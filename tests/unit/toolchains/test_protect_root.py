"""From a native image to a protected one: every kind of entry, every class, every refusal."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sconectl.errors import BuildFailed
from sconectl.protect.chunks import CHUNK
from sconectl.protect.extract import extract
from sconectl.protect.fspf import ProtectedFiles, SealedFile, open_index
from sconectl.protect.index import RUNTIME_PATHS
from sconectl.protect.measure import measurement
from sconectl.runtime.files import ORIGINALS, injected_target, original_of, sealed_target
from sconectl.toolchains.sim.protected_image import FSPF_PATH

from .root_tars import (
    KEY,
    LAUNCHER,
    PARAMETERS,
    Result,
    file,
    folder,
    hard,
    link,
    member,
    protected,
)

BASE = (folder("./"), folder("etc/"), file("etc/passwd", b"root"), folder("app"), file("app/main", b"#!", 0o755))
PLACES = ["/etc", "/sbin", "/usr", "/usr/sbin", "/var"]
"""Made where a container runtime would make them for its mounts."""


def entries(result: Result) -> dict[str, tuple[str, ...]]:
    return {path: entry for path, entry in result.index_file().entries.items() if path not in PLACES}


def refused(tmp_path: Path, *members: Any, **changes: Any) -> str:
    with pytest.raises(BuildFailed) as caught:
        protected(tmp_path, *BASE, *members, **changes)
    return f"{caught.value.message}\n{caught.value.hint}"


def test_files_directories_and_links(tmp_path: Path) -> None:
    result = protected(
        tmp_path, *BASE, link("app/link", "../etc/passwd"), folder("app/wide", 0o1777), file("app/suid", b"", 0o4755)
    )
    assert entries(result) == {
        "/etc/passwd": ("f", "644", "4", hashlib.sha256(b"root").hexdigest()),
        "/app": ("d", "755"),
        "/app/main": ("f", "755", "2", hashlib.sha256(b"#!").hexdigest()),
        "/app/link": ("l", "../etc/passwd"),
        "/app/wide": ("d", "1777"),
        "/app/suid": ("f", "4755", "0", hashlib.sha256(b"").hexdigest()),
    }
    assert (result.root / "app/main").read_bytes() == b"#!"
    root = result.protected.root
    assert result.protected.measurement == measurement(launcher=LAUNCHER, root=root, parameters=PARAMETERS)
    assert result.protected.fspf is None and not (result.root / "scone/image/fs.fspf").exists()


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    members = [*BASE, folder("data"), file("data/x", b"secret")]
    one = protected(tmp_path / "one", *members, sealed=("/data",), injected=("/app/conf",))
    two = protected(tmp_path / "two", *members, sealed=("/data",), injected=("/app/conf",))
    assert one.digests() == two.digests()
    assert one.protected.measurement == two.protected.measurement


def test_what_is_not_measured_makes_no_difference_and_the_rest_does(tmp_path: Path) -> None:
    def measured(name: str, *members: Any, **changes: Any) -> str:
        (tmp_path / name).mkdir()
        return protected(tmp_path / name, *members, **changes).protected.measurement

    base = measured("base", *BASE)
    assert base == measured("outside", *BASE, folder("tmp"), file("tmp/x"), file("etc/hosts"), file("run/y"))
    assert base == measured("times", *BASE[:-1], file("app/main", b"#!", 0o755, mtime=7.5, uid=5, gname="x"))
    others = [
        measured("content", *BASE[:-1], file("app/main", b"!#", 0o755)),
        measured("mode", *BASE[:-1], file("app/main", b"#!", 0o700)),
        measured("more", *BASE, folder("empty")),
        measured("parameters", *BASE, parameters={"mode": "production", "heap": "2"}),
        measured("unprotected", *BASE, outside=("/app/cache",)),
        measured("injected", *BASE, injected=("/app/conf",)),
    ]
    assert len({base, *others}) == len(others) + 1


def test_runtime_paths_are_outside_and_transient_ones_stay_empty(tmp_path: Path) -> None:
    result = protected(
        tmp_path, *BASE, folder("dev"), member_of("dev/null", tarfile.CHRTYPE), folder("proc"), file("proc/1"),
        folder("tmp", 0o1777), file("tmp/kept"), file("etc/hosts"), file(".dockerenv"),
        folder(".sconectl"), file(".sconectl/ca.pem", b"CA"),
    )  # fmt: skip
    assert set(entries(result)) == {"/etc/passwd", "/app", "/app/main"}
    assert result.protected.outside == tuple(sorted(RUNTIME_PATHS))
    names = set(result.members(1))
    assert {"dev", "proc", "tmp", "tmp/kept"} <= names
    assert not {"dev/null", "proc/1", "etc/hosts", ".dockerenv", ".sconectl", ".sconectl/ca.pem"} & names


def member_of(name: str, kind: bytes, **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind, **more), b""


def test_an_empty_image_gets_what_runtimes_need(tmp_path: Path) -> None:
    result = protected(tmp_path, outside=("/data/volume",))
    assert sorted(result.index_file().entries) == sorted(["/data", *PLACES])
    assert not (result.root / "data/volume").exists()


def test_folders_for_mounts_are_not_made_through_links(tmp_path: Path) -> None:
    result = protected(
        tmp_path,
        folder("usr"),
        folder("usr/sbin"),
        link("sbin", "usr/sbin"),
        link("data", "srv"),
        outside=("/data/a/b",),
    )
    assert result.index_file().entries["/sbin"] == ("l", "usr/sbin")
    assert "/data/a" not in result.index_file().entries


def test_missing_parents_are_made(tmp_path: Path) -> None:
    result = protected(tmp_path, file("a/b/c"), file("tmp/deep/x"))
    assert result.index_file().entries["/a/b"] == ("d", "755")


@pytest.mark.parametrize("name", ["/abs/x", "./dot/x", "a//x", "a/./x", "../up/x", "a/../../x", "/../x", "//x"])
def test_names_cannot_leave_the_root(tmp_path: Path, name: str) -> None:
    result = protected(tmp_path, file(name))
    assert all(not n.startswith("/") and ".." not in n.split("/") for n in result.members(1))


@pytest.mark.parametrize(
    "name", ["größe", "two\nlines", "\udcff\udcfe", "x" * 150, "d" * 90 + "/" + "y" * 200, " ", "\x1b[2J", "a\\b"]
)
def test_strange_names(tmp_path: Path, name: str) -> None:
    result = protected(
        tmp_path,
        file(f"app/{name}", b"here"),
        link(f"app/{name}.l", name),
        folder("s"),
        file(f"s/{name}"),
        sealed=("/s",),
    )
    assert (result.root / "app" / name).read_bytes() == b"here"
    assert result.index_file().entries[f"/app/{name}.l"] == ("l", name)


def test_extended_attributes_are_kept_and_headers_cannot_rename(tmp_path: Path) -> None:
    info, content = file("app/ping")
    info.pax_headers = {
        "SCHILY.xattr.security.capability": "\x01\udcff",
        "path": "app/other",
        "mtime": "1.5",
        "size": "1",
    }
    result = protected(tmp_path, folder("app"), (info, content))
    found = {
        name: {k: v for k, v in info.pax_headers.items() if k != "hdrcharset"}
        for name, info in result.members(1).items()
    }
    assert found["app/other"] == {"SCHILY.xattr.security.capability": "\x01\udcff"}  # the name the engine gave it


def test_sparse_files_become_ordinary_ones(tmp_path: Path) -> None:
    info, content = file("app/sparse", b"x" * 600)
    info.type = tarfile.CONTTYPE
    result = protected(tmp_path, (info, content))
    assert result.members(1)["app/sparse"].type == tarfile.REGTYPE


def test_hard_links(tmp_path: Path) -> None:
    result = protected(tmp_path, *BASE, hard("app/second", "./app/main"), file("tmp/a"), hard("tmp/b", "tmp/a"))
    assert result.index_file().entries["/app/second"] == result.index_file().entries["/app/main"]
    assert (result.root / "app/second").stat().st_ino == (result.root / "app/main").stat().st_ino


@pytest.mark.parametrize(
    ("members", "changes", "reason"),
    [
        ([hard("app/x", "nowhere")], {}, "hard link"),
        ([folder("tmp"), file("tmp/a"), hard("app/x", "tmp/a")], {}, "hard link"),
        ([folder("s"), file("s/a"), hard("app/x", "s/a")], {"sealed": ("/s",)}, "hard link"),
        ([folder("s"), file("s/a"), hard("tmp/x", "s/a")], {"sealed": ("/s",)}, "hard link"),
        ([folder("s"), file("s/a", mode=0o4755)], {"sealed": ("/s",)}, "set-uid and set-gid files"),
        ([folder("s"), member_of("s/pipe", tarfile.FIFOTYPE)], {"sealed": ("/s",)}, "cannot be encrypted"),
        ([member_of("app/null", tarfile.CHRTYPE)], {}, "devices and FIFOs, which cannot be protected"),
        ([member_of("app/disk", tarfile.BLKTYPE)], {}, "devices and FIFOs, which cannot be protected"),
        ([member_of("app/pipe", tarfile.FIFOTYPE)], {}, "devices and FIFOs, which cannot be protected"),
        ([folder("scone")], {}, "already has /scone"),
        ([file("./x/../scone/image/index.json")], {}, "already has /scone"),
        ([], {"sealed": ("/s",)}, "not a directory of the image: /s\ncheck build.dirs"),
        ([file("s")], {"sealed": ("/s",)}, "not a directory"),
        ([link("s", "app")], {"sealed": ("/s",)}, "not a directory"),
        ([], {"sealed": ("/",)}, "neither encrypted nor"),
        ([], {"outside": ("/",)}, "neither encrypted nor"),
        ([], {"injected": ("/scone/image/index.json",)}, "neither encrypted nor"),
        ([], {"outside": ("/scone/image",)}, "neither encrypted nor"),
        ([], {"injected": ("/dev/conf",)}, "cannot be injected: container runtimes fill /dev"),
        ([folder("tmp/s")], {"sealed": ("/tmp/s",)}, "/tmp/s cannot be encrypted together with /tmp"),
        ([], {"sealed": ("/etc",)}, "/etc cannot be encrypted together with /etc/hostname"),
        ([folder("s"), folder("s/t")], {"sealed": ("/s", "/s/t")}, "/s cannot be encrypted together with /s/t"),
        ([folder("s")], {"sealed": ("/s",), "outside": ("/s/volume",)}, "cannot be encrypted together"),
        ([folder("app/conf")], {"injected": ("/app/conf",)}, "a directory there"),
        ([folder("s"), folder("s/conf")], {"sealed": ("/s",), "injected": ("/s/conf",)}, "a directory there"),
        ([], {"injected": ("/app/main/conf",)}, "/app/main is a file in the image"),
        ([], {"volumes": {"/": "v"}}, "nor a volume"),
        ([], {"volumes": {"/tmp/v": "v"}}, "/tmp/v cannot be a volume together with /tmp"),
        ([], {"volumes": {"/usr/lib": "v"}}, "cannot be a volume together with /usr/lib/scone/originals"),
        ([], {"volumes": {"/v": "v"}, "outside": ("/v/x",)}, "/v cannot be a volume together with /v/x"),
        ([], {"volumes": {"/v": "v", "/v/w": "w"}}, "/v cannot be a volume together with /v/w"),
        ([], {"volumes": {"/v/w": "w"}, "injected": ("/v",)}, "/v/w cannot be a volume together with /v"),
        ([folder("s")], {"volumes": {"/s/v": "v"}, "sealed": ("/s",)}, "cannot be a volume together with /s"),
        ([link("v", "app")], {"volumes": {"/v": "v"}}, "to be a volume, but not a directory of the image: /v"),
        ([file("v")], {"volumes": {"/v": "v"}}, "to be a volume, but not a directory of the image: /v"),
        ([link("lib", "usr/lib")], {"volumes": {"/lib/v": "v"}}, "/lib/v cannot be a volume: /lib is a link in the"),
        ([folder("usr/lib/scone/originals/v")], {"volumes": {"/v": "v"}}, "the image has /usr/lib/scone/originals/v"),
        ([link("lib", "usr/lib")], {"injected": ("/lib/conf",)}, "/lib is a link in the image"),
        ([link("lib", "usr/lib")], {"injected": ("/lib/deep/conf",)}, "/lib is a link in the image"),
        ([folder("s"), link("s/l", "x")], {"sealed": ("/s",), "injected": ("/s/l/conf",)}, "/s/l is a link in the"),
    ],
)  # fmt: skip
def test_what_cannot_be_protected_is_refused(
    tmp_path: Path, members: list[Any], changes: dict[str, Any], reason: str
) -> None:
    assert reason in refused(tmp_path, *members, **changes)


def test_one_message_names_everything(tmp_path: Path) -> None:
    pipes = [member_of(f"app/pipe{number:02}", tarfile.FIFOTYPE) for number in range(25)]
    message = refused(
        tmp_path, *pipes, folder("s"), file("s/a", mode=0o4755), hard("app/x", "s/a"), sealed=("/s", "/t")
    )
    assert "/app/pipe00, " in message and "/app/pipe19 and 5 more" in message and "/app/pipe20" not in message
    assert "/app/x (protected), /s/a (encrypted)" in message
    assert "set-uid and set-gid files, which cannot be encrypted: /s/a;" in message
    assert "not a directory of the image: /t" in message


# Encrypted directories.

SECRET = (folder("data", 0o750), file("data/f", b"TOPSECRET"), link("data/l", "f"), folder("data/SUBFOLDER"))


def opened(result: Result, path: str) -> bytes:
    target = result.root.parent / "opened"
    extract(sealed_index(result), str(target), root=str(result.root))
    return Path(f"{target}{path}").read_bytes()


def sealed_index(result: Result) -> ProtectedFiles:
    data = Path(f"{result.root}{FSPF_PATH}").read_bytes()
    assert result.protected.fspf
    return open_index(KEY, result.protected.fspf.tag, data)


def sealed_rows(result: Result) -> Sequence[SealedFile]:
    return sealed_index(result).files


def test_sealed_directories_leave_nothing_but_a_link(tmp_path: Path) -> None:
    result = protected(tmp_path, *BASE, *SECRET, sealed=("/data",))
    assert entries(result)["/data"] == ("l", sealed_target("/data"))
    assert not any(path.startswith("/data/") for path in entries(result))
    assert [(r.path, r.kind, r.mode, r.target) for r in sealed_rows(result)] == [
        ("/data", "d", 0o750, ""), ("/data/SUBFOLDER", "d", 0o755, ""),
        ("/data/f", "f", 0o644, ""), ("/data/l", "l", 0o777, "f"),
    ]  # fmt: skip
    assert opened(result, "/data/f") == b"TOPSECRET"
    content = result.content()
    for text in (b"TOPSECRET", b"SUBFOLDER", b"data/f", hashlib.sha256(b"TOPSECRET").hexdigest().encode(), KEY):
        assert text not in content


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17, (1 << 20) + 3])
def test_sealed_sizes(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    assert (
        opened(protected(tmp_path, folder("data"), file("data/big", content), sealed=("/data",)), "/data/big")
        == content
    )


def test_contents_of_sealed_directories_are_in_the_tag_and_not_in_the_measurement(tmp_path: Path) -> None:
    results = []
    for name, content in (("one", b"1"), ("two", b"2")):
        (tmp_path / name).mkdir()
        results.append(protected(tmp_path / name, folder("data"), file("data/f", content), sealed=("/data",)).protected)
    assert results[0].measurement == results[1].measurement
    assert results[0].fspf != results[1].fspf


# Injected files.


def test_injected_files_become_links(tmp_path: Path) -> None:
    result = protected(
        tmp_path, *BASE, file("app/conf", b"default", 0o640), link("app/old", "x"), file("etc/hosts", b"h"),
        injected=("/app/conf", "/app/old", "/new/deep/conf", "/etc/hosts", "/run/secret"),
    )  # fmt: skip
    found = entries(result)
    for path in ("/app/conf", "/app/old", "/new/deep/conf"):
        assert found[path] == ("l", injected_target(path))
    assert found["/new/deep"] == ("d", "755")
    assert "/run/secret" not in found and (result.root / "run/secret").is_symlink()
    assert not (result.root / "etc/hosts").is_symlink()  # written in place at the start
    original = original_of("/app/conf")
    assert found[original] == ("f", "640", "7", hashlib.sha256(b"default").hexdigest())
    assert Path(f"{result.root}{original}").read_bytes() == b"default"
    assert [path for path in found if path.startswith(ORIGINALS + "/") and found[path][0] != "d"] == [original]


def test_injected_files_in_sealed_directories_replace_what_was_there(tmp_path: Path) -> None:
    result = protected(tmp_path, *SECRET, sealed=("/data",), injected=("/data/f", "/data/l", "/data/new/conf"))
    rows = {row.path: row for row in sealed_rows(result)}
    assert len(rows) == len(sealed_rows(result))
    for path in ("/data/f", "/data/l", "/data/new/conf"):
        assert (rows[path].kind, rows[path].target) == ("l", injected_target(path))
    assert not (result.root / "scone/image/packs").exists()


def test_injected_files_behind_a_link_outside(tmp_path: Path) -> None:
    """/var/run leads to /run in most images; neither is protected."""
    result = protected(tmp_path, folder("run"), folder("var"), link("var/run", "../run"), injected=("/var/run/secret",))
    assert "/var/run/secret" not in entries(result)


# The heart of it: for any tree, the index in the layer is what the launcher will find.

NAMES = st.one_of(
    st.sampled_from(["a", "b", "s", "etc", "tmp", "hosts", "run"]),
    st.binary(min_size=1, max_size=6).map(lambda raw: os.fsdecode(raw.replace(b"/", b"_").replace(b"\0", b"0"))),
).filter(lambda name: name not in (".", "..", "scone"))
LEAVES = st.one_of(
    st.tuples(st.just("file"), st.binary(max_size=40), st.sampled_from([0o644, 0o755, 0o600, 0o4711])),
    st.tuples(st.just("link"), st.sampled_from(["a", "../b", "/etc/passwd", "nowhere\n"])),
    st.tuples(st.just("hard")),
)
TREES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=4),
    lambda inner: st.dictionaries(NAMES, st.one_of(inner, LEAVES), max_size=4),
    max_leaves=12,
)


def members_of(tree: dict[str, Any], above: str = "", files: list[str] | None = None) -> list[Any]:
    made, first = [], files if files is not None else []
    for name, item in tree.items():
        path = f"{above}{name}"
        if isinstance(item, dict):
            made += [folder(path, 0o755), *members_of(item, f"{path}/", first)]
        elif item[0] == "file":
            made.append(file(path, item[1], item[2]))
            first.append(path)
        elif item[0] == "link":
            made.append(link(path, item[1]))
        elif first:
            made.append(hard(path, first[0]))
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREES, st.booleans(), st.booleans())
def test_for_any_tree_the_index_is_what_the_launcher_finds(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any], seal: bool, inject: bool
) -> None:
    work = tmp_path_factory.mktemp("tree")
    changes: dict[str, Any] = {}
    if seal and isinstance(tree.get("s"), dict):
        changes["sealed"] = ("/s",)
    if inject:
        changes["injected"] = ("/a/b", "/s/a", "/new\n/x")
    try:
        result = protected(work, *members_of(tree), **changes)  # checks the equality
    except BuildFailed as error:
        assert "hard link" in error.message or "inject" in error.message or "encrypted" in error.message
    else:
        for number in range(len(result.layers)):
            result.members(number)
