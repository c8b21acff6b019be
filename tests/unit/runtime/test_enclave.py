"""Measuring a container: what is mounted, left behind or changed in it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.workspace import signing_key

from sconectl.protect.index import Index
from sconectl.protect.live import scan
from sconectl.protect.measure import launcher_index, measurement
from sconectl.protect.signature import mrsigner_of, sign
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
    index = scan(str(tmp_path), Index(("/scone", "/tmp"), (), {})).index
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


def test_what_could_not_be_measured_does_not_start(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(_root: str, _expected: Index) -> None:
        raise OSError("a worker process was ended by signal 9 before its work was done")

    monkeypatch.setattr(enclave_module, "scan", ended)
    with pytest.raises(LaunchRefused, match="not measured"):
        measured(root)


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
    (root / "scone/image/index.json").write_bytes(scan(str(root), Index(("/scone", "/tmp"), (), {})).index.to_bytes())
    forged = measured(root)
    assert forged.changes == () and forged.found == forged.expected != genuine


def test_parameters_count(root: Path) -> None:
    genuine = measured(root).found
    for parameters in ({"heap": "2"}, {"stack": "1"}, {"unknown": ""}):
        describe(root, parameters=PARAMETERS | parameters)
        assert measured(root).found != genuine


def test_anything_but_production_is_debug_and_does_not_change_the_measurement(root: Path) -> None:
    genuine = measured(root).found
    for mode in ("debug", "Production", None):
        describe(root, parameters={"heap": "1"} if mode is None else {"mode": mode, "heap": "1"})
        assert measured(root).debug and measured(root).found == genuine


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
        Mount("/", "0:39", "overlay", "overlay"),
        Mount("/proc", "0:42", "proc", "proc"),
        Mount("/dev/shm", "0:47", "tmpfs", "shm"),
        Mount("/a b\tc\nd\\e", "254:0", "ext4", "/dev/vda"),
        Mount("/stra\u2028n\x0cge", "254:0", "fuse.x", "-"),
    ]
    assert any(mount.point == "/" for mount in mounts())


@pytest.mark.parametrize("text", ["x", MOUNTINFO, "1 2 0:1 / / rw"])
def test_mountinfo_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(LaunchRefused):
        mounts(text)


def test_what_a_report_says_about_an_enclave_that_is_not_signed(root: Path) -> None:
    """Whatever the image says about itself: nobody vouches for product and version."""
    describe(root, parameters=PARAMETERS | {"isvprodid": "7", "isvsvn": "3", "mrsigner": "77" * 32})
    enclave = measured(root)
    assert enclave.identity() == {"measurement": enclave.found, "debug": False}


SIGNED = {"isvprodid": "7", "isvsvn": "3"}


def sign_image(root: Path, *, mode: str = "production", key: str = "a", **changes: str) -> None:
    """Sign the image as it is."""
    pem = signing_key(key)
    found = measured(root).expected
    signature = sign(found, {"mode": mode, **SIGNED, **changes}, pem, 0)
    (root / "scone/image/sigstruct.bin").write_bytes(signature)
    describe(root, signer=mrsigner_of(pem))


def describe(root: Path, **changes: object) -> None:
    file = root / "scone/image/enclave.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_what_a_report_says_about_a_signed_enclave(root: Path) -> None:
    sign_image(root)
    enclave = measured(root)
    signer = {"mrsigner": mrsigner_of(signing_key("a")), "isvprodid": 7, "isvsvn": 3}
    assert enclave.identity() == {"measurement": enclave.found, "debug": False} | signer


def test_the_signature_decides_about_the_mode(root: Path) -> None:
    sign_image(root, mode="debug")
    assert PARAMETERS["mode"] == "production"
    assert measured(root).debug
    describe(root, parameters=PARAMETERS | {"mode": "debug"})
    sign_image(root, mode="production")
    assert not measured(root).debug


def test_a_changed_image_is_named_and_not_signed(root: Path) -> None:
    """The signature is for what was built; what was found instead has no signer."""
    sign_image(root)
    (root / "app/main").write_text("PROGRAM")
    enclave = measured(root)
    assert [str(change) for change in enclave.changes] == ["changed: /app/main"]
    assert "mrsigner" not in enclave.identity()


def other_image(root: Path) -> None:
    (root / "app/main").write_text("PROGRAM")
    (root / "scone/image/index.json").write_bytes(scan(str(root), Index(("/scone", "/tmp"), (), {})).index.to_bytes())


def in_its_place(root: Path) -> None:
    (root / "scone/image/sigstruct.bin").unlink()
    (root / "scone/image/sigstruct.bin").mkdir()


FORGERIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "removed": (lambda r: (r / "scone/image/sigstruct.bin").unlink(), "has lost its signature"),
    "empty": (lambda r: (r / "scone/image/sigstruct.bin").write_bytes(b""), "0 bytes instead of 1808"),
    "longer": (lambda r: (r / "scone/image/sigstruct.bin").write_bytes(bytes(5000)), "1809 bytes instead"),
    "other parameters": (lambda r: describe(r, parameters=PARAMETERS | {"heap": "2"}), "another measurement"),
    "other image": (other_image, "another measurement"),
    "other signer": (lambda r: describe(r, signer="00" * 32), "another signer"),
    "unsigned": (lambda r: describe(r, signer=""), "another signer"),
    "a directory": (in_its_place, "directory"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_signature_that_is_not_valid_for_the_image_is_refused(root: Path, name: str) -> None:
    sign_image(root)
    change, reason = FORGERIES[name]
    change(root)
    with pytest.raises(LaunchRefused) as caught:
        measured(root)
    assert reason in f"{caught.value} {caught.value.causes}"


@pytest.mark.parametrize("at", [0, 20, 128, 512, 600, 900, 930, 960, 1024, 1026, 1030, 1040, 1424, 1807])
def test_a_signature_with_a_changed_byte_is_refused(root: Path, at: int) -> None:
    sign_image(root)
    file = root / "scone/image/sigstruct.bin"
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(LaunchRefused, match="not valid"):
        measured(root)


def test_whoever_signs_anew_is_another_signer(root: Path) -> None:
    """The image is consistent: that it is not who the policy expects, the CAS sees."""
    sign_image(root)
    before = measured(root).identity()
    sign_image(root, key="b", isvsvn="9")
    after = measured(root).identity()
    assert after["measurement"] == before["measurement"]
    assert after["mrsigner"] == mrsigner_of(signing_key("b")) != before["mrsigner"]
