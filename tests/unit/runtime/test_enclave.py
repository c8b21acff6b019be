"""Measuring a container: what is mounted, left behind or changed in it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sconectl.protect.index import Index, scan
from sconectl.protect.measure import launcher_index, measurement
from sconectl.runtime import enclave as enclave_module
from sconectl.runtime.enclave import Enclave, measure
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.mounts import Mount, mounts

PARAMETERS = {"mode": "production", "heap": "1"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("scone/image", "scone/runtime", "app", "tmp"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "scone/runtime/launcher").write_text("launcher")
    (tmp_path / "app/main").write_text("program")
    index = scan(str(tmp_path), Index(("/scone", "/tmp"), (), {}))
    (tmp_path / "scone/image/index.json").write_bytes(index.to_bytes())
    launcher = launcher_index(str(tmp_path / "scone")).digest()
    (tmp_path / "scone/image/enclave.json").write_text(json.dumps({"launcher": launcher, "parameters": PARAMETERS}))
    monkeypatch.setattr(enclave_module, "mounts", list)
    return tmp_path


def measured(root: Path) -> Enclave:
    return measure(str(root))


def test_an_unchanged_image_measures_as_expected(root: Path) -> None:
    enclave = measured(root)
    index = Index.from_bytes((root / "scone/image/index.json").read_bytes())
    launcher = launcher_index(f"{root}/scone").digest()
    assert enclave.found == enclave.expected
    assert enclave.found == measurement(launcher=launcher, root=index.digest(), parameters=PARAMETERS)
    assert enclave.changes == () and not enclave.debug


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "program": (lambda r: (r / "app/main").write_text("PROGRAM"), ["changed: /app/main"]),
    "launcher": (lambda r: (r / "scone/runtime/launcher").write_text("x"), ["changed: /scone (the launcher itself)"]),
    "more launcher": (lambda r: (r / "scone/x.pyc").touch(), ["changed: /scone (the launcher itself)"]),
    "unprotected": (lambda r: (r / "tmp/x").touch(), []),
    "blobs": (lambda r: (r / "scone/image/blobs").mkdir(), []),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes(root: Path, name: str) -> None:
    change, seen = CHANGES[name]
    change(root)
    enclave = measured(root)
    assert [str(change) for change in enclave.changes] == seen
    assert (enclave.found != enclave.expected) == bool(seen)


def test_a_consistent_forgery_measures_differently(root: Path) -> None:
    genuine = measured(root).found
    (root / "app/main").write_text("PROGRAM")
    (root / "scone/image/index.json").write_bytes(scan(str(root), Index(("/scone", "/tmp"), (), {})).to_bytes())
    forged = measured(root)
    assert forged.changes == () and forged.found == forged.expected != genuine


def test_parameters_count_and_anything_but_production_is_debug(root: Path) -> None:
    genuine = measured(root).found
    description = json.loads((root / "scone/image/enclave.json").read_text())
    for mode in ("debug", "Production", None):
        description["parameters"] = {"heap": "1"} if mode is None else {"mode": mode, "heap": "1"}
        (root / "scone/image/enclave.json").write_text(json.dumps(description))
        assert measured(root).debug and measured(root).found != genuine


@pytest.mark.parametrize("file", ["index.json", "enclave.json"])
@pytest.mark.parametrize("content", [None, "", "[]", "7", "null", "{}", "[" * 100_000, '{"parameters": []}', "\udcff"])
def test_an_image_that_does_not_describe_itself_is_refused(root: Path, file: str, content: str | None) -> None:
    path = root / "scone/image" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(LaunchRefused, match="does not describe"):
        measured(root)


def test_leftovers_are_removed(root: Path) -> None:
    (root / "app/__pycache__/deep").mkdir(parents=True)
    (root / "app/__pycache__/a.pyc").touch()
    (root / "app/__pycache__/deep/b\n").touch()
    (root / "app/link").symlink_to(root / "tmp")
    (root / "app/dangling").symlink_to("nowhere")
    os.mkfifo(root / "app/pipe")
    (root / "tmp/kept").touch()
    enclave = measured(root)
    assert enclave.changes == () and enclave.found == enclave.expected
    assert sorted(p.name for p in (root / "app").iterdir()) == ["main"]
    assert (root / "tmp/kept").exists()


def test_leftovers_that_cannot_be_removed_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "app/left").touch()

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "unlink", read_only)
    assert [str(change) for change in measured(root).changes] == ["added: /app/left"]


def test_removal_never_follows_a_link(root: Path) -> None:
    """Also if a folder is replaced by a link after it was listed."""
    (root / "tmp/away").mkdir()
    (root / "tmp/away/kept").touch()
    (root / "app/added").symlink_to(root / "tmp/away")
    with pytest.raises(OSError):
        enclave_module._remove(str(root), "/app/added/kept")
    assert (root / "tmp/away/kept").exists()


def test_removal_stays_on_its_file_system(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "app/added").touch()
    real, devices = os.fstat, iter([1, 2])

    def elsewhere(handle: int) -> os.stat_result:
        status = list(real(handle))
        status[2] = next(devices)
        return os.stat_result(status)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", elsewhere)
        with pytest.raises(OSError, match="another file system"):
            enclave_module._remove(str(root), "/app/added")
    assert (root / "app/added").exists()


@pytest.mark.parametrize(
    ("point", "refused"),
    [
        ("/", False), ("/tmp", False), ("/tmp/deep", False), ("/scone/image/blobs", False), ("/proc", True),
        ("/app", True), ("/app/main", True), ("/ap", True), ("/tmpx", True), ("/tmp\nx", True),
    ],
)  # fmt: skip
def test_mounts_over_protected_paths(root: Path, monkeypatch: pytest.MonkeyPatch, point: str, refused: bool) -> None:
    found = [Mount(str(root) if point == "/" else f"{root}{point}", "0:1", "ext4"), Mount("/elsewhere", "0:2", "ext4")]
    monkeypatch.setattr(enclave_module, "mounts", lambda: found)
    if refused:
        with pytest.raises(LaunchRefused, match="something is mounted at /"):
            measured(root)
    else:
        measured(root)


MOUNTINFO = r"""75 50 0:39 / / rw,relatime master:2 - overlay overlay rw,lowerdir=/a - b
76 75 0:42 / /proc rw - proc proc rw
91 77 0:47 / /dev/shm rw,nosuid shared:1 master:2 - tmpfs shm rw
92 75 254:0 /x\040- /a\040b\011c\012d\134e rw,relatime - ext4 /dev/vda rw
93 75 254:0 /x /strange"""


def test_mountinfo() -> None:
    text = MOUNTINFO.replace("/strange", "/stra\u2028n\x0cge rw - fuse.x - rw\n")
    assert mounts(text) == [
        Mount("/", "0:39", "overlay"),
        Mount("/proc", "0:42", "proc"),
        Mount("/dev/shm", "0:47", "tmpfs"),
        Mount("/a b\tc\nd\\e", "254:0", "ext4"),
        Mount("/stra\u2028n\x0cge", "254:0", "fuse.x"),
    ]
    assert any(mount.point == "/" for mount in mounts())


@pytest.mark.parametrize("text", ["x", MOUNTINFO, "1 2 0:1 / / rw"])
def test_mountinfo_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(LaunchRefused):
        mounts(text)


@pytest.mark.parametrize(
    ("parameters", "claims"),
    [
        ({}, {}),
        ({"isvprodid": "7", "isvsvn": "65535"}, {"isvprodid": 7, "isvsvn": 65535}),
        ({"isvprodid": "65536", "isvsvn": "-1"}, {}),
        ({"isvprodid": "", "isvsvn": "1.0"}, {}),
        ({"isvprodid": "٣", "isvsvn": "9" * 5000}, {}),
        ({"mrsigner": "77" * 32}, {}),
    ],
)
def test_what_a_report_says_about_the_enclave(parameters: dict[str, str], claims: dict[str, object]) -> None:
    enclave = Enclave("aa", "aa", {"mode": "production"} | parameters, Index((), (), {}), ())
    assert enclave.identity() == {"measurement": "aa", "debug": False} | claims
