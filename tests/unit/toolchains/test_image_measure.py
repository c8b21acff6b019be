"""An image is measured from its layers as its launcher measures it from live files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fakes.members import directory, file, link, readable_tree, special, tree

from sconectl.errors import PlanImpossible
from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.root_tree import RootTree
from sconectl.protect.index import Index
from sconectl.protect.live import scan
from sconectl.protect.measure import launcher_index
from sconectl.protect.signature import mrsigner_of, sign
from sconectl.toolchains.interface import MeasuredImage
from sconectl.toolchains.sim.measured_image import measure_image

OUTSIDE = ("/data", "/scone", "/tmp")
FILES = {
    "/app/main.py": b"print(1)\n",
    "/usr/bin/python3": b"\x7fELF",
    "/usr/lib/odd \n name": b"",
    "/scone/bin/python3": b"\x7fELF launcher",
    "/scone/runtime": b"code",
    "/tmp/left": b"not measured",
    "/data/x": b"not measured",
}
MODES = {"/usr/bin/python3": 0o755, "/scone/bin/python3": 0o755, "/usr/lib/odd \n name": 0o4711}
PARAMETERS = {"mode": "production", "heap": "1"}
DIRECTORIES = ("/app", "/data", "/scone", "/scone/bin", "/scone/image", "/tmp", "/usr", "/usr/bin", "/usr/lib")
OTHERS = (
    *(directory(path) for path in DIRECTORIES),
    link("/bin", "usr/bin"),
    link("/scone/lib", "bin"),
    directory("/app/empty", 0o700),
)


def live(folder: Path) -> Path:
    """Write the same files to disk."""
    root = folder / "root"
    root.mkdir()
    for member in OTHERS:
        place = root / member.path[1:]
        if member.kind == "d":
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(member.mode)
        else:
            place.symlink_to(member.target)
    for path, content in FILES.items():
        (root / path[1:]).write_bytes(content)
        (root / path[1:]).chmod(MODES.get(path, 0o644))
    return root


def image(
    folder: Path, index: Index, launcher: str, *others: Member, changed: dict[str, bytes] | None = None
) -> RootTree:
    enclave = json.dumps({"launcher": launcher, "parameters": PARAMETERS}).encode()
    described = {"/scone/image/index.json": index.to_bytes(), "/scone/image/enclave.json": enclave}
    return readable_tree(folder, {**FILES, **described, **(changed or {})}, *OTHERS, *others, modes=MODES)


@pytest.fixture
def described(tmp_path: Path) -> tuple[Index, str]:
    """Return what the live files give: the index, and the digest of the launcher."""
    root = live(tmp_path)
    return scan(str(root), Index(OUTSIDE, (), {})).index, launcher_index(str(root / "scone")).digest()


def differing(found: MeasuredImage) -> list[str]:
    return [str(change) for change in found.changes]


def test_an_image_as_it_was_made(tmp_path: Path, described: tuple[Index, str]) -> None:
    found = measure_image(image(tmp_path, *described))
    assert differing(found) == []
    assert found.found == found.expected
    assert found.parameters == PARAMETERS


def test_every_change_is_named_and_changes_the_measurement(tmp_path: Path, described: tuple[Index, str]) -> None:
    clean = measure_image(image(tmp_path, *described)).found
    found = measure_image(image(tmp_path, *described, changed={"/app/main.py": b"print(2)\n", "/app/new": b""}))
    assert differing(found) == ["changed: /app/main.py", "added: /app/new"]
    assert found.found != clean
    assert found.expected == clean
    pipe = measure_image(image(tmp_path, *described, special("/app/pipe", "p")))
    assert differing(pipe) == ["added: /app/pipe"]
    gone = measure_image(image(tmp_path, *described, Member("/app/empty", "f", 0o700, digest="00")))
    assert differing(gone) == ["changed: /app/empty"]


def test_a_changed_launcher_is_named(tmp_path: Path, described: tuple[Index, str]) -> None:
    found = measure_image(image(tmp_path, *described, changed={"/scone/runtime": b"other"}))
    assert differing(found) == ["changed: /scone (the launcher itself)"]
    assert found.found != found.expected


def test_unprotected_files_do_not_matter(tmp_path: Path, described: tuple[Index, str]) -> None:
    found = measure_image(image(tmp_path, *described, changed={"/tmp/left": b"x", "/data/y": b"y"}))
    assert differing(found) == []
    assert found.found == found.expected


def test_memory_and_storage_of_volumes_are_no_part_of_the_launcher(
    tmp_path: Path, described: tuple[Index, str]
) -> None:
    root = tmp_path / "root"
    for place in ("memory/volumes/V1", "volumes/V1"):
        (root / "scone" / place).mkdir(parents=True)
        (root / "scone" / place / "num").write_bytes(b"4")
    assert launcher_index(str(root / "scone")).digest() == described[1]
    mounted = [directory(f"/scone{path}") for path in ("/memory", "/volumes", "/volumes/V1")]
    found = measure_image(image(tmp_path, *described, *mounted, changed={"/scone/volumes/V1/num": b"4"}))
    assert differing(found) == [] and found.found == found.expected
    (root / "scone/volumes2").mkdir()
    assert launcher_index(str(root / "scone")).digest() != described[1]


def test_wider_unprotected_paths_give_another_measurement(tmp_path: Path, described: tuple[Index, str]) -> None:
    index, launcher = described
    clean = measure_image(image(tmp_path, index, launcher)).found
    wider = Index((*OUTSIDE, "/app"), (), {path: e for path, e in index.entries.items() if not path.startswith("/app")})
    found = measure_image(image(tmp_path, wider, launcher))
    assert differing(found) == []
    assert found.found != clean


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"/scone/image/index.json": b"{}", "/scone/image/enclave.json": b"{}"},
        {"/scone/image/index.json": b"[" * 100_000, "/scone/image/enclave.json": b"{}"},
        {"/scone/image/index.json": Index((), (), {}).to_bytes(), "/scone/image/enclave.json": b"\xff"},
        {"/scone/image/index.json": Index((), (), {}).to_bytes(), "/scone/image/enclave.json": b'{"launcher": 1}'},
        {"/scone/image/index.json": b'{"format":"sconectl-index-1","entries":[],"outside":1,"sealed":2}'},
        {
            "/scone/image/index.json": b'{"format":"sconectl-index-1","entries":{},"outside":[[1]],"sealed":[]}',
            "/scone/image/enclave.json": b'{"launcher": "", "parameters": {}}',
        },
    ],
)
def test_other_images_are_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(PlanImpossible, match="no confidential image"):
        measure_image(readable_tree(tmp_path, files, modes={}))


def test_links_in_place_of_the_description_are_refused() -> None:
    entries = (directory("/scone/image"), link("/scone/image/index.json", "/x"), file("/x", b"{}"))
    with pytest.raises(PlanImpossible, match="no confidential image"):
        measure_image(tree(*entries))


@pytest.fixture(scope="module")
def key() -> bytes:
    made = rsa.generate_private_key(public_exponent=3, key_size=3072)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def signed(folder: Path, described: tuple[Index, str], sigstruct: bytes) -> MeasuredImage:
    return measure_image(image(folder, *described, changed={"/scone/image/sigstruct.bin": sigstruct}))


def test_a_signature_is_checked(tmp_path: Path, described: tuple[Index, str], key: bytes) -> None:
    clean = measure_image(image(tmp_path, *described))
    assert (clean.signed, clean.faults) == (None, ())
    parameters = {"mode": "production", "isvprodid": "3", "isvsvn": "4"}
    found = signed(tmp_path, described, sign(clean.found, parameters, key, 0))
    assert (found.found, found.faults) == (clean.found, ())
    assert found.signed is not None
    assert (found.signed.mrsigner, found.signed.isvprodid, found.signed.isvsvn) == (mrsigner_of(key), 3, 4)
    other = signed(tmp_path, described, sign("ab" * 32, parameters, key, 0))
    assert other.faults == (f"the signature is for the measurement {'ab' * 32}",)
    debug = signed(tmp_path, described, sign(clean.found, {**parameters, "mode": "debug"}, key, 0))
    assert debug.faults == ("the signature is for another mode",)


def test_a_damaged_signature_is_a_fault(tmp_path: Path, described: tuple[Index, str], key: bytes) -> None:
    found = signed(tmp_path, described, b"x")
    assert found.signed is None
    assert "not valid" in found.faults[0]
    right = sign(found.found, {**PARAMETERS, "isvprodid": "0", "isvsvn": "0"}, key, 0)
    damaged = signed(tmp_path, described, right[:1000] + bytes([right[1000] ^ 1]) + right[1001:])
    assert damaged.signed is None
    assert len(damaged.faults) == 1
